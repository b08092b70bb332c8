// Rows of bf16, two to a word: [rows, width4]. A bf16 is the upper half of an f32: unpacking is a shift.

#import "row_words2"

fn row_bits4(index: u32) -> vec4<u32> {
    let pair = row_words2(index);
    return vec4<u32>(pair.x << 16u, pair.x & 0xffff0000u, pair.y << 16u, pair.y & 0xffff0000u);
}

#import "common/float_rows.wgsl"
