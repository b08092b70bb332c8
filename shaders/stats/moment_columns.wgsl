// Second of the two dispatches that sum moments without workgroup memory: the sums of four columns over a slab of rows,
// each row times its multiplier. Formats and proofs: `kernels::stats::moments`.

struct Params {
    rows: u32,
    width4: u32,
    // Rows that an invocation adds up.
    slab: u32,
}

override GROUP: u32 = 64u;

@group(0) @binding(0) var<uniform> params: Params;
#import "rows"
// What `moment_weights` wrote: [rows] of weight, shift, bits of the scale.
#import "vectors"
#import "common/sums.wgsl"
#import "product"

fn add_columns(first_row: u32, column: u32) {
    var total = no_sum4();
    let last = min(first_row + params.slab, params.rows);
    for (var row = first_row; row < last; row += 1u) {
        let w = vector_words4(row);
        let x = row_fixed4(row * params.width4 + column, bitcast<f32>(w.z));
        total = add_weighted(total, x, w.x, w.y);
    }
    for (var k = 0u; k < 4u; k += 1u) {
        global_add(4u * column + k, sum4_words(total, k));
    }
}

#import "common/grid.wgsl"

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tasks = params.width4 * ((params.rows + params.slab - 1u) / params.slab);
    for (var task = (grid.first + group.x) * GROUP + local; task < tasks; task += grid.groups * GROUP) {
        add_columns(task / params.width4 * params.slab, task % params.width4);
    }
}
