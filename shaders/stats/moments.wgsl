// Exact moments of a block of rows: column sums of the unit rows, or of the rows that an affine-and-project operator
// makes of them, in 64-bit integers. Addition of integers commutes, so neither the order of rows nor the split into
// chunks nor the device can change a bit. Formats and proofs: `kernels::stats::moments`.
//
// Rows in registers or in tiles: see `moments_batch` and `moments_tile`.

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
// Rows that a workgroup holds at a time, and vectors of each to an invocation; tiles hold none.
override BATCH: u32 = 1u;
override HELD: u32 = 1u;

@group(0) @binding(0) var<uniform> params: Params;
#import "rows"
// Fixed-point vectors [vectors, width4] of i32: v_i = V_i 2^-exponent_i.
#import "vectors"
#import "common/sums.wgsl"
#import "stats/row_scalars.wgsl"

var<workgroup> counters: array<atomic<u32>, 44>; // the tail's 2 (4 + 2 MAX_VECTORS) words

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

#import "moments"
#import "team"
