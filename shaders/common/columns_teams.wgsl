// Sums over rows, by column, for GPUs: neighbours have neighbouring columns, a workgroup's teams stride over the rows of its slice and
// leave its sums to a row of their own. The order is fixed. One of the interchangeable `columns_*` files.

#import "common/grid.wgsl"

var<workgroup> parts: array<vec4<f32>, 256>;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let team = local / LANES;
    let across = (params.width4 + LANES - 1u) / LANES;
    let index = grid.first + group.y * groups.x + group.x;
    let column = (index % across) * LANES + local % LANES;
    let at = min(column, params.width4 - 1u);
    let start = params.first + (index / across) * params.slice;
    let end = min(start + params.slice, params.end);
    // In slabs, whose sums err less than one long sum.
    let teams = GROUP / LANES;
    var part = vec4<f32>(0.0);
    for (var slab = start + team; slab < end; slab += 256u * teams) {
        var sum = vec4<f32>(0.0);
        let last = min(slab + 256u * teams, end);
        var row = slab;
        // Four rows on their way at a time.
        for (; row + 3u * teams < last; row += 4u * teams) {
            let a = term(row, at);
            let b = term(row + teams, at);
            let c = term(row + 2u * teams, at);
            let d = term(row + 3u * teams, at);
            sum += (a + b) + (c + d);
        }
        for (; row < last; row += teams) { sum += term(row, at); }
        part += sum;
    }
    parts[local] = part;
    workgroupBarrier();
    if (team == 0u && column < params.width4 && start < params.end) {
        var total = vec4<f32>(0.0);
        for (var i = local; i < GROUP; i += LANES) { total += parts[i]; }
        let place = (index / across) * params.width4 + column;
        let before = sums[place];
        sums[place] = select(total, before + total, params.accumulate == 1u);
    }
}
