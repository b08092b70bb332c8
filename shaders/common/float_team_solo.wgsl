// A team of one: nothing to reduce, and no workgroup memory, whose barriers cost a CPU driver dearly.

override SUBGROUP: u32 = 1u;

fn team_peak(bits: u32, local: u32, team: u32) -> u32 {
    return bits;
}

fn team_total(part: vec4<f32>, local: u32, team: u32) -> vec4<f32> {
    return part;
}

#import "common/grid.wgsl"

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    run(grid.first + group.x, grid.groups, local, local, 0u);
}
