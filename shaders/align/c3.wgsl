// C3 (arXiv 2401.08567): normalise(u + b + sigma g) with u the unit row and g standard normal by position, so that the
// same seed and row give the same noise up to rounding, whatever the device and the chunks.

struct Params {
    rows: u32,
    width: u32,
    width4: u32,
    row_base: u32,
    // Index of the first row in the whole data set, low and high word.
    first_row: vec2<u32>,
    seed: vec2<u32>,
    sigma: f32,
}

override GROUP: u32 = 64u;
override LANES: u32 = 1u;

@group(0) @binding(0) var<uniform> params: Params;
#import "rows"
// One vector: the shift b, [width4] of f32.
#import "vectors"
#import "out"

#import "product"
#import "common/gaussian.wgsl"
#import "held"
#import "common/unit_rows.wgsl"

/// The shifted and noisy row, from the bits of four of its elements; zero beyond it.
fn noisy4(bits: vec4<u32>, row: u32, column: u32, scale: f32, inverse: f32) -> vec4<f32> {
    let low = params.first_row.x + row;
    let high = params.first_row.y + select(0u, 1u, low < row);
    let g = gaussian4(vec4<u32>(low, high, column, 0u), params.seed);
    let inside = vec4<u32>(4u * column) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.width);
    let shift = bitcast<vec4<f32>>(vector_words4(clamped(column)));
    return select(vec4<f32>(0.0), inverse * bits_float4(bits, scale) + shift + params.sigma * g, inside);
}

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
        let scale = row_scale(team_peak(bits, local, team), row, lane);
        var part = 0.0;
        for (var tile = 0u; tile < span(); tile += HELD * LANES) {
            if (WHOLE == 0u) {
                for (var k = 0u; k < HELD; k += 1u) { x[k] = hold4(base, place(tile, k, lane)); }
            }
            for (var k = 0u; k < HELD; k += 1u) {
                let y = bits_float4(x[k], scale);
                part += dot(y, y);
            }
        }
        let square = team_total(vec4<f32>(part), local, team).x;
        let unit = select(inverseSqrt(square), 0.0, is_tiny(square, scale));
        part = 0.0;
        for (var tile = 0u; tile < span(); tile += HELD * LANES) {
            if (WHOLE == 0u) {
                for (var k = 0u; k < HELD; k += 1u) { x[k] = hold4(base, place(tile, k, lane)); }
            }
            for (var k = 0u; k < HELD; k += 1u) {
                let z = noisy4(x[k], row, place(tile, k, lane), scale, unit);
                part += dot(z, z);
                // Where the row stays in registers, the noise is made once.
                x[k] = bitcast<vec4<u32>>(z);
            }
        }
        let n2 = team_total(vec4<f32>(part), local, team).x;
        let inverse = select(1.0, inverseSqrt(n2), n2 > 1e-20);
        if (first + team < params.rows) {
            for (var tile = 0u; tile < span(); tile += HELD * LANES) {
                if (WHOLE == 0u) {
                    for (var k = 0u; k < HELD; k += 1u) { x[k] = hold4(base, place(tile, k, lane)); }
                    for (var k = 0u; k < HELD; k += 1u) {
                        x[k] = bitcast<vec4<u32>>(noisy4(x[k], row, place(tile, k, lane), scale, unit));
                    }
                }
                for (var k = 0u; k < HELD; k += 1u) {
                    let column = place(tile, k, lane);
                    if (within(column)) { store4(base + column, inverse * bitcast<vec4<f32>>(x[k])); }
                }
            }
        }
    }
}

#import "float_team"
