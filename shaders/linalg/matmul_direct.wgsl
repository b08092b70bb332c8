// Matrix product for adapters that run on a CPU: 16 x 8 results to an invocation, operands straight from storage, no workgroup
// memory and no barrier, for there both cost more than they save.

#import "linalg/blocks.wgsl"

const ROWS: u32 = 128u;
const COLUMNS: u32 = 64u;

alias Results = array<mat4x4<f32>, 8>;

// Column i of results[2 p + q] is row 4 p + i of the invocation's 16, columns 4 q .. 4 q + 3 of its 8.
fn step(results: ptr<function, Results>, i4: u32, j4: u32, k4: u32) {
    let b0 = block_b(k4, j4);
    let b1 = block_b(k4, j4 + 1u);
    let a0 = block_a(i4, k4);
    (*results)[0] += b0 * a0;
    (*results)[1] += b1 * a0;
    let a1 = block_a(i4 + 1u, k4);
    (*results)[2] += b0 * a1;
    (*results)[3] += b1 * a1;
    let a2 = block_a(i4 + 2u, k4);
    (*results)[4] += b0 * a2;
    (*results)[5] += b1 * a2;
    let a3 = block_a(i4 + 3u, k4);
    (*results)[6] += b0 * a3;
    (*results)[7] += b1 * a3;
}

fn last_step(results: ptr<function, Results>, i4: u32, j4: u32, k4: u32) {
    let b0 = block_b(k4, j4);
    let b1 = block_b(k4, j4 + 1u);
    for (var p = 0u; p < 4u; p += 1u) {
        let block = masked_a(i4 + p, k4);
        (*results)[2u * p] += b0 * block;
        (*results)[2u * p + 1u] += b1 * block;
    }
}

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let row = (group.y + params.first_tile) * ROWS + 16u * local.y;
    let column = (group.x + params.first_column) * COLUMNS + 8u * local.x;
    if (row >= params.m || column >= params.n || (UPPER == 1u && column + 7u < row)) { return; }
    let i4 = row / 4u;
    let j4 = column / 4u;
    var results: Results;
    // Without a remainder the last step need not be masked.
    let whole = params.k / 4u;
    for (var k4 = params.k_first / 4u; k4 < whole; k4 += 1u) { step(&results, i4, j4, k4); }
    if (4u * whole < params.k) { last_step(&results, i4, j4, whole); }
    for (var p = 0u; p < 4u; p += 1u) {
        for (var i = 0u; i < 4u; i += 1u) {
            put(row + 4u * p + i, j4, results[2u * p][i]);
            put(row + 4u * p + i, j4 + 1u, results[2u * p + 1u][i]);
        }
    }
}
