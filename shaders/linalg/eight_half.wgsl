// Eight elements of a stored row of operand $, in f16, from its element 8 `eight` on; zeros beyond the row, whose vectors of four are `stride`.
// One of the interchangeable `eight_*` files.

@group(0) @binding($) var<storage, read> operand$: array<vec4<f16>>;

fn eight$(row: u32, eight: u32, stride: u32) -> Eight {
    let at = row * stride + 2u * eight;
    var high = vec4<f16>();
    if (2u * eight + 1u < stride) { high = operand$[at + 1u]; }
    return Eight(operand$[at], high);
}
