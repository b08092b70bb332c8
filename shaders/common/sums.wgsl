// The 64-bit sums of the moments kernels.

// As 64-bit numbers: column sums [4 width4], then nonzero rows, defect, first bad row, spare, and for each vector the
// low and the high part of the sum of its coefficients.
@group(0) @binding(4) var<storage, read_write> sums: array<atomic<u32>>;

fn global_add(slot: u32, value: vec2<u32>) {
    let before = atomicAdd(&sums[2u * slot], value.x);
    let high = value.y + select(0u, 1u, before > 0xffffffffu - value.x);
    if (high != 0u) {
        atomicAdd(&sums[2u * slot + 1u], high);
    }
}
