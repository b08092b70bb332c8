// A pixel's colours out of its word: red in the lowest byte, then green, blue and alpha.

// How pixels are read: bits of a kernel's parameter `reading`.
const OVER_WHITE: u32 = 1u;
const BLUE_FIRST: u32 = 2u;

// Over white in Pillow's integers (`alpha_composite`): 7 bits behind the point, divided by 255, then cut.
fn over_white(colours: vec3<u32>, alpha: u32) -> vec3<u32> {
    let sum = colours * (alpha << 7u) + vec3<u32>(255u * ((255u - alpha) << 7u) + (0x80u << 7u));
    return (((sum >> vec3<u32>(8u)) + sum) >> vec3<u32>(8u)) >> vec3<u32>(7u);
}

fn colours(word: u32, reading: u32) -> vec3<u32> {
    let bytes = vec4<u32>(word, word >> 8u, word >> 16u, word >> 24u) & vec4<u32>(255u);
    let ordered = select(bytes.xyz, bytes.zyx, (reading & BLUE_FIRST) != 0u);
    return select(ordered, over_white(ordered, bytes.w), (reading & OVER_WHITE) != 0u);
}
