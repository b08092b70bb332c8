// A table beside the rows (an operator's vectors, the rows' multipliers), four words to an entry, from a texture: see
// `Capabilities::texel_reads`.

@group(0) @binding(2) var vectors: texture_2d<u32>;

fn vector_words4(index: u32) -> vec4<u32> {
    return textureLoad(vectors, vec2<u32>(index & 4095u, index >> 12u), 0);
}
