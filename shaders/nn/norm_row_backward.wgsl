// Gradient of a normalisation by its input and the rows' scalars at once, where a team holds a row of x and of dy in registers: of each row
// mean, r = 1 / sqrt(mean square + eps) and, with g = dy weight and n = (x - mean) r, mean(g) and mean(g n); dx = r (g - mean(g) - n mean(g n)).
// About zero, where CENTER is 0, the means are not needed and zero.

struct Params {
    rows: u32,
    width: u32,
    width4: u32,
    eps: f32,
    // As CENTER; the host twin reads it here.
    center: u32,
    accumulate: u32,
    // Added to the weight.
    offset: f32,
}

override GROUP: u32 = 64u;
override LANES: u32 = 1u;
override CENTER: u32 = 0u;

@group(0) @binding(0) var<uniform> params: Params;
#import "operand" 1
#import "operand" 2
#import "operand" 3
@group(0) @binding(4) var<storage, read_write> scalars: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;

fn inside(column: u32) -> vec4<bool> {
    return vec4<u32>(4u * column) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.width);
}

fn sum4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

#import "held"

fn run(group: u32, groups: u32, local: u32, team: u32, lane: u32) {
    let teams = GROUP / LANES;
    let width = f32(params.width);
    for (var first = group * teams; first < params.rows; first += groups * teams) {
        let row = min(first + team, params.rows - 1u);
        let base = row * params.width4;
        // x, from the mean on its distance to it; dy, and then dy weight.
        var x: array<vec4<f32>, MOST>;
        var g: array<vec4<f32>, MOST>;
        for (var k = 0u; k < HELD; k += 1u) { x[k] = read1(base + clamped(place(0u, k, lane))); }
        for (var k = 0u; k < HELD; k += 1u) { g[k] = read3(base + clamped(place(0u, k, lane))); }
        var mean = 0.0;
        if (CENTER == 1u) {
            var part = vec4<f32>(0.0);
            for (var k = 0u; k < HELD; k += 1u) {
                part += select(vec4<f32>(0.0), x[k], within(place(0u, k, lane)));
            }
            mean = sum4(team_total(part, local, team)) / width;
        }
        var squares = vec4<f32>(0.0);
        var plain = vec4<f32>(0.0);
        var products = vec4<f32>(0.0);
        for (var k = 0u; k < HELD; k += 1u) {
            let column = place(0u, k, lane);
            x[k] = select(vec4<f32>(0.0), x[k] - mean, inside(column));
            g[k] = select(vec4<f32>(0.0), g[k] * (params.offset + read2(clamped(column))), inside(column));
            // Masked behind the product: a driver that fuses it with the addition would do so or not as it unrolls.
            squares += select(vec4<f32>(0.0), x[k] * x[k], inside(column));
            plain += g[k];
            products += select(vec4<f32>(0.0), g[k] * x[k], inside(column));
        }
        let part = vec4<f32>(sum4(squares), sum4(plain), sum4(products), 0.0);
        let total = team_total(part, local, team) / width;
        let inverse = inverseSqrt(total.x + params.eps);
        let s = vec4<f32>(mean, inverse, select(0.0, total.y, CENTER == 1u), total.z * inverse);
        for (var k = 0u; k < HELD; k += 1u) { g[k] = s.y * (g[k] - s.z - x[k] * s.y * s.w); }
        if (params.accumulate == 1u) {
            for (var k = 0u; k < HELD; k += 1u) { x[k] = dx[base + clamped(place(0u, k, lane))]; }
        } else {
            for (var k = 0u; k < HELD; k += 1u) { x[k] = vec4<f32>(0.0); }
        }
        if (first + team < params.rows) {
            if (lane == 0u) { scalars[row] = s; }
            for (var k = 0u; k < HELD; k += 1u) {
                let column = place(0u, k, lane);
                let value = x[k] + select(vec4<f32>(0.0), g[k], inside(column));
                if (within(column)) { dx[base + column] = value; }
            }
        }
    }
}

#import "float_team"
