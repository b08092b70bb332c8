// As `eight_half`, of rows of whole eights: 16 bytes at a time.

@group(0) @binding($) var<storage, read> operand$: array<Eight>;

fn eight$(row: u32, eight: u32, stride: u32) -> Eight {
    return operand$[row * (stride / 2u) + eight];
}
