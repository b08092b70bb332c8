// Entry point where subgroups have one size, LANES: a team is a subgroup, and its first member adds the team's share.

fn team_max(value: u32) -> u32 {
    return subgroupMax(value);
}

/// Sum of 64-bit values modulo 2^64, by 16-bit digits, whose sums over at most 128 lanes fit a word.
fn team_sum(value: vec2<u32>) -> vec2<u32> {
    let a = subgroupAdd(value.x & 0xffffu);
    let b = subgroupAdd(value.x >> 16u) + (a >> 16u);
    let c = subgroupAdd(value.y & 0xffffu) + (b >> 16u);
    let d = subgroupAdd(value.y >> 16u) + (c >> 16u);
    return vec2<u32>((a & 0xffffu) | (b << 16u), (c & 0xffffu) | (d << 16u));
}

fn team_leads(lane: u32) -> bool {
    return lane == 0u;
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
