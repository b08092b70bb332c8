// Matrix product on an adapter's matrix units: operands rounded to f16, sums in f32. A workgroup of 4 subgroups of 32 makes a square
// tile of 8 fragments a side, each subgroup a quarter of it, from slices of 16 of k in workgroup memory. While a slice is
// multiplied, the next one is on its way to registers.

enable f16;
enable wgpu_cooperative_matrix;

#import "linalg/blocks.wgsl"
#import "fragment"

const SUBGROUPS: u32 = 4u;
const LANES: u32 = 32u;
// A tile's side, in elements and in vectors; k of a slice; blocks of 4 x 4 in a slice.
const TILE: u32 = 8u * FRAGMENT;
const TILE4: u32 = 2u * FRAGMENT;
const SLICE: u32 = 16u;
const BLOCKS: u32 = (SLICE / 4u) * TILE4;
// Elements from one row to the next: not a multiple of the memory's banks.
const STRIDE_A: u32 = SLICE + 8u;
const STRIDE_B: u32 = TILE + 8u;

// Slices of op(A), [TILE][SLICE], and of op(B), [SLICE][TILE].
var<workgroup> slice_a: array<f16, TILE * STRIDE_A>;
var<workgroup> slice_b: array<f16, SLICE * STRIDE_B>;
// A fragment of results for each subgroup.
var<workgroup> sums: array<f32, SUBGROUPS * FRAGMENT * FRAGMENT>;

// Which 4 x 4 block of a slice an invocation brings: neighbours read neighbouring addresses.
fn block_place(block: u32, along_k: bool) -> vec2<u32> {
    if (along_k) { return vec2<u32>(block / (SLICE / 4u), block % (SLICE / 4u)); }
    return vec2<u32>(block % TILE4, block / TILE4);
}

fn round_a(at: u32, row: vec4<f32>) {
    let rounded = vec4<f16>(row);
    slice_a[at] = rounded.x;
    slice_a[at + 1u] = rounded.y;
    slice_a[at + 2u] = rounded.z;
    slice_a[at + 3u] = rounded.w;
}

fn round_b(at: u32, row: vec4<f32>) {
    let rounded = vec4<f16>(row);
    slice_b[at] = rounded.x;
    slice_b[at + 1u] = rounded.y;
    slice_b[at + 2u] = rounded.z;
    slice_b[at + 3u] = rounded.w;
}

fn keep_a(place: vec2<u32>, block: mat4x4<f32>) {
    let first = 4u * (place.x * STRIDE_A + place.y);
    round_a(first, block[0]);
    round_a(first + STRIDE_A, block[1]);
    round_a(first + 2u * STRIDE_A, block[2]);
    round_a(first + 3u * STRIDE_A, block[3]);
}

fn keep_b(place: vec2<u32>, block: mat4x4<f32>) {
    let first = 4u * (place.y * STRIDE_B + place.x);
    round_b(first, block[0]);
    round_b(first + STRIDE_B, block[1]);
    round_b(first + 2u * STRIDE_B, block[2]);
    round_b(first + 3u * STRIDE_B, block[3]);
}

// Row i of a subgroup's fragments of results: 4 i to 4 i + 3.
alias Results = array<Sums, 16>;

fn multiply(results: ptr<function, Results>, corner: vec2<u32>, k: u32) {
    let from_a = corner.x * STRIDE_A + k;
    let from_b = k * STRIDE_B + corner.y;
    let a0 = coopLoadT<FragmentA>(&slice_a[from_a], STRIDE_A);
    let a1 = coopLoadT<FragmentA>(&slice_a[from_a + FRAGMENT * STRIDE_A], STRIDE_A);
    let a2 = coopLoadT<FragmentA>(&slice_a[from_a + 2u * FRAGMENT * STRIDE_A], STRIDE_A);
    let a3 = coopLoadT<FragmentA>(&slice_a[from_a + 3u * FRAGMENT * STRIDE_A], STRIDE_A);
    let b0 = coopLoadT<FragmentB>(&slice_b[from_b], STRIDE_B);
    let b1 = coopLoadT<FragmentB>(&slice_b[from_b + FRAGMENT], STRIDE_B);
    let b2 = coopLoadT<FragmentB>(&slice_b[from_b + 2u * FRAGMENT], STRIDE_B);
    let b3 = coopLoadT<FragmentB>(&slice_b[from_b + 3u * FRAGMENT], STRIDE_B);
    (*results)[0] = coopMultiplyAdd(a0, b0, (*results)[0]);
    (*results)[1] = coopMultiplyAdd(a0, b1, (*results)[1]);
    (*results)[2] = coopMultiplyAdd(a0, b2, (*results)[2]);
    (*results)[3] = coopMultiplyAdd(a0, b3, (*results)[3]);
    (*results)[4] = coopMultiplyAdd(a1, b0, (*results)[4]);
    (*results)[5] = coopMultiplyAdd(a1, b1, (*results)[5]);
    (*results)[6] = coopMultiplyAdd(a1, b2, (*results)[6]);
    (*results)[7] = coopMultiplyAdd(a1, b3, (*results)[7]);
    (*results)[8] = coopMultiplyAdd(a2, b0, (*results)[8]);
    (*results)[9] = coopMultiplyAdd(a2, b1, (*results)[9]);
    (*results)[10] = coopMultiplyAdd(a2, b2, (*results)[10]);
    (*results)[11] = coopMultiplyAdd(a2, b3, (*results)[11]);
    (*results)[12] = coopMultiplyAdd(a3, b0, (*results)[12]);
    (*results)[13] = coopMultiplyAdd(a3, b1, (*results)[13]);
    (*results)[14] = coopMultiplyAdd(a3, b2, (*results)[14]);
    (*results)[15] = coopMultiplyAdd(a3, b3, (*results)[15]);
}

// Writes a fragment of results whose first element is (row, 4 j4), by way of the subgroup's part of `sums`.
fn put_fragment(fragment: Sums, subgroup: u32, lane: u32, row: u32, j4: u32) {
    let first = subgroup * FRAGMENT * FRAGMENT;
    coopStoreT(fragment, &sums[first], FRAGMENT);
    workgroupBarrier();
    for (var i = lane; i < FRAGMENT * FRAGMENT / 4u; i += LANES) {
        let at = first + 4u * i;
        let value = vec4<f32>(sums[at], sums[at + 1u], sums[at + 2u], sums[at + 3u]);
        put(row + i / (FRAGMENT / 4u), j4 + i % (FRAGMENT / 4u), value);
    }
    workgroupBarrier();
}

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let tile = vec2<u32>(group.y + params.first_tile, group.x + params.first_column);
    if (UPPER == 1u && tile.y < tile.x) { return; }
    let first4 = tile * TILE4;
    let corner = 4u * FRAGMENT * vec2<u32>(subgroup / 2u, subgroup % 2u);
    let a = block_place(index, TRANSPOSE_A == 0u);
    let b = block_place(index, TRANSPOSE_B == 1u);
    let range = layer_range(group.z);
    var results: Results;
    var next_a = masked_a(first4.x + a.x, range.x / 4u + a.y);
    var next_b = block_b(range.x / 4u + b.y, first4.y + b.x);
    for (var k = range.x; k < range.y; k += SLICE) {
        workgroupBarrier();
        if (index < BLOCKS) {
            keep_a(a, next_a);
            keep_b(b, next_b);
        }
        workgroupBarrier();
        // Beyond the last slice the reads are of the last rows and columns, and no one keeps them.
        next_a = masked_a(first4.x + a.x, (k + SLICE) / 4u + a.y);
        next_b = block_b((k + SLICE) / 4u + b.y, first4.y + b.x);
        for (var i = 0u; i < SLICE; i += FRAGMENT) { multiply(&results, corner, i); }
    }
    let row = 4u * first4.x + corner.x;
    let j4 = first4.y + corner.y / 4u;
    put_fragment(results[0], subgroup, lane, row, j4);
    put_fragment(results[1], subgroup, lane, row, j4 + FRAGMENT / 4u);
    put_fragment(results[2], subgroup, lane, row, j4 + FRAGMENT / 2u);
    put_fragment(results[3], subgroup, lane, row, j4 + 3u * FRAGMENT / 4u);
    put_fragment(results[4], subgroup, lane, row + FRAGMENT, j4);
    put_fragment(results[5], subgroup, lane, row + FRAGMENT, j4 + FRAGMENT / 4u);
    put_fragment(results[6], subgroup, lane, row + FRAGMENT, j4 + FRAGMENT / 2u);
    put_fragment(results[7], subgroup, lane, row + FRAGMENT, j4 + 3u * FRAGMENT / 4u);
    put_fragment(results[8], subgroup, lane, row + 2u * FRAGMENT, j4);
    put_fragment(results[9], subgroup, lane, row + 2u * FRAGMENT, j4 + FRAGMENT / 4u);
    put_fragment(results[10], subgroup, lane, row + 2u * FRAGMENT, j4 + FRAGMENT / 2u);
    put_fragment(results[11], subgroup, lane, row + 2u * FRAGMENT, j4 + 3u * FRAGMENT / 4u);
    put_fragment(results[12], subgroup, lane, row + 3u * FRAGMENT, j4);
    put_fragment(results[13], subgroup, lane, row + 3u * FRAGMENT, j4 + FRAGMENT / 4u);
    put_fragment(results[14], subgroup, lane, row + 3u * FRAGMENT, j4 + FRAGMENT / 2u);
    put_fragment(results[15], subgroup, lane, row + 3u * FRAGMENT, j4 + 3u * FRAGMENT / 4u);
}
