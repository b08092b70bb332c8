// Applies an affine-and-project operator to rows: with u the unit row,
// r_0 = (a u + v_0) / |a u + v_0|, r_k = (r_{k-1} + v_k) / |r_{k-1} + v_k|. Every r_k is a combination of the row and
// the vectors, so that a row needs its dots with them, a few scalars, one read and one write. No vector: r = u.

struct Params {
    rows: u32,
    width4: u32,
    // As VECTORS; the host twin reads it here.
    vectors: u32,
    a: f32,
    row_base: u32,
}

override GROUP: u32 = 64u;
override LANES: u32 = 1u;
// Known to the compiler, so that the loops over the vectors unroll.
override VECTORS: u32 = 0u;
const MAX_VECTORS: u32 = 9u;

@group(0) @binding(0) var<uniform> params: Params;
#import "rows"
// [vectors, width4] of f32
#import "vectors"
// Gram matrix of the vectors, [vectors, vectors].
@group(0) @binding(3) var<storage, read> gram: array<f32>;
#import "out"

#import "held"
#import "common/unit_rows.wgsl"

fn inverse_norm(n2: f32) -> f32 {
    return select(1.0, inverseSqrt(n2), n2 > 1e-20);
}

fn vector4(k: u32, c: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(vector_words4(k * params.width4 + c));
}

struct Factors {
    row: f32,
    vector: array<f32, MAX_VECTORS>,
}

/// From `t`, the dots (the row with itself first), to the coefficients of the scaled row and the vectors.
fn factors_of(t: ptr<function, array<f32, 12>>, tiny: bool) -> Factors {
    var f: Factors;
    let norm = select(inverseSqrt((*t)[0]), 0.0, tiny);
    f.row = norm;
    for (var k = 0u; k < VECTORS; k += 1u) {
        var n2: f32;
        if (k == 0u) {
            f.row = params.a * norm;
            n2 = select(params.a * params.a, 0.0, tiny) + 2.0 * f.row * (*t)[1] + gram[0];
        } else {
            var d = f.row * (*t)[k + 1u];
            for (var i = 0u; i < k; i += 1u) { d += f.vector[i] * gram[i * VECTORS + k]; }
            n2 = 1.0 + 2.0 * d + gram[k * VECTORS + k];
        }
        let inverse = inverse_norm(n2);
        f.row *= inverse;
        for (var i = 0u; i < k; i += 1u) { f.vector[i] *= inverse; }
        f.vector[k] = inverse;
    }
    return f;
}

/// Adds the dots of four elements of the scaled row with themselves and the vectors: the quantities `first` and up.
fn add_dots(sums: vec4<f32>, y: vec4<f32>, column: u32, first: u32) -> vec4<f32> {
    var total = sums;
    for (var q = 0u; q < 4u; q += 1u) {
        if (first + q == 0u) {
            total[q] += dot(y, y);
        } else if (first + q <= VECTORS) {
            total[q] += dot(y, vector4(first + q - 1u, column));
        }
    }
    return total;
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
        var t: array<f32, 12>;
        for (var q = 0u; q <= VECTORS; q += 4u) {
            var part = vec4<f32>(0.0);
            for (var tile = 0u; tile < span(); tile += HELD * LANES) {
                if (WHOLE == 0u) {
                    for (var k = 0u; k < HELD; k += 1u) { x[k] = hold4(base, place(tile, k, lane)); }
                }
                for (var k = 0u; k < HELD; k += 1u) {
                    part = add_dots(part, bits_float4(x[k], scale), clamped(place(tile, k, lane)), q);
                }
            }
            let total = team_total(part, local, team);
            t[q] = total.x;
            t[q + 1u] = total.y;
            t[q + 2u] = total.z;
            t[q + 3u] = total.w;
        }
        // Every member for itself: cheaper than to share them.
        var f = factors_of(&t, is_tiny(t[0], scale));
        if (first + team < params.rows) {
            for (var tile = 0u; tile < span(); tile += HELD * LANES) {
                if (WHOLE == 0u) {
                    for (var k = 0u; k < HELD; k += 1u) { x[k] = hold4(base, place(tile, k, lane)); }
                }
                for (var k = 0u; k < HELD; k += 1u) {
                    let column = place(tile, k, lane);
                    if (!within(column)) { continue; }
                    var value = f.row * bits_float4(x[k], scale);
                    for (var v = 0u; v < VECTORS; v += 1u) {
                        value += f.vector[v] * vector4(v, column);
                    }
                    store4(base + column, value);
                }
            }
        }
    }
}

#import "float_team"
