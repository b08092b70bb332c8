// Gradient of a normalisation by its input: with the row's scalars (mean, r, a, b) of `norm_scalars` and n = (x - mean) r,
// dx = r (dy weight - a - n b).

struct Params {
    count: u32,
    width: u32,
    width4: u32,
    accumulate: u32,
    // Added to the weight.
    offset: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> scalars: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let column = at % params.width4;
    let s = scalars[at / params.width4];
    let normal = (x[at] - s.x) * s.y;
    var value = s.y * (dy[at] * (params.offset + weight[column]) - s.z - normal * s.w);
    let inside = vec4<u32>(4u * column) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.width);
    value = select(vec4<f32>(0.0), value, inside);
    value += select(vec4<f32>(0.0), dx[at], params.accumulate == 1u);
    if (index < params.count) { dx[index] = value; }
}

#import "common/elements.wgsl"
