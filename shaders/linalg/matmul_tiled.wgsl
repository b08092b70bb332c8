// Matrix product for GPUs: a workgroup of SIDE x SIDE invocations makes a square tile, each invocation 8 x 8 results of it (4 x 4 if
// not WIDE), from slices of SLICE of k in workgroup memory. While a slice is multiplied, the next one is on its way to registers. Where workgroup
// memory holds two (BUFFERS), one is written while others still read the other, and there is one barrier to a slice.
//
// Arrays and matrices are indexed by constants alone: a variable index, in a loop too, moves them from registers to memory.

#import "linalg/blocks.wgsl"
#import "tile"

// A tile's side in vectors; vectors of k in a slice; blocks of 4 x 4 in a slice.
const TILE4: u32 = select(SIDE, 2u * SIDE, WIDE);
const SLICE4: u32 = SLICE / 4u;
const BLOCKS: u32 = SLICE4 * TILE4;

const ENTRIES: u32 = SLICE * TILE4;

// Element (k, i) of the slices of op(A)ᵀ and op(B), [SLICE][TILE4], at `slot`.
var<workgroup> slice_a: array<vec4<f32>, BUFFERS * ENTRIES>;
var<workgroup> slice_b: array<vec4<f32>, BUFFERS * ENTRIES>;
// Where the slices begin that are read and written now.
var<private> base: u32 = 0u;

// Vectors that are brought together lie in different banks, whether a block's neighbours follow k or the rows.
fn slot(k: u32, i4: u32) -> u32 {
    return base + k * TILE4 + (i4 ^ (2u * ((k / 4u) % 4u)));
}

// Which 4 x 4 block of a slice an invocation brings: neighbours read neighbouring addresses.
fn block_place(block: u32, along_k: bool) -> vec2<u32> {
    if (along_k) { return vec2<u32>(block / SLICE4, block % SLICE4); }
    return vec2<u32>(block % TILE4, block / TILE4);
}

// Block `unit` of the slices at k4: first those of A, then those of B.
fn fetch(unit: u32, first4: vec2<u32>, k4: u32) -> mat4x4<f32> {
    if (unit < BLOCKS) {
        let place = block_place(unit, TRANSPOSE_A == 0u);
        return transpose(masked_a(first4.x + place.x, k4 + place.y));
    }
    let place = block_place(unit - BLOCKS, TRANSPOSE_B == 1u);
    return block_b(k4 + place.y, first4.y + place.x);
}

fn keep(unit: u32, block: mat4x4<f32>) {
    if (unit < BLOCKS) {
        let place = block_place(unit, TRANSPOSE_A == 0u);
        slice_a[slot(4u * place.y, place.x)] = block[0];
        slice_a[slot(4u * place.y + 1u, place.x)] = block[1];
        slice_a[slot(4u * place.y + 2u, place.x)] = block[2];
        slice_a[slot(4u * place.y + 3u, place.x)] = block[3];
    } else if (unit < 2u * BLOCKS) {
        let place = block_place(unit - BLOCKS, TRANSPOSE_B == 1u);
        slice_b[slot(4u * place.y, place.x)] = block[0];
        slice_b[slot(4u * place.y + 1u, place.x)] = block[1];
        slice_b[slot(4u * place.y + 2u, place.x)] = block[2];
        slice_b[slot(4u * place.y + 3u, place.x)] = block[3];
    }
}

// Row i of an invocation's results: vectors 2 i and 2 i + 1. Four neighbouring rows, and four half a tile further; columns likewise.
alias Results = array<vec4<f32>, 16>;

fn multiply(results: ptr<function, Results>, k: u32, place: vec2<u32>) {
    let a0 = slice_a[slot(k, place.y)];
    let b0 = slice_b[slot(k, place.x)];
    (*results)[0] = fma(vec4<f32>(a0.x), b0, (*results)[0]);
    (*results)[2] = fma(vec4<f32>(a0.y), b0, (*results)[2]);
    (*results)[4] = fma(vec4<f32>(a0.z), b0, (*results)[4]);
    (*results)[6] = fma(vec4<f32>(a0.w), b0, (*results)[6]);
    if (!WIDE) { return; }
    let a1 = slice_a[slot(k, place.y + SIDE)];
    let b1 = slice_b[slot(k, place.x + SIDE)];
    (*results)[1] = fma(vec4<f32>(a0.x), b1, (*results)[1]);
    (*results)[3] = fma(vec4<f32>(a0.y), b1, (*results)[3]);
    (*results)[5] = fma(vec4<f32>(a0.z), b1, (*results)[5]);
    (*results)[7] = fma(vec4<f32>(a0.w), b1, (*results)[7]);
    (*results)[8] = fma(vec4<f32>(a1.x), b0, (*results)[8]);
    (*results)[9] = fma(vec4<f32>(a1.x), b1, (*results)[9]);
    (*results)[10] = fma(vec4<f32>(a1.y), b0, (*results)[10]);
    (*results)[11] = fma(vec4<f32>(a1.y), b1, (*results)[11]);
    (*results)[12] = fma(vec4<f32>(a1.z), b0, (*results)[12]);
    (*results)[13] = fma(vec4<f32>(a1.z), b1, (*results)[13]);
    (*results)[14] = fma(vec4<f32>(a1.w), b0, (*results)[14]);
    (*results)[15] = fma(vec4<f32>(a1.w), b1, (*results)[15]);
}

fn put_row(row: u32, j4: u32, left: vec4<f32>, right: vec4<f32>) {
    put(row, j4, left);
    if (WIDE) { put(row, j4 + SIDE, right); }
}

@compute @workgroup_size(SIDE, SIDE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let tile = vec2<u32>(group.y + params.first_tile, group.x + params.first_column);
    if (UPPER == 1u && tile.y < tile.x) { return; }
    let first4 = tile * TILE4;
    let range = layer_range(group.z);
    var results: Results;
    // Two blocks to an invocation where invocations are few.
    var next0 = fetch(index, first4, range.x / 4u);
    var next1: mat4x4<f32>;
    if (2u * BLOCKS > SIDE * SIDE) { next1 = fetch(index + SIDE * SIDE, first4, range.x / 4u); }
    for (var k = range.x; k < range.y; k += SLICE) {
        if (BUFFERS == 1u) { workgroupBarrier(); }
        keep(index, next0);
        if (2u * BLOCKS > SIDE * SIDE) { keep(index + SIDE * SIDE, next1); }
        workgroupBarrier();
        // Beyond the last slice the reads are of the last rows and columns, and no one keeps them.
        next0 = fetch(index, first4, (k + SLICE) / 4u);
        if (2u * BLOCKS > SIDE * SIDE) { next1 = fetch(index + SIDE * SIDE, first4, (k + SLICE) / 4u); }
        for (var i = 0u; i < SLICE; i += 4u) {
            multiply(&results, i, local.xy);
            multiply(&results, i + 1u, local.xy);
            multiply(&results, i + 2u, local.xy);
            multiply(&results, i + 3u, local.xy);
        }
        if (BUFFERS == 2u) { base = ENTRIES - base; }
    }
    let row = 4u * (first4.x + local.y);
    let j4 = first4.y + local.x;
    put_row(row, j4, results[0], results[1]);
    put_row(row + 1u, j4, results[2], results[3]);
    put_row(row + 2u, j4, results[4], results[5]);
    put_row(row + 3u, j4, results[6], results[7]);
    if (!WIDE) { return; }
    put_row(row + 4u * SIDE, j4, results[8], results[9]);
    put_row(row + 4u * SIDE + 1u, j4, results[10], results[11]);
    put_row(row + 4u * SIDE + 2u, j4, results[12], results[13]);
    put_row(row + 4u * SIDE + 3u, j4, results[14], results[15]);
}
