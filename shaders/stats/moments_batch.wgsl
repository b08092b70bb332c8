// Moments of rows in registers: a workgroup holds BATCH rows at a time, each invocation the same HELD vectors of columns of each, so that a row
// is read once, and all loads of a batch are on their way before the first is used. An invocation keeps the sums of its columns over all
// batches of its workgroup. One of the interchangeable `moments_*` files.

// HELD BATCH at most, HELD and BATCH.
const MOST: u32 = 16u;
const MOST_HELD: u32 = 4u;
const MOST_ROWS: u32 = 8u;

var<workgroup> peak: array<atomic<u32>, MOST_ROWS>;
var<workgroup> square: array<atomic<u32>, 16>; // 2 MOST_ROWS
var<workgroup> dots: array<atomic<u32>, 144>; // 2 MOST_ROWS MAX_VECTORS
// Weight and shift.
var<workgroup> weights: array<vec2<u32>, MOST_ROWS>;

fn clear_batch(local: u32) {
    for (var i = local; i < BATCH; i += GROUP) {
        atomicStore(&peak[i], 0u);
        atomicStore(&square[2u * i], 0u);
        atomicStore(&square[2u * i + 1u], 0u);
    }
    for (var i = local; i < 2u * MOST_ROWS * VECTORS; i += GROUP) { atomicStore(&dots[i], 0u); }
}

/// The bits of a vector of a row's columns, zeros beyond the row.
fn hold4(row: u32, column: u32) -> vec4<u32> {
    let at = min(row, params.rows - 1u) * params.width4 + min(column, params.width4 - 1u);
    return select(vec4<u32>(0u), row_bits4(at), column < params.width4);
}

fn is_usable(bits: u32) -> bool {
    return bits >= TINY && bits < 0x7f800000u;
}

/// Adds a member's share to the square of the row in `slot`.
fn add_square(slot: u32, value: vec2<u32>) {
    let before = atomicAdd(&square[2u * slot], value.x);
    atomicAdd(&square[2u * slot + 1u], value.y + select(0u, 1u, before > 0xffffffffu - value.x));
}

fn add_dot(at: u32, value: vec2<u32>) {
    let before = atomicAdd(&dots[2u * at], value.x);
    atomicAdd(&dots[2u * at + 1u], value.y + select(0u, 1u, before > 0xffffffffu - value.x));
}

/// Weight and shift of the row in `slot`.
fn scalars(slot: u32, row: u32) {
    weights[slot] = vec2<u32>(0u);
    if (row >= params.rows) { return; }
    var d: array<vec2<u32>, MAX_VECTORS>;
    for (var v = 0u; v < VECTORS; v += 1u) {
        let at = 2u * (v * MOST_ROWS + slot);
        d[v] = vec2<u32>(atomicLoad(&dots[at]), atomicLoad(&dots[at + 1u]));
    }
    let s = vec2<u32>(atomicLoad(&square[2u * slot]), atomicLoad(&square[2u * slot + 1u]));
    let out = row_scalars(row, atomicLoad(&peak[slot]), s, &d);
    weights[slot] = vec2<u32>(out.weight, out.shift);
}

/// The kernel's body, called by the entry point of a `team_*` file; a workgroup shares its rows.
fn run(group: u32, groups: u32, local: u32, team: u32, lane: u32) {
    let batches = (params.rows + BATCH - 1u) / BATCH;
    for (var i = local; i < 44u; i += GROUP) { atomicStore(&counters[i], 0u); }
    var total: array<Sum4, MOST_HELD>;
    for (var k = 0u; k < HELD; k += 1u) { total[k] = no_sum4(); }
    for (var batch = group; batch < batches; batch += groups) {
        let first_row = batch * BATCH;
        clear_batch(local);
        var x: array<vec4<u32>, MOST>;
        for (var r = 0u; r < BATCH; r += 1u) {
            for (var k = 0u; k < HELD; k += 1u) { x[r * HELD + k] = hold4(first_row + r, local + k * GROUP); }
        }
        workgroupBarrier();
        for (var r = 0u; r < BATCH; r += 1u) {
            var bits = 0u;
            for (var k = 0u; k < HELD; k += 1u) { bits = max(bits, bits_peak4(x[r * HELD + k])); }
            let most = team_max(bits);
            if (team_leads(lane)) { atomicMax(&peak[r], most); }
        }
        workgroupBarrier();
        for (var r = 0u; r < BATCH; r += 1u) {
            let bits = atomicLoad(&peak[r]);
            var s = no_sum4();
            for (var k = 0u; k < HELD; k += 1u) {
                // As integers from here on.
                let fixed = select(vec4<i32>(0), bits_fixed4(x[r * HELD + k], fixed_scale(bits)), is_usable(bits));
                x[r * HELD + k] = bitcast<vec4<u32>>(fixed);
                s = add_squares(s, vec4<u32>(abs(fixed)));
            }
            let all = team_sum(fold_sum4(s));
            if (team_leads(lane)) { add_square(r, all); }
        }
        for (var v = 0u; v < VECTORS; v += 1u) {
            for (var r = 0u; r < BATCH; r += 1u) {
                var d = no_sum4();
                for (var k = 0u; k < HELD; k += 1u) {
                    let at = v * params.width4 + min(local + k * GROUP, params.width4 - 1u);
                    d = add_products(d, bitcast<vec4<i32>>(x[r * HELD + k]), bitcast<vec4<i32>>(vector_words4(at)));
                }
                let all = team_sum(fold_sum4(d));
                if (team_leads(lane)) { add_dot(v * MOST_ROWS + r, all); }
            }
        }
        workgroupBarrier();
        for (var slot = local; slot < BATCH; slot += GROUP) { scalars(slot, first_row + slot); }
        workgroupBarrier();
        for (var r = 0u; r < BATCH; r += 1u) {
            let w = weights[r];
            for (var k = 0u; k < HELD; k += 1u) {
                total[k] = add_weighted(total[k], bitcast<vec4<i32>>(x[r * HELD + k]), w.x, w.y);
            }
        }
    }
    workgroupBarrier();
    flush_counters(local);
    for (var k = 0u; k < HELD; k += 1u) {
        let column = local + k * GROUP;
        if (column < params.width4) {
            for (var q = 0u; q < 4u; q += 1u) { global_add(4u * column + q, sum4_words(total[k], q)); }
        }
    }
}
