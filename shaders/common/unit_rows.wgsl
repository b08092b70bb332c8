// Scaling of rows before floating-point sums, so that no square overflows or vanishes, and the watch for bad values.

/// The least bad row of the window as 0xffffffff - index; zero: none.
@group(0) @binding(5) var<storage, read_write> status: array<atomic<u32>>;

/// The bits of a column's vector, zeros beyond the row.
fn hold4(base: u32, column: u32) -> vec4<u32> {
    return select(vec4<u32>(0u), row_bits4(base + clamped(column)), within(column));
}

/// From the bits of the row's peak, the power of two that brings it into [1, 4), or 0 for a row that counts as zero.
fn row_scale(bits: u32, row: u32, lane: u32) -> f32 {
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
