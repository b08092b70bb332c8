// Entry point without subgroups: a team is LANES neighbouring invocations, and every member adds its own share.

fn team_max(value: u32) -> u32 {
    return value;
}

fn team_sum(value: vec2<u32>) -> vec2<u32> {
    return value;
}

fn team_leads(lane: u32) -> bool {
    return true;
}

#import "common/grid.wgsl"

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    run(grid.first + group.x, grid.groups, local, local / LANES, local % LANES);
}
