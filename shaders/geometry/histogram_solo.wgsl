// Counted at once, where workgroups gain nothing. One of the interchangeable `histogram_*` files.

fn element(index: u32) {
    let count = params.rows * params.width4;
    let at = min(index, count - 1u);
    let bits = row_words4(at);
    let bins = bins4(bits);
    let pairs = pairs4(at, bits);
    for (var c = 0u; c < 4u; c += 1u) {
        if (index < count && pairs[c]) { atomicAdd(&counts[bins[c]], 1u); }
    }
}

#import "common/elements.wgsl"
