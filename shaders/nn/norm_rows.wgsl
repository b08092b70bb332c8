// Rows brought to unit mean square about zero or, where CENTER, about their mean, then scaled and shifted by column.

struct Params {
    rows: u32,
    width: u32,
    width4: u32,
    eps: f32,
    // Added to the weight.
    offset: f32,
}

override GROUP: u32 = 64u;
override LANES: u32 = 1u;

@group(0) @binding(0) var<uniform> params: Params;
#import "operand" 1
#import "operand" 2

fn inside(column: u32) -> vec4<bool> {
    return vec4<u32>(4u * column) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.width);
}

fn sum4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

#import "held"

// A row's vector, zeros beyond it.
fn hold4(base: u32, column: u32) -> vec4<f32> {
    return select(vec4<f32>(0.0), read1(base + clamped(column)), within(column));
}

fn run(group: u32, groups: u32, local: u32, team: u32, lane: u32) {
    let teams = GROUP / LANES;
    let width = f32(params.width);
    for (var first = group * teams; first < params.rows; first += groups * teams) {
        let base = min(first + team, params.rows - 1u) * params.width4;
        var x: array<vec4<f32>, MOST>;
        var mean = 0.0;
        if (CENTER) {
            var part = vec4<f32>(0.0);
            for (var tile = 0u; tile < span(); tile += HELD * LANES) {
                for (var k = 0u; k < HELD; k += 1u) { x[k] = hold4(base, place(tile, k, lane)); }
                for (var k = 0u; k < HELD; k += 1u) { part += x[k]; }
            }
            mean = sum4(team_total(part, local, team)) / width;
        }
        var part = vec4<f32>(0.0);
        for (var tile = 0u; tile < span(); tile += HELD * LANES) {
            if (WHOLE == 0u || !CENTER) {
                for (var k = 0u; k < HELD; k += 1u) { x[k] = hold4(base, place(tile, k, lane)); }
            }
            for (var k = 0u; k < HELD; k += 1u) {
                let y = x[k] - mean;
                // Masked behind the product: a driver that fuses it with the addition would do so or not as it unrolls.
                part += select(vec4<f32>(0.0), y * y, inside(place(tile, k, lane)));
            }
        }
        let inverse = inverseSqrt(sum4(team_total(part, local, team)) / width + params.eps);
        if (first + team < params.rows) {
            for (var tile = 0u; tile < span(); tile += HELD * LANES) {
                if (WHOLE == 0u) {
                    for (var k = 0u; k < HELD; k += 1u) { x[k] = hold4(base, place(tile, k, lane)); }
                }
                for (var k = 0u; k < HELD; k += 1u) {
                    let column = place(tile, k, lane);
                    let at = clamped(column);
                    let value = (x[k] - mean) * inverse * (params.offset + read2(at)) + shift4(at);
                    if (within(column)) { store(base + column, value); }
                }
            }
        }
    }
}

#import "float_team"
