// Bits that order as the floats do, and back: for maxima by `team_peak`.

fn ordered(x: f32) -> u32 {
    let b = bitcast<u32>(x);
    return select(b | 0x80000000u, ~b, (b & 0x80000000u) != 0u);
}

fn from_ordered(b: u32) -> f32 {
    return bitcast<f32>(select(~b, b & 0x7fffffffu, (b & 0x80000000u) != 0u));
}

// The size of each number as bits: those of a NaN are above all others, which `max` of floats may drop.
fn sizes4(x: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu);
}

// What the team finds the largest of: the bits of the largest number of all, or, where a NaN or +inf was met, whose exponentials have no
// sum, those of a NaN. `sizes` are the largest that were met.
fn peak_bits(most: vec4<f32>, sizes: vec4<u32>) -> u32 {
    let top = ordered(max(max(most.x, most.y), max(most.z, most.w)));
    let size = max(max(sizes.x, sizes.y), max(sizes.z, sizes.w));
    return select(top, 0xffffffffu, size > 0x7f800000u || top >= 0xff800000u);
}
