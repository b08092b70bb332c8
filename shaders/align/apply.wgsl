// Applies an affine-and-project operator to rows: with u the unit row,
// r_0 = (a u + v_0) / |a u + v_0|, r_k = (r_{k-1} + v_k) / |r_{k-1} + v_k|. Every r_k is a combination of the row and
// the vectors, so that a row needs its dots with them, a few scalars, one read and one write. No vector: r = u.

struct Params {
    rows: u32,
    width4: u32,
    vectors: u32,
    a: f32,
    row_base: u32,
}

override GROUP: u32 = 64u;
override LANES: u32 = 1u;
const MAX_VECTORS: u32 = 9u;

@group(0) @binding(0) var<uniform> params: Params;
#import "rows"
// [vectors, width4]
@group(0) @binding(2) var<storage, read> vectors: array<vec4<f32>>;
// Gram matrix of the vectors, [vectors, vectors].
@group(0) @binding(3) var<storage, read> gram: array<f32>;
#import "out"

#import "common/unit_rows.wgsl"

// The coefficients of a team's row: the row's own, then the vectors'. [teams, 1 + MAX_VECTORS], at most 64 teams.
var<workgroup> factors: array<f32, 640>;

fn inverse_norm(n2: f32) -> f32 {
    return select(1.0, inverseSqrt(n2), n2 > 1e-20);
}

/// Dots of the scaled row with itself and the vectors, over the lane's columns; 4 quantities of index `first` and up.
fn partial_dots(row: u32, lane: u32, factor: f32, first: u32) -> vec4<f32> {
    var total = vec4<f32>(0.0);
    for (var c = lane; c < params.width4; c += LANES) {
        let y = row_float4(row * params.width4 + c, factor);
        for (var q = 0u; q < 4u; q += 1u) {
            if (first + q == 0u) {
                total[q] += dot(y, y);
            } else if (first + q <= params.vectors) {
                total[q] += dot(y, vectors[(first + q - 1u) * params.width4 + c]);
            }
        }
    }
    return total;
}

/// From `t`, the dots (the row with itself first), to the coefficients of the scaled row and the vectors.
fn set_factors(at: u32, t: array<f32, 12>, tiny: bool) {
    let norm = select(inverseSqrt(t[0]), 0.0, tiny);
    var alpha = norm;
    var beta: array<f32, MAX_VECTORS>;
    for (var k = 0u; k < params.vectors; k += 1u) {
        var n2: f32;
        if (k == 0u) {
            alpha = params.a * norm;
            n2 = select(params.a * params.a, 0.0, tiny) + 2.0 * alpha * t[1] + gram[0];
        } else {
            var d = alpha * t[k + 1u];
            for (var i = 0u; i < k; i += 1u) { d += beta[i] * gram[i * params.vectors + k]; }
            n2 = 1.0 + 2.0 * d + gram[k * params.vectors + k];
        }
        let inverse = inverse_norm(n2);
        alpha *= inverse;
        for (var i = 0u; i < k; i += 1u) { beta[i] *= inverse; }
        beta[k] = inverse;
    }
    factors[at] = alpha;
    for (var k = 0u; k < params.vectors; k += 1u) { factors[at + 1u + k] = beta[k]; }
}

fn run(group: u32, groups: u32, local: u32, team: u32, lane: u32) {
    let teams = GROUP / LANES;
    let at = team * (1u + MAX_VECTORS);
    for (var first = group * teams; first < params.rows; first += groups * teams) {
        let row = min(first + team, params.rows - 1u);
        let factor = row_scale(row, local, team, lane);
        var t: array<f32, 12>;
        for (var q = 0u; q <= params.vectors; q += 4u) {
            let total = team_total(partial_dots(row, lane, factor, q), local, team);
            t[q] = total.x;
            t[q + 1u] = total.y;
            t[q + 2u] = total.z;
            t[q + 3u] = total.w;
        }
        if (lane == 0u) { set_factors(at, t, is_tiny(t[0], factor)); }
        workgroupBarrier();
        if (first + team < params.rows) {
            for (var c = lane; c < params.width4; c += LANES) {
                var value = factors[at] * row_float4(row * params.width4 + c, factor);
                for (var k = 0u; k < params.vectors; k += 1u) {
                    value += factors[at + 1u + k] * vectors[k * params.width4 + c];
                }
                store4(row * params.width4 + c, value);
            }
        }
        workgroupBarrier();
    }
}

#import "float_team"
