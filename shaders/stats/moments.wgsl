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
const TILE: u32 = 64u;

@group(0) @binding(0) var<uniform> params: Params;
#import "rows"
// Fixed-point vectors [vectors, width4] of i32: v_i = V_i 2^-exponent_i.
#import "vectors"
#import "common/sums.wgsl"
#import "stats/row_scalars.wgsl"

var<workgroup> peak: array<atomic<u32>, TILE>;
var<workgroup> square: array<atomic<u32>, 128>; // 2 TILE
var<workgroup> dots: array<atomic<u32>, 1152>; // 2 TILE MAX_VECTORS
var<workgroup> counters: array<atomic<u32>, 44>; // the tail's 2 (4 + 2 MAX_VECTORS) words
var<workgroup> scale: array<f32, TILE>;
var<workgroup> weight: array<u32, TILE>;
var<workgroup> shift: array<u32, TILE>;

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
        total = add_products(total, row_fixed4(row * params.width4 + c, factor), bitcast<vec4<i32>>(vector_words4(vector * params.width4 + c)));
    }
    return fold_sum4(total);
}

/// Weight and shift of the row in `slot`.
fn scalars(slot: u32, row: u32) {
    weight[slot] = 0u;
    if (row >= params.rows) { return; }
    var d: array<vec2<u32>, MAX_VECTORS>;
    for (var k = 0u; k < VECTORS; k += 1u) {
        let at = 2u * (k * TILE + slot);
        d[k] = vec2<u32>(atomicLoad(&dots[at]), atomicLoad(&dots[at + 1u]));
    }
    let s = vec2<u32>(atomicLoad(&square[2u * slot]), atomicLoad(&square[2u * slot + 1u]));
    let out = row_scalars(row, atomicLoad(&peak[slot]), s, &d);
    weight[slot] = out.weight;
    shift[slot] = out.shift;
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
