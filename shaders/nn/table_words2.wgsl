// The embedding table in 16 bits an element.

#import "unpack"

@group(0) @binding(1) var<storage, read> table: array<vec2<u32>>;

fn read_table(index: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(unpack_bits4(table[index]));
}
