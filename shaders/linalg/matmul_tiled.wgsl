// Matrix product for GPUs: a workgroup of SIDE x SIDE invocations makes a square tile of 8 SIDE, each invocation 8 x 8 of it, from
// slices of SLICE of k in workgroup memory.

#import "linalg/blocks.wgsl"
#import "tile"

// A tile's side, in elements and in vectors; vectors of k in a slice.
const TILE: u32 = 8u * SIDE;
const TILE4: u32 = 2u * SIDE;
const SLICE4: u32 = SLICE / 4u;

// Element (k, i) of the slices of op(A)ᵀ and op(B), [SLICE][TILE4].
var<workgroup> slice_a: array<vec4<f32>, SLICE * TILE4>;
var<workgroup> slice_b: array<vec4<f32>, SLICE * TILE4>;

// Which 4 x 4 block of a slice an invocation brings: neighbours read neighbouring addresses.
fn block_place(block: u32, along_k: bool) -> vec2<u32> {
    if (along_k) { return vec2<u32>(block / SLICE4, block % SLICE4); }
    return vec2<u32>(block % TILE4, block / TILE4);
}

fn bring(local: u32, first4: vec2<u32>, k4: u32) {
    for (var block = local; block < SLICE4 * TILE4; block += SIDE * SIDE) {
        let place = block_place(block, TRANSPOSE_A == 0u);
        let got = transpose(masked_a(first4.x + place.x, k4 + place.y));
        for (var i = 0u; i < 4u; i += 1u) { slice_a[(4u * place.y + i) * TILE4 + place.x] = got[i]; }
    }
    // From the other end, so that all invocations share the work where there are more of them than blocks.
    for (var block = SIDE * SIDE - 1u - local; block < SLICE4 * TILE4; block += SIDE * SIDE) {
        let place = block_place(block, TRANSPOSE_B == 1u);
        let got = block_b(k4 + place.y, first4.y + place.x);
        for (var i = 0u; i < 4u; i += 1u) { slice_b[(4u * place.y + i) * TILE4 + place.x] = got[i]; }
    }
}

// Row i of an invocation's results: vectors 2 i and 2 i + 1.
alias Results = array<vec4<f32>, 16>;

fn multiply(results: ptr<function, Results>, place: vec2<u32>) {
    for (var k = 0u; k < SLICE; k += 1u) {
        let a0 = slice_a[k * TILE4 + place.y];
        let a1 = slice_a[k * TILE4 + place.y + SIDE];
        let b0 = slice_b[k * TILE4 + place.x];
        let b1 = slice_b[k * TILE4 + place.x + SIDE];
        (*results)[0] = fma(vec4<f32>(a0.x), b0, (*results)[0]);
        (*results)[1] = fma(vec4<f32>(a0.x), b1, (*results)[1]);
        (*results)[2] = fma(vec4<f32>(a0.y), b0, (*results)[2]);
        (*results)[3] = fma(vec4<f32>(a0.y), b1, (*results)[3]);
        (*results)[4] = fma(vec4<f32>(a0.z), b0, (*results)[4]);
        (*results)[5] = fma(vec4<f32>(a0.z), b1, (*results)[5]);
        (*results)[6] = fma(vec4<f32>(a0.w), b0, (*results)[6]);
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
    var results: Results;
    for (var k = params.k_first; k < params.k; k += SLICE) {
        workgroupBarrier();
        bring(index, first4, k / 4u);
        workgroupBarrier();
        multiply(&results, local.xy);
    }
    for (var i = 0u; i < 8u; i += 1u) {
        // Four neighbouring rows, and four half a tile further.
        let row = 4u * (first4.x + local.y + (i / 4u) * SIDE) + i % 4u;
        put(row, first4.y + local.x, results[2u * i]);
        put(row, first4.y + local.x + SIDE, results[2u * i + 1u]);
    }
}
