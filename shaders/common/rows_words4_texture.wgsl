// Rows as words, four to an entry, read from a texture: see `Capabilities::texel_reads`.

@group(0) @binding(1) var rows: texture_2d<u32>;

fn row_words4(index: u32) -> vec4<u32> {
    return textureLoad(rows, vec2<u32>(index & 4095u, index >> 12u), 0);
}
