// From partial sums of squares to the gradient's norm and factor: base, times max_norm / (norm + 1e-6) where that is below 1.
// A norm that is not finite gives the factor 0.

struct Params {
    // Vectors of partial sums.
    count: u32,
    base: f32,
    // 0: no limit.
    max_norm: f32,
}

override GROUP: u32 = 64u;
override LANES: u32 = 1u;
// Vectors that an invocation reads at once.
override HELD: u32 = 1u;
const MOST: u32 = 8u;

@group(0) @binding(0) var<uniform> params: Params;
#import "operand" 1
// Factor and norm.
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

fn run(group: u32, groups: u32, local: u32, team: u32, lane: u32) {
    var part = vec4<f32>(0.0);
    for (var i = lane; i < params.count; i += HELD * LANES) {
        var sums: array<vec4<f32>, MOST>;
        for (var k = 0u; k < HELD; k += 1u) { sums[k] = read1(min(i + k * LANES, params.count - 1u)); }
        for (var k = 0u; k < HELD; k += 1u) {
            part += select(vec4<f32>(0.0), sums[k], i + k * LANES < params.count);
        }
    }
    let total = team_total(part, local, team);
    let norm = params.base * sqrt((total.x + total.y) + (total.z + total.w));
    let limit = select(1.0, min(params.max_norm / (norm + 1e-6), 1.0), params.max_norm > 0.0);
    let finite = (bitcast<u32>(norm) & 0x7f800000u) != 0x7f800000u;
    if (group == 0u && team == 0u && lane == 0u) {
        out[0] = select(0.0, params.base * limit, finite);
        out[1] = norm;
    }
}

#import "float_team"
