// A team of one: nothing to reduce, and no workgroup memory, whose barriers cost a CPU driver dearly.

fn team_peak(bits: u32, local: u32, team: u32) -> u32 {
    return bits;
}

fn team_total(part: vec4<f32>, local: u32, team: u32) -> vec4<f32> {
    return part;
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    run(group.x, groups.x, local, local, 0u);
}
