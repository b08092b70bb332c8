// Entry point of kernels on single entries: one invocation each, in a grid of two sides so that their number is not limited by one.
//
// `element` loads from a clamped index and only stores under a condition: a load under a condition costs a CPU driver dearly.

override GROUP: u32 = 64u;

#import "common/grid.wgsl"

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    element((grid.first + group.y * groups.x + group.x) * GROUP + local);
}
