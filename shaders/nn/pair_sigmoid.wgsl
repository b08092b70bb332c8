// The sigmoid loss of each row of similarities: with z = exp(min(t, most)) s + b, and c = 1 on the diagonal, -1 elsewhere, the sum of
// log(1 + exp(-c z)), and the row's share of the gradients by t and b.

struct Params {
    rows: u32,
    width4: u32,
    most: f32,
    scale: f32,
}

override GROUP: u32 = 64u;
override LANES: u32 = 1u;

@group(0) @binding(0) var<uniform> params: Params;
#import "operand" 1
@group(0) @binding(2) var<storage, read> temperature: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;
@group(0) @binding(4) var<storage, read_write> terms: array<vec4<f32>>;

#import "held"
#import "nn/pair_slope.wgsl"

fn sum4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

fn run(group: u32, groups: u32, local: u32, team: u32, lane: u32) {
    let teams = GROUP / LANES;
    let factor = keep_nan(exp(min(temperature[0].x, params.most)), temperature[0].x);
    let shift = temperature[0].y;
    for (var first = group * teams; first < params.rows; first += groups * teams) {
        let row = min(first + team, params.rows - 1u);
        let base = row * params.width4;
        var loss = vec4<f32>(0.0);
        var by_t = vec4<f32>(0.0);
        var by_b = vec4<f32>(0.0);
        for (var tile = 0u; tile < params.width4; tile += HELD * LANES) {
            var x: array<vec4<f32>, MOST>;
            for (var k = 0u; k < HELD; k += 1u) {
                let column = place(tile, k, lane);
                x[k] = select(vec4<f32>(0.0), read1(base + clamped(column)), within(column));
            }
            for (var k = 0u; k < HELD; k += 1u) {
                let column = vec4<u32>(4u * place(tile, k, lane)) + vec4<u32>(0u, 1u, 2u, 3u);
                let inside = column < vec4<u32>(params.rows);
                let scaled = factor * x[k];
                let c_z = sign_of(column, row) * (scaled + shift);
                // log(1 + e^-v) = max(-v, 0) + log(1 + e^-|v|); for small numbers the logarithm is its series.
                let small = exp(-min(abs(c_z), vec4<f32>(80.0)));
                let rest = select(log(1.0 + small), small - 0.5 * small * small, small < vec4<f32>(1e-3));
                loss += select(vec4<f32>(0.0), keep_nan4(max(-c_z, vec4<f32>(0.0)) + rest, c_z), inside);
                let slope = slope_of(c_z, sign_of(column, row));
                by_t += select(vec4<f32>(0.0), slope * scaled, inside);
                by_b += select(vec4<f32>(0.0), slope, inside);
            }
        }
        let total = team_total(vec4<f32>(sum4(loss), sum4(by_t), sum4(by_b), 0.0), local, team);
        let slope = params.scale * total.y;
        let moves = temperature[0].x < params.most || slope > 0.0 || is_nan(slope);
        if (first + team < params.rows && lane == 0u) {
            losses[row] = total.x;
            terms[row] = vec4<f32>(select(0.0, slope, moves), params.scale * total.z, 0.0, 0.0);
        }
    }
}

#import "float_team"
