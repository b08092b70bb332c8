// Sums over rows, by column, for GPUs: neighbours have neighbouring columns, a workgroup's teams stride over the rows of its slice and
// leave its sums to a row of their own. The order is fixed. One of the interchangeable `columns_*` files.

var<workgroup> parts: array<vec4<f32>, 256>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let team = local / LANES;
    let column = group.x * LANES + local % LANES;
    let at = min(column, params.width4 - 1u);
    let start = params.first + group.y * params.slice;
    let end = min(start + params.slice, params.end);
    // In slabs, whose sums err less than one long sum.
    let teams = GROUP / LANES;
    var part = vec4<f32>(0.0);
    for (var slab = start + team; slab < end; slab += 256u * teams) {
        var sum = vec4<f32>(0.0);
        for (var row = slab; row < min(slab + 256u * teams, end); row += teams) { sum += term(row, at); }
        part += sum;
    }
    parts[local] = part;
    workgroupBarrier();
    if (team == 0u && column < params.width4) {
        var total = vec4<f32>(0.0);
        for (var i = local; i < GROUP; i += LANES) { total += parts[i]; }
        let place = group.y * params.width4 + column;
        let before = sums[place];
        sums[place] = select(total, before + total, params.accumulate == 1u);
    }
}
