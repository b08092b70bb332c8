// The operands, four elements at a time, from storage buffers; those of B have 16 bits.

#import "unpack"

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec2<u32>>;

fn read_a(index: u32) -> vec4<f32> {
    return a[index];
}

fn read_b(index: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(unpack_bits4(b[index]));
}
