// Reductions over a team where subgroups have one size, SUBGROUP, and the entry point: a team is a part of a subgroup, a subgroup, or
// several of a workgroup.

override SUBGROUP: u32 = 1u;

var<workgroup> shared_bits: array<u32, 64>;
var<workgroup> shared_part: array<vec4<f32>, 64>;

fn team_peak(bits: u32, local: u32, team: u32) -> u32 {
    if (LANES < SUBGROUP) {
        var most = bits;
        for (var away = 1u; away < LANES; away *= 2u) { most = max(most, subgroupShuffleXor(most, away)); }
        return most;
    }
    var most = subgroupMax(bits);
    if (LANES > SUBGROUP) {
        let count = LANES / SUBGROUP;
        if (local % SUBGROUP == 0u) { shared_bits[local / SUBGROUP] = most; }
        workgroupBarrier();
        for (var i = 0u; i < count; i += 1u) { most = max(most, shared_bits[team * count + i]); }
        workgroupBarrier();
    }
    return most;
}

fn team_total(part: vec4<f32>, local: u32, team: u32) -> vec4<f32> {
    var total = part;
    if (LANES < SUBGROUP) {
        for (var away = 1u; away < LANES; away *= 2u) { total += subgroupShuffleXor(total, away); }
        return total;
    }
    total = subgroupAdd(part);
    if (LANES > SUBGROUP) {
        let count = LANES / SUBGROUP;
        if (local % SUBGROUP == 0u) { shared_part[local / SUBGROUP] = total; }
        workgroupBarrier();
        total = vec4<f32>(0.0);
        for (var i = 0u; i < count; i += 1u) { total += shared_part[team * count + i]; }
        workgroupBarrier();
    }
    return total;
}

#import "common/grid.wgsl"

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) member: u32,
) {
    // Neighbours by subgroup, however the driver numbers invocations.
    let local = subgroup * SUBGROUP + member;
    run(grid.first + group.x, grid.groups, local, local / LANES, local % LANES);
}
