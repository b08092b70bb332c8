// What the gradients of attention know of each row and head, two pairs to an entry.

#import "nn/attention_params.wgsl"
#import "operand5"

// Log-sum-exp and dout . out of a row's head.
fn stat(row: u32, head: u32) -> vec2<f32> {
    let at = row * params.heads + head;
    let pair = read5(at / 2u);
    return select(pair.xy, pair.zw, (at & 1u) == 1u);
}
