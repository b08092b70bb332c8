// Rows of heads beside each other, of any even width, to a row for each head, or back: y = x.

struct Params {
    // Vectors of y.
    count: u32,
    heads: u32,
    // Elements of a head.
    width: u32,
    // Vectors of a row of the heads' rows and of the rows of heads.
    apart4: u32,
    together4: u32,
    // 1 where y has a row for each head.
    split: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
#import "input" 1
#import "result" 2

// The two elements from an even column on, of a row that starts at a vector.
fn pair(base: u32, column: u32) -> vec2<f32> {
    let four = read1(base + column / 4u);
    return select(four.xy, four.zw, (column & 2u) == 2u);
}

// Two elements of y by row and column; zeros beyond its width.
fn moved(row: u32, column: u32) -> vec2<f32> {
    if (params.split == 1u) {
        let at = min(column, params.width - 2u);
        let found = pair((row / params.heads) * params.together4, (row % params.heads) * params.width + at);
        return select(vec2<f32>(0.0), found, column < params.width);
    }
    let last = params.heads * params.width - 2u;
    let at = min(column, last);
    let found = pair((row * params.heads + at / params.width) * params.apart4, at % params.width);
    return select(vec2<f32>(0.0), found, column <= last);
}

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let width4 = select(params.together4, params.apart4, params.split == 1u);
    let column = 4u * (at % width4);
    let value = vec4<f32>(moved(at / width4, column), moved(at / width4, column + 2u));
    if (index < params.count) { write2(index, value); }
}

#import "common/elements.wgsl"
