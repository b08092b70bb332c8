// Rows as words, two to an entry, read from a texture of four words a texel: see `Capabilities::texel_reads`.

@group(0) @binding(1) var rows: texture_2d<u32>;

fn row_words2(index: u32) -> vec2<u32> {
    let texel = textureLoad(rows, vec2<u32>((index >> 1u) & 4095u, index >> 13u), 0);
    return select(texel.xy, texel.zw, (index & 1u) == 1u);
}
