// Reductions over a team without subgroups, in workgroup memory, and the entry point.

var<workgroup> shared_bits: array<u32, 256>;
var<workgroup> shared_part: array<vec4<f32>, 256>;

fn team_peak(bits: u32, local: u32, team: u32) -> u32 {
    shared_bits[local] = bits;
    workgroupBarrier();
    var most = 0u;
    for (var i = 0u; i < LANES; i += 1u) { most = max(most, shared_bits[team * LANES + i]); }
    workgroupBarrier();
    return most;
}

fn team_total(part: vec4<f32>, local: u32, team: u32) -> vec4<f32> {
    shared_part[local] = part;
    workgroupBarrier();
    var total = vec4<f32>(0.0);
    for (var i = 0u; i < LANES; i += 1u) { total += shared_part[team * LANES + i]; }
    workgroupBarrier();
    return total;
}

#import "common/grid.wgsl"

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    run(grid.first + group.x, grid.groups, local, local / LANES, local % LANES);
}
