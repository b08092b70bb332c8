// Reductions over a team that is a subgroup of size LANES, and the entry point.

fn team_peak(bits: u32, local: u32, team: u32) -> u32 {
    return subgroupMax(bits);
}

fn team_total(part: vec4<f32>, local: u32, team: u32) -> vec4<f32> {
    return subgroupAdd(part);
}

#import "common/grid.wgsl"

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    run(grid.first + group.x, grid.groups, local, subgroup, lane);
}
