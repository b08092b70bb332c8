// Sums over rows, by column, where an invocation is a CPU's vector lane: each has four columns of a slice of rows. The order is fixed.
// One of the interchangeable `columns_*` files.

#import "common/grid.wgsl"

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let across = (params.width4 + GROUP - 1u) / GROUP;
    let index = grid.first + group.y * groups.x + group.x;
    let column = (index % across) * GROUP + local;
    let at = min(column, params.width4 - 1u);
    let start = params.first + (index / across) * params.slice;
    let end = min(start + params.slice, params.end);
    // In slabs, whose sums err less than one long sum.
    var total = vec4<f32>(0.0);
    for (var slab = start; slab < end; slab += 256u) {
        var sum = vec4<f32>(0.0);
        for (var row = slab; row < min(slab + 256u, end); row += 1u) { sum += term(row, at); }
        total += sum;
    }
    if (column < params.width4 && start < params.end) {
        let place = (index / across) * params.width4 + column;
        let before = sums[place];
        sums[place] = select(total, before + total, params.accumulate == 1u);
    }
}
