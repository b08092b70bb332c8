// Moments in tiles of rows, which are read three times: once from memory, where they stay in the caches. For rows too wide for registers. One
// of the interchangeable `moments_*` files.

const TILE: u32 = 64u;

var<workgroup> peak: array<atomic<u32>, TILE>;
var<workgroup> square: array<atomic<u32>, 128>; // 2 TILE
var<workgroup> dots: array<atomic<u32>, 1152>; // 2 TILE MAX_VECTORS
var<workgroup> scale: array<f32, TILE>;
var<workgroup> weight: array<u32, TILE>;
var<workgroup> shift: array<u32, TILE>;

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
