// Exact moments of a block of rows: column sums of the unit rows, or of the rows that an affine-and-project operator
// makes of them, in 64-bit integers. Addition of integers commutes, so neither the order of rows nor the split into
// chunks nor the device can change a bit. Formats and proofs: `kernels::stats::moments`.
//
// A row is read from memory once; its later readings (peak, dots, columns) come from cache.

struct Params {
    rows: u32,
    width4: u32,
    // As VECTORS; the host twin reads it here.
    vectors: u32,
    // Index of the first row in the window since the accumulators were cleared, for `first_bad`.
    row_base: u32,
}

override GROUP: u32 = 64u;
// Invocations that share a row, a team: 1 on a CPU, 32 or so on a GPU.
override LANES: u32 = 1u;
// Vectors of the operator: known to the compiler, so that a pass without them carries no code for them.
override VECTORS: u32 = 0u;
const TILE: u32 = 64u;
const MAX_VECTORS: u32 = 9u;

@group(0) @binding(0) var<uniform> params: Params;
#import "rows"
// Fixed-point vectors [vectors, width4]: v_i = V_i 2^-exponent_i.
@group(0) @binding(2) var<storage, read> vectors: array<vec4<i32>>;
// The pass's constants, see `gram`.
@group(0) @binding(3) var<storage, read> constants: array<vec2<u32>>;
// As 64-bit numbers: column sums [4 width4], then nonzero rows, defect, first bad row, spare, and for each vector the
// low and the high part of the sum of its coefficients.
@group(0) @binding(4) var<storage, read_write> sums: array<atomic<u32>>;

#import "common/fixed_point.wgsl"

var<workgroup> peak: array<atomic<u32>, TILE>;
var<workgroup> square: array<atomic<u32>, 128>; // 2 TILE
var<workgroup> dots: array<atomic<u32>, 1152>; // 2 TILE MAX_VECTORS
var<workgroup> counters: array<atomic<u32>, 44>; // the tail's 2 (4 + 2 MAX_VECTORS) words
var<workgroup> scale: array<f32, TILE>;
var<workgroup> weight: array<u32, TILE>;
var<workgroup> shift: array<u32, TILE>;

fn global_add(slot: u32, value: vec2<u32>) {
    let before = atomicAdd(&sums[2u * slot], value.x);
    let high = value.y + select(0u, 1u, before > 0xffffffffu - value.x);
    if (high != 0u) {
        atomicAdd(&sums[2u * slot + 1u], high);
    }
}

/// Adds to one of the tail's counters within the workgroup; `flush_counters` passes them on.
fn count(slot: u32, value: vec2<u32>) {
    let before = atomicAdd(&counters[2u * slot], value.x);
    atomicAdd(&counters[2u * slot + 1u], value.y + select(0u, 1u, before > 0xffffffffu - value.x));
}

fn flush_counters(local: u32) {
    for (var i = local; i < 4u + 2u * VECTORS; i += GROUP) {
        let value = vec2<u32>(atomicLoad(&counters[2u * i]), atomicLoad(&counters[2u * i + 1u]));
        global_add(4u * params.width4 + i, value);
    }
}

fn clear_tile(local: u32) {
    for (var i = local; i < 44u; i += GROUP) {
        atomicStore(&counters[i], 0u);
    }
    for (var i = local; i < TILE; i += GROUP) {
        atomicStore(&peak[i], 0u);
        atomicStore(&square[2u * i], 0u);
        atomicStore(&square[2u * i + 1u], 0u);
        for (var k = 0u; k < VECTORS; k += 1u) {
            atomicStore(&dots[2u * (k * TILE + i)], 0u);
            atomicStore(&dots[2u * (k * TILE + i) + 1u], 0u);
        }
    }
}

/// The power of two that brings the peak into [2^30, 2^31).
fn fixed_scale(bits: u32) -> f32 {
    return bitcast<f32>((284u - (bits >> 23u)) << 23u); // 2^(30 - e), e = (bits >> 23) - 127
}

const TINY: u32 = 0x21800000u; // 2^-60: a row below it has norm below 1e-10 at any width we accept

fn sum_squares(row: u32, lane: u32, factor: f32) -> vec2<u32> {
    var total = no_sum4();
    for (var c = lane; c < params.width4; c += LANES) {
        total = add_squares(total, vec4<u32>(abs(row_fixed4(row * params.width4 + c, factor))));
    }
    return fold_sum4(total);
}

fn dot_vector(row: u32, vector: u32, lane: u32, factor: f32) -> vec2<u32> {
    var total = no_sum4();
    for (var c = lane; c < params.width4; c += LANES) {
        total = add_products(total, row_fixed4(row * params.width4 + c, factor), vectors[vector * params.width4 + c]);
    }
    return fold_sum4(total);
}

// Constants, in this order: a, 2a, a^2 + |b|^2, |b|^2 as Q56; then the Gram matrix [vectors, vectors] as Q56; then the
// vectors' exponents.
fn gram(i: u32, k: u32) -> vec2<u32> {
    return constants[4u + i * VECTORS + k];
}

/// 1 / sqrt(n2) as Q40 from Q56; below 2^-40 the row is left unscaled, as the published script leaves rows below 1e-10.
fn inverse_norm(n2: vec2<u32>) -> vec2<u32> {
    if (bitcast<i32>(n2.y) < 0 || (n2.y == 0u && n2.x < 0x10000u)) {
        return vec2<u32>(0u, 256u); // 1.0
    }
    let up = even_shift(n2);
    let root = inverse_root(shl64(n2, up));
    return shl64(vec2<u32>(root.w, 0u), up / 2u + 7u);
}

struct Coefficients {
    row: vec2<u32>,
    vector: array<vec2<u32>, MAX_VECTORS>,
}

/// The operator's coefficients for one row, Q40: project a u + v_0, then for each further vector shift by it and project.
fn coefficients(slot: u32, w: u32, places: u32) -> Coefficients {
    var out: Coefficients;
    var t: array<vec2<u32>, MAX_VECTORS>;
    for (var k = 0u; k < VECTORS; k += 1u) {
        let d = vec2<u32>(atomicLoad(&dots[2u * (k * TILE + slot)]), atomicLoad(&dots[2u * (k * TILE + slot) + 1u]));
        let exponent = constants[4u + VECTORS * VECTORS + k].x;
        t[k] = mul_shift(d, vec2<u32>(w, 0u), exponent + places - 32u);
    }
    let a = select(constants[0], vec2<u32>(0u), w == 0u);
    var n2 = select(constants[2], constants[3], w == 0u);
    n2 = add64(n2, mul_shift(constants[1], t[0], 56u));
    out.vector[0] = inverse_norm(n2);
    out.row = mul_shift(a, out.vector[0], 56u);
    for (var k = 1u; k < VECTORS; k += 1u) {
        var dot = mul_shift(out.row, t[k], 40u);
        for (var i = 0u; i < k; i += 1u) {
            dot = add64(dot, mul_shift(out.vector[i], gram(i, k), 40u));
        }
        n2 = add64(add64(vec2<u32>(0u, 0x1000000u), shl64(dot, 1u)), gram(k, k));
        let inverse = inverse_norm(n2);
        out.row = mul_shift(out.row, inverse, 40u);
        for (var i = 0u; i < k; i += 1u) {
            out.vector[i] = mul_shift(out.vector[i], inverse, 40u);
        }
        out.vector[k] = inverse;
    }
    return out;
}

/// Weight and shift of one row from its sums; counters of the row.
fn scalars(slot: u32, row: u32) {
    weight[slot] = 0u;
    shift[slot] = 0u;
    if (row >= params.rows) { return; }
    let bits = atomicLoad(&peak[slot]);
    if (bits >= 0x7f800000u) {
        // The least bad row wins; zero means none.
        atomicMax(&sums[8u * params.width4 + 4u], 0xffffffffu - (params.row_base + row));
        return;
    }
    let s = vec2<u32>(atomicLoad(&square[2u * slot]), atomicLoad(&square[2u * slot + 1u]));
    // u_j = x_j w 2^-(40 + places), w of 31 bits.
    var w = 0u;
    var places = 21u;
    if (bits >= TINY && !norm_is_tiny(s, bits)) {
        let up = even_shift(s);
        let root = inverse_root(shl64(s, up));
        w = root.w;
        places = 29u - up / 2u;
        count(0u, vec2<u32>(1u, 0u));
        count(1u, sar128(root.rest, 62u));
    }
    if (VECTORS == 0u) {
        weight[slot] = w;
        shift[slot] = places;
        return;
    }
    let c = coefficients(slot, w, places);
    for (var k = 0u; k < VECTORS; k += 1u) {
        count(4u + 2u * k, vec2<u32>(c.vector[k].x & 0xfffffu, 0u));
        count(5u + 2u * k, sar64(c.vector[k], 20u));
    }
    set_weight(slot, mul128(c.row, vec2<u32>(w, 0u)), places);
}

/// |row| < 1e-10, decided over the integers.
fn norm_is_tiny(s: vec2<u32>, bits: u32) -> bool {
    let e = i32(bits >> 23u) - 127;
    if (e >= -33) { return false; }
    if (e < -41) { return true; }
    // 1e-20 in units of s for e = -34, times 4 for each step down.
    let limit = shl64(vec2<u32>(LIMIT_LOW, LIMIT_HIGH), 2u * u32(-34 - e));
    return s.y < limit.y || (s.y == limit.y && s.x < limit.x);
}

// floor(1e-20 * 2^112): 1e-20 = s 2^16 4^(e - 30) at e = -34.
const LIMIT_LOW: u32 = 0x42192484u;
const LIMIT_HIGH: u32 = 0x2f39u;

/// A row's multiplier: the 31 upper bits of `product` (a Q40 number times w), and by how much the products shift right.
fn set_weight(slot: u32, product: vec4<u32>, places: u32) {
    let top = sar128(product, 40u);
    let bits = 64u - select(countLeadingZeros(top.y), 32u + countLeadingZeros(top.x), top.y == 0u);
    let excess = min(max(bits, 31u) - 31u, places);
    let rounded = add64(sar128(product, 39u + excess), vec2<u32>(1u, 0u));
    weight[slot] = min(sar64(rounded, 1u).x, 0x7fffffffu);
    shift[slot] = places - excess;
}

fn add_columns(first_row: u32, column: u32) {
    var total = no_sum4();
    let count = min(TILE, params.rows - first_row);
    for (var r = 0u; r < count; r += 1u) {
        let x = row_fixed4((first_row + r) * params.width4 + column, scale[r]);
        total = add_weighted(total, x, weight[r], shift[r]);
    }
    for (var k = 0u; k < 4u; k += 1u) {
        global_add(4u * column + k, sum4_words(total, k));
    }
}

fn peaks(first_row: u32, team: u32, lane: u32) {
    for (var slot = team; slot < TILE; slot += GROUP / LANES) {
        var bits = 0u;
        if (first_row + slot < params.rows) {
            for (var c = lane; c < params.width4; c += LANES) {
                bits = max(bits, row_peak4((first_row + slot) * params.width4 + c));
            }
        }
        let most = team_max(bits);
        if (team_leads(lane)) { atomicMax(&peak[slot], most); }
    }
}

fn products(first_row: u32, team: u32, lane: u32) {
    for (var slot = team; slot < TILE; slot += GROUP / LANES) {
        let bits = atomicLoad(&peak[slot]);
        let usable = bits >= TINY && bits < 0x7f800000u;
        let factor = select(0.0, fixed_scale(bits), usable);
        scale[slot] = factor;
        if (!usable) { continue; }
        let s = team_sum(sum_squares(first_row + slot, lane, factor));
        if (team_leads(lane)) {
            let before = atomicAdd(&square[2u * slot], s.x);
            atomicAdd(&square[2u * slot + 1u], s.y + select(0u, 1u, before > 0xffffffffu - s.x));
        }
        for (var k = 0u; k < VECTORS; k += 1u) {
            let d = team_sum(dot_vector(first_row + slot, k, lane, factor));
            let at = 2u * (k * TILE + slot);
            if (team_leads(lane)) {
                let before = atomicAdd(&dots[at], d.x);
                atomicAdd(&dots[at + 1u], d.y + select(0u, 1u, before > 0xffffffffu - d.x));
            }
        }
    }
}

/// The kernel's body, called by the entry point of a `team_*` file; `lane` of `LANES` works on the rows of `team`.
fn run(group: u32, groups: u32, local: u32, team: u32, lane: u32) {
    let tiles = (params.rows + TILE - 1u) / TILE;
    for (var tile = group; tile < tiles; tile += groups) {
        let first_row = tile * TILE;
        clear_tile(local);
        workgroupBarrier();
        peaks(first_row, team, lane);
        workgroupBarrier();
        products(first_row, team, lane);
        workgroupBarrier();
        for (var slot = local; slot < TILE; slot += GROUP) {
            scalars(slot, first_row + slot);
        }
        workgroupBarrier();
        flush_counters(local);
        for (var c = local; c < params.width4; c += GROUP) {
            add_columns(first_row, c);
        }
        workgroupBarrier();
    }
}

#import "team"
