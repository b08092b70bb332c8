// 32 x 32 -> 64-bit products from 16-bit halves: for adapters without 64-bit integers.

fn mul_wide(a: u32, b: u32) -> vec2<u32> {
    let al = a & 0xffffu;
    let ah = a >> 16u;
    let bl = b & 0xffffu;
    let bh = b >> 16u;
    let ll = al * bl;
    let hl = ah * bl;
    let middle = al * bh + (ll >> 16u) + (hl & 0xffffu);
    return vec2<u32>((middle << 16u) | (ll & 0xffffu), ah * bh + (hl >> 16u) + (middle >> 16u));
}
