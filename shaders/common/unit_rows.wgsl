// Scaling of rows before floating-point sums, so that no square overflows or vanishes, and the watch for bad values.

/// The least bad row of the window as 0xffffffff - index; zero: none.
@group(0) @binding(5) var<storage, read_write> status: array<atomic<u32>>;

/// The power of two that brings the row's peak into [1, 4), or 0 for a row that counts as zero.
fn row_scale(row: u32, local: u32, team: u32, lane: u32) -> f32 {
    var bits = 0u;
    for (var c = lane; c < params.width4; c += LANES) {
        bits = max(bits, row_peak4(row * params.width4 + c));
    }
    bits = team_peak(bits, local, team);
    if (bits >= 0x7f800000u && lane == 0u) {
        atomicMax(&status[0], 0xffffffffu - (params.row_base + row));
    }
    // Below 2^-60 the norm is below 1e-10 at any width we accept.
    let usable = bits >= 0x21800000u && bits < 0x7f800000u;
    return select(0.0, bitcast<f32>(max(254u - min(bits >> 23u, 254u), 1u) << 23u), usable);
}

/// |row| < 1e-10, from the scaled row's square.
fn is_tiny(square: f32, factor: f32) -> bool {
    return factor == 0.0 || square < 1e-20 * factor * factor;
}
