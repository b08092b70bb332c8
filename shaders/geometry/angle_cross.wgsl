// The cosines between two frames' directions, C = A^T B: exact sums in units of 2^-120, rounded to multiples of 2^-60, and these cut in two
// parts of 32 bits whose digits are the operands of the next exact product. Formats: `kernels::geometry::angles`.

struct Params {
    // Rows of C in words of four, and its columns in vectors of four.
    words: u32,
    width4: u32,
    padding0: u32,
    padding1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// [4 words, 4 width4] of 128 bits.
@group(0) @binding(1) var<storage, read> sums: array<vec4<u32>>;
// [6, words, 4 width4]: digits of the upper parts, and of the lower ones.
@group(0) @binding(2) var<storage, read_write> upper: array<u32>;
@group(0) @binding(3) var<storage, read_write> lower: array<u32>;

#import "common/wide.wgsl"

/// round(sum / 2^60), half up.
fn rounded(sum: vec4<u32>) -> vec2<u32> {
    let low = add64(sum.xy, vec2<u32>(0u, 0x08000000u));
    let carry = select(0u, 1u, low.y < sum.y);
    let high = add64(sum.zw, vec2<u32>(carry, 0u));
    return vec2<u32>((low.y >> 28u) | (high.x << 4u), (high.x >> 28u) | (high.y << 4u));
}

/// Two digits of an integer, with their upper bits turned: 128 was added at the place of each.
fn with_offset(x: vec2<u32>) -> vec2<u32> {
    return add64(x, vec2<u32>(0x80808080u, 0x8080u)) ^ vec2<u32>(0x80808080u, 0x8080u);
}

fn element(index: u32) {
    let width = 4u * params.width4;
    if (index >= params.words * width) {
        return;
    }
    let word = index / width;
    let column = index % width;
    var high: array<vec2<u32>, 4>;
    var low: array<vec2<u32>, 4>;
    for (var k = 0u; k < 4u; k += 1u) {
        let q = rounded(sums[(4u * word + k) * width + column]);
        // The lower 32 bits as a signed number, and what is left above.
        let part = vec2<u32>(q.x, select(0u, 0xffffffffu, q.x >= 0x80000000u));
        high[k] = with_offset(sar64(sub64(q, part), 32u));
        low[k] = with_offset(part);
    }
    for (var plane = 0u; plane < 6u; plane += 1u) {
        let place = 8u * (plane % 4u);
        var digits = vec2<u32>(0u);
        for (var k = 0u; k < 4u; k += 1u) {
            let words = select(vec2<u32>(high[k].x, low[k].x), vec2<u32>(high[k].y, low[k].y), plane >= 4u);
            digits |= ((words >> vec2<u32>(place)) & vec2<u32>(255u)) << vec2<u32>(8u * k);
        }
        let at = (plane * params.words + word) * width + column;
        upper[at] = digits.x;
        lower[at] = digits.y;
    }
}

#import "common/elements.wgsl"
