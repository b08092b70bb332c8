// Counts the cosines of a tile by bin. A bin is the cosines whose keys lie between two edges, which the host computed in f64: f32 only
// guesses, at most one off. A NaN is in no bin.

struct Params {
    rows: u32,
    width: u32,
    width4: u32,
    bins: u32,
    // Indices of the tile's first row and column.
    query: u32,
    base: u32,
    // 1: pairs of a row and a later one; 0: pairs of different index.
    within: u32,
    // (bins - 1) / 2.
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
#import "row_words4"
// [bins + 1]: the least key of each bin, and 2^32 - 1.
@group(0) @binding(2) var<storage, read> edges: array<u32>;
@group(0) @binding(3) var<storage, read_write> counts: array<atomic<u32>>;

#import "geometry/key.wgsl"

fn bins4(bits: vec4<u32>) -> vec4<u32> {
    let keys = key4(bits);
    let near = (bitcast<vec4<f32>>(bits) + 1.0) * params.scale + 0.5;
    // What a NaN is clamped and converted to is the driver's choice; its bin is not counted, but must exist.
    let guess = min(vec4<u32>(clamp(near, vec4<f32>(0.0), vec4<f32>(f32(params.bins - 1u)))), vec4<u32>(params.bins - 1u));
    let own = vec4<u32>(edges[guess.x], edges[guess.y], edges[guess.z], edges[guess.w]);
    let next = vec4<u32>(edges[guess.x + 1u], edges[guess.y + 1u], edges[guess.z + 1u], edges[guess.w + 1u]);
    return guess + select(vec4<u32>(0u), vec4<u32>(1u), keys >= next) - select(vec4<u32>(0u), vec4<u32>(1u), keys < own);
}

// Which of the four cosines at `index`, of these bits, count.
fn pairs4(index: u32, bits: vec4<u32>) -> vec4<bool> {
    let i = params.query + index / params.width4;
    let columns = vec4<u32>(4u * (index % params.width4)) + vec4<u32>(0u, 1u, 2u, 3u);
    let j = columns + params.base;
    let number = (bits & vec4<u32>(0x7fffffffu)) <= vec4<u32>(0x7f800000u);
    return number & (columns < vec4<u32>(params.width)) & select(j != vec4<u32>(i), j > vec4<u32>(i), params.within == 1u);
}

#import "histogram"
