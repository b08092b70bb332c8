// As `eight_half`, of an operand of another element type, which is rounded to f16.

#import "number" $

fn eight$(row: u32, eight: u32, stride: u32) -> Eight {
    let at = row * stride + 2u * eight;
    var high = vec4<f32>(0.0);
    if (2u * eight + 1u < stride) { high = read$(at + 1u); }
    return Eight(vec4<f16>(read$(at)), vec4<f16>(high));
}
