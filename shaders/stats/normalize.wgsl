// L2 normalisation of rows: u = e / |e|, safe against overflow; a row of norm below 1e-10 becomes zero.

struct Params {
    rows: u32,
    width4: u32,
    row_base: u32,
}

override GROUP: u32 = 64u;
override LANES: u32 = 1u;

@group(0) @binding(0) var<uniform> params: Params;
#import "rows"
#import "out"

#import "common/unit_rows.wgsl"

fn run(group: u32, groups: u32, local: u32, team: u32, lane: u32) {
    let teams = GROUP / LANES;
    for (var first = group * teams; first < params.rows; first += groups * teams) {
        let row = min(first + team, params.rows - 1u);
        let factor = row_scale(row, local, team, lane);
        var part = 0.0;
        for (var c = lane; c < params.width4; c += LANES) {
            let y = row_float4(row * params.width4 + c, factor);
            part += dot(y, y);
        }
        let square = team_total(vec4<f32>(part), local, team).x;
        let inverse = select(inverseSqrt(square), 0.0, is_tiny(square, factor));
        if (first + team < params.rows) {
            for (var c = lane; c < params.width4; c += LANES) {
                store4(row * params.width4 + c, inverse * row_float4(row * params.width4 + c, factor));
            }
        }
    }
}

#import "float_team"
