// Reductions over a team without subgroups, in workgroup memory, and the entry point. A large team adds up blocks of 16, each by its own
// members, and then the blocks.

override SUBGROUP: u32 = 1u;

var<workgroup> shared_bits: array<u32, 256>;
var<workgroup> shared_part: array<vec4<f32>, 256>;
var<workgroup> block_bits: array<u32, 16>;
var<workgroup> block_part: array<vec4<f32>, 16>;

/// Members that are added up first: all where LANES is no multiple of 16.
fn block() -> u32 {
    return select(LANES, 16u, LANES % 16u == 0u);
}

fn team_peak(bits: u32, local: u32, team: u32) -> u32 {
    shared_bits[local] = bits;
    workgroupBarrier();
    var most = 0u;
    let first = local / block() * block();
    for (var i = 0u; i < block(); i += 1u) { most = max(most, shared_bits[first + i]); }
    if (LANES > block()) {
        if (local % block() == 0u) { block_bits[local / block()] = most; }
        workgroupBarrier();
        let blocks = LANES / block();
        for (var i = 0u; i < blocks; i += 1u) { most = max(most, block_bits[team * blocks + i]); }
    }
    // Where there are blocks, the barrier of the next call comes before they are written, and theirs came after what was read here.
    if (LANES <= block()) { workgroupBarrier(); }
    return most;
}

fn team_total(part: vec4<f32>, local: u32, team: u32) -> vec4<f32> {
    shared_part[local] = part;
    workgroupBarrier();
    var total = vec4<f32>(0.0);
    let first = local / block() * block();
    for (var i = 0u; i < block(); i += 1u) { total += shared_part[first + i]; }
    if (LANES > block()) {
        if (local % block() == 0u) { block_part[local / block()] = total; }
        workgroupBarrier();
        let blocks = LANES / block();
        total = vec4<f32>(0.0);
        for (var i = 0u; i < blocks; i += 1u) { total += block_part[team * blocks + i]; }
    }
    if (LANES <= block()) { workgroupBarrier(); }
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
