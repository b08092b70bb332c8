// Softmax of similarities over each row, at a learned temperature: of z = exp(min(t, most)) s the logarithm of the sum of
// exponentials, z on the diagonal, and the mean of z under the softmax.

struct Params {
    rows: u32,
    width4: u32,
    most: f32,
}

override GROUP: u32 = 64u;
override LANES: u32 = 1u;

@group(0) @binding(0) var<uniform> params: Params;
#import "operand" 1
// t, b.
@group(0) @binding(2) var<storage, read> temperature: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> state: array<vec4<f32>>;

const LEAST: f32 = -3.4e38;

// z, and LEAST beyond the last column.
fn scaled4(base: u32, c: u32, factor: f32) -> vec4<f32> {
    let inside = vec4<u32>(4u * c) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.rows);
    return select(vec4<f32>(LEAST), factor * read1(base + clamped(c)), inside);
}

#import "held"
#import "nn/ordered.wgsl"
#import "common/nan.wgsl"

fn sum4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

fn run(group: u32, groups: u32, local: u32, team: u32, lane: u32) {
    let teams = GROUP / LANES;
    let factor = keep_nan(exp(min(temperature[0].x, params.most)), temperature[0].x);
    for (var first = group * teams; first < params.rows; first += groups * teams) {
        let row = min(first + team, params.rows - 1u);
        let base = row * params.width4;
        var z: array<vec4<f32>, MOST>;
        var most = vec4<f32>(LEAST);
        var sizes = vec4<u32>(0u);
        for (var tile = 0u; tile < span(); tile += HELD * LANES) {
            for (var k = 0u; k < HELD; k += 1u) { z[k] = scaled4(base, place(tile, k, lane), factor); }
            for (var k = 0u; k < HELD; k += 1u) {
                most = max(most, z[k]);
                sizes = max(sizes, sizes4(z[k]));
            }
        }
        let top = from_ordered(team_peak(peak_bits(most, sizes), local, team));
        var shares = vec4<f32>(0.0);
        var products = vec4<f32>(0.0);
        for (var tile = 0u; tile < span(); tile += HELD * LANES) {
            if (WHOLE == 0u) {
                for (var k = 0u; k < HELD; k += 1u) { z[k] = scaled4(base, place(tile, k, lane), factor); }
            }
            for (var k = 0u; k < HELD; k += 1u) {
                let below = max(z[k] - top, vec4<f32>(-100.0));
                let share = exp(below);
                shares += share;
                // Masked behind the product: a driver that fuses it with the addition would do so or not as it unrolls.
                let inside = vec4<u32>(4u * place(tile, k, lane)) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.rows);
                products += select(vec4<f32>(0.0), share * below, inside);
            }
        }
        // What lies beyond the last column counted exp(-100) each: nothing beside the maximum's 1.
        let total = team_total(vec4<f32>(sum4(shares), sum4(products), 0.0, 0.0), local, team);
        let own = factor * read1(base + row / 4u)[row % 4u];
        if (first + team < params.rows && lane == 0u) {
            state[row] = vec4<f32>(keep_nan(top + log(total.x), top), own, keep_nan(top + total.y / total.x, top), 0.0);
        }
    }
}

#import "float_team"
