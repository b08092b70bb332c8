// A workgroup counts in its own memory what falls near its first cosine, where most others do, for GPUs: few invocations then wait for
// each other. One of the interchangeable `histogram_*` files.

override GROUP: u32 = 64u;

#import "common/grid.wgsl"

const WINDOW: u32 = 2048u;
// Groups of four cosines of an invocation; the kernel's wrapper knows it too.
const SHARE: u32 = 16u;

var<workgroup> window: array<atomic<u32>, WINDOW>;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let count = params.rows * params.width4;
    let start = (grid.first + group.y * groups.x + group.x) * GROUP * SHARE;
    let first = max(bins4(row_words4(min(start, count - 1u))).x, WINDOW / 2u) - WINDOW / 2u;
    for (var i = local; i < WINDOW; i += GROUP) { atomicStore(&window[i], 0u); }
    workgroupBarrier();
    for (var i = 0u; i < SHARE; i += 1u) {
        let index = start + i * GROUP + local;
        let at = min(index, count - 1u);
        let bits = row_words4(at);
        let bins = bins4(bits);
        let pairs = pairs4(at, bits);
        for (var c = 0u; c < 4u; c += 1u) {
            if (index >= count || !pairs[c]) { continue; }
            if (bins[c] - first < WINDOW) {
                atomicAdd(&window[bins[c] - first], 1u);
            } else {
                atomicAdd(&counts[bins[c]], 1u);
            }
        }
    }
    workgroupBarrier();
    for (var i = local; i < WINDOW; i += GROUP) {
        let met = atomicLoad(&window[i]);
        if (met > 0u) { atomicAdd(&counts[first + i], met); }
    }
}
