// Sums of squares: a fixed number of teams leave one partial sum each.

struct Params {
    count: u32,
    // Place of the first partial sum.
    first: u32,
    teams: u32,
}

override GROUP: u32 = 64u;
override LANES: u32 = 1u;
// Vectors that an invocation reads at once.
override HELD: u32 = 1u;
const MOST: u32 = 8u;

@group(0) @binding(0) var<uniform> params: Params;
#import "operand" 1
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;

fn run(group: u32, groups: u32, local: u32, team: u32, lane: u32) {
    let teams = GROUP / LANES;
    let step = params.teams * LANES;
    for (var first = group * teams; first < params.teams; first += groups * teams) {
        var part = vec4<f32>(0.0);
        for (var i = (first + team) * LANES + lane; i < params.count; i += HELD * step) {
            var g: array<vec4<f32>, MOST>;
            for (var k = 0u; k < HELD; k += 1u) { g[k] = read1(min(i + k * step, params.count - 1u)); }
            for (var k = 0u; k < HELD; k += 1u) {
                part += select(vec4<f32>(0.0), g[k] * g[k], i + k * step < params.count);
            }
        }
        let total = team_total(part, local, team);
        if (first + team < params.teams && lane == 0u) {
            partials[params.first + first + team] = (total.x + total.y) + (total.z + total.w);
        }
    }
}

#import "float_team"
