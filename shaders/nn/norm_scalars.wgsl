// What the gradient of a normalisation needs of each row: mean, 1 / sqrt(mean square + eps) and, with g = dy weight and n the
// normalised row, mean(g) and mean(g n). About zero, where CENTER is 0, the means are not needed and zero.

struct Params {
    rows: u32,
    width: u32,
    width4: u32,
    eps: f32,
    // As CENTER; the host twin reads it here.
    center: u32,
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

fn sum4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

#import "held"

// A row's vector, zeros beyond it.
fn hold4(base: u32, column: u32) -> vec4<f32> {
    return select(vec4<f32>(0.0), read1(base + clamped(column)), within(column));
}

// dy weight.
fn weighed4(base: u32, column: u32) -> vec4<f32> {
    let at = clamped(column);
    return select(vec4<f32>(0.0), (params.offset + read2(at)) * read3(base + at), within(column));
}

fn run(group: u32, groups: u32, local: u32, team: u32, lane: u32) {
    let teams = GROUP / LANES;
    let width = f32(params.width);
    for (var first = group * teams; first < params.rows; first += groups * teams) {
        let row = min(first + team, params.rows - 1u);
        let base = row * params.width4;
        var x: array<vec4<f32>, MOST>;
        var mean = 0.0;
        if (CENTER == 1u) {
            var part = vec4<f32>(0.0);
            for (var tile = 0u; tile < span(); tile += HELD * LANES) {
                for (var k = 0u; k < HELD; k += 1u) { x[k] = hold4(base, place(tile, k, lane)); }
                for (var k = 0u; k < HELD; k += 1u) { part += x[k]; }
            }
            mean = sum4(team_total(part, local, team)) / width;
        }
        var squares = vec4<f32>(0.0);
        var plain = vec4<f32>(0.0);
        var products = vec4<f32>(0.0);
        for (var tile = 0u; tile < span(); tile += HELD * LANES) {
            if (WHOLE == 0u || CENTER == 0u) {
                for (var k = 0u; k < HELD; k += 1u) { x[k] = hold4(base, place(tile, k, lane)); }
            }
            var g: array<vec4<f32>, MOST>;
            for (var k = 0u; k < HELD; k += 1u) { g[k] = weighed4(base, place(tile, k, lane)); }
            for (var k = 0u; k < HELD; k += 1u) {
                let column = vec4<u32>(4u * place(tile, k, lane)) + vec4<u32>(0u, 1u, 2u, 3u);
                let inside = column < vec4<u32>(params.width);
                let y = x[k] - mean;
                // Masked behind the product: a driver that fuses it with the addition would do so or not as it unrolls.
                squares += select(vec4<f32>(0.0), y * y, inside);
                plain += g[k];
                products += select(vec4<f32>(0.0), g[k] * y, inside);
            }
        }
        let part = vec4<f32>(sum4(squares), sum4(plain), sum4(products), 0.0);
        let total = team_total(part, local, team) / width;
        let inverse = inverseSqrt(total.x + params.eps);
        if (first + team < params.rows && lane == 0u) {
            scalars[row] = vec4<f32>(mean, inverse, select(0.0, total.y, CENTER == 1u), total.z * inverse);
        }
    }
}

#import "float_team"
