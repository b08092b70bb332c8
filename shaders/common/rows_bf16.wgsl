// Rows of bf16, two to a word: [rows, width4].

#import "row_words2"
#import "common/unpack_bf16.wgsl"

fn row_bits4(index: u32) -> vec4<u32> {
    return unpack_bits4(row_words2(index));
}

#import "common/float_rows.wgsl"
