// Similarities to their gradient in place: scale exp(t) (softmax by row + softmax by column - 2 on the diagonal) / 2.

struct Params {
    count: u32,
    width: u32,
    width4: u32,
    most: f32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> temperature: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> columns: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> similarities: array<vec4<f32>>;

fn sum_of(column: u32) -> f32 {
    return columns[min(column, params.width - 1u)].x;
}

// The exponential of what is 0 at most, but for rounding.
fn share_of(below: vec4<f32>) -> vec4<f32> {
    return keep_nan4(exp(min(below, vec4<f32>(0.0))), below);
}

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let row = at / params.width4;
    let first = 4u * (at % params.width4);
    let place = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u);
    let factor = keep_nan(exp(min(temperature[0].x, params.most)), temperature[0].x);
    let z = factor * similarities[at];
    let by_column = vec4<f32>(sum_of(first), sum_of(first + 1u), sum_of(first + 2u), sum_of(first + 3u));
    let shares = share_of(z - rows[row].x) + share_of(z - by_column);
    let own = select(vec4<f32>(0.0), vec4<f32>(2.0), place == vec4<u32>(row));
    let value = 0.5 * params.scale * factor * (shares - own);
    let inside = place < vec4<u32>(params.width);
    if (index < params.count) { similarities[index] = select(vec4<f32>(0.0), value, inside); }
}

#import "common/nan.wgsl"
#import "common/elements.wgsl"
