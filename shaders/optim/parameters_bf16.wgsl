// Parameters that are kept in bf16, two to a word, rounded stochastically: up with the probability of what is cut off, so that steps
// far below a number's last digit still add up. The 16 random bits of an element come from its place, the step and the run's seed.

#import "product"
#import "common/philox.wgsl"
#import "common/unpack_bf16.wgsl"

@group(0) @binding(3) var<storage, read_write> parameters: array<vec2<u32>>;

fn parameters4(at: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(unpack_bits4(parameters[at]));
}

fn store_parameters4(at: u32, p: vec4<f32>) {
    let random = philox(vec4<u32>(at, params.step, params.tensor, 2u), vec2<u32>(params.key0, params.key1));
    let half = (bitcast<vec4<u32>>(p) + (random >> vec4<u32>(16u))) >> vec4<u32>(16u);
    parameters[at] = vec2<u32>(half.x | (half.y << 16u), half.z | (half.w << 16u));
}
