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

#import "held"
#import "common/unit_rows.wgsl"

fn run(group: u32, groups: u32, local: u32, team: u32, lane: u32) {
    let teams = GROUP / LANES;
    for (var first = group * teams; first < params.rows; first += groups * teams) {
        let row = min(first + team, params.rows - 1u);
        let base = row * params.width4;
        var x: array<vec4<u32>, MOST>;
        var bits = 0u;
        for (var tile = 0u; tile < span(); tile += HELD * LANES) {
            for (var k = 0u; k < HELD; k += 1u) { x[k] = hold4(base, place(tile, k, lane)); }
            for (var k = 0u; k < HELD; k += 1u) { bits = max(bits, bits_peak4(x[k])); }
        }
        let factor = row_scale(team_peak(bits, local, team), row, lane);
        var part = 0.0;
        for (var tile = 0u; tile < span(); tile += HELD * LANES) {
            if (WHOLE == 0u) {
                for (var k = 0u; k < HELD; k += 1u) { x[k] = hold4(base, place(tile, k, lane)); }
            }
            for (var k = 0u; k < HELD; k += 1u) {
                let y = bits_float4(x[k], factor);
                part += dot(y, y);
            }
        }
        let square = team_total(vec4<f32>(part), local, team).x;
        let inverse = select(inverseSqrt(square), 0.0, is_tiny(square, factor));
        if (first + team < params.rows) {
            for (var tile = 0u; tile < span(); tile += HELD * LANES) {
                if (WHOLE == 0u) {
                    for (var k = 0u; k < HELD; k += 1u) { x[k] = hold4(base, place(tile, k, lane)); }
                }
                for (var k = 0u; k < HELD; k += 1u) {
                    let column = place(tile, k, lane);
                    if (within(column)) { store4(base + column, inverse * bits_float4(x[k], factor)); }
                }
            }
        }
    }
}

#import "float_team"
