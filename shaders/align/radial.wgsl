// Lengths in planes, mapped piecewise linearly, in place: the coordinates 2 k and 2 k + 1 of a row are plane k's. An invocation has the two planes
// of four coordinates.

struct Params {
    count: u32,
    // Vectors of a row.
    width4: u32,
    planes: u32,
    // Of a plane.
    knots: u32,
    // The largest power of two below the number of knots; 0 of one.
    half: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// What coordinates are moved by first, filled up to whole vectors.
@group(0) @binding(1) var<storage, read> offset: array<vec4<f32>>;
// Lengths of source and target at equal levels, [planes, knots], ascending.
@group(0) @binding(2) var<storage, read> lengths: array<f32>;
@group(0) @binding(3) var<storage, read> wanted: array<f32>;
@group(0) @binding(4) var<storage, read_write> coordinates: array<vec4<f32>>;

/// The length that a plane maps `length` to; beyond the outermost knots, theirs.
fn mapped(plane: u32, length: f32) -> f32 {
    let first = plane * params.knots;
    // The last knot that is no longer, or the first.
    var low = 0u;
    for (var jump = params.half; jump > 0u; jump /= 2u) {
        let next = min(low + jump, params.knots - 1u);
        low = select(low, next, low + jump < params.knots && lengths[first + next] <= length);
    }
    let high = min(low + 1u, params.knots - 1u);
    let below = lengths[first + low];
    let span = lengths[first + high] - below;
    let share = select(0.0, (length - below) / span, span > 0.0);
    let start = wanted[first + low];
    return start + clamp(share, 0.0, 1.0) * (wanted[first + high] - start);
}

/// A plane's two coordinates, stretched; zeros beyond the last plane.
fn stretched(plane: u32, pair: vec2<f32>) -> vec2<f32> {
    let square = dot(pair, pair);
    let length = mapped(min(plane, params.planes - 1u), sqrt(square + 1e-12));
    // What has no direction gets that of the first axis, the angle 0.
    let value = select((length / sqrt(square)) * pair, vec2<f32>(length, 0.0), square < 1e-36);
    return select(vec2<f32>(0.0), value, plane < params.planes);
}

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let column = at % params.width4;
    let moved = coordinates[at] + offset[column];
    let value = vec4<f32>(stretched(2u * column, moved.xy), stretched(2u * column + 1u, moved.zw));
    if (index < params.count) { coordinates[index] = value; }
}

#import "common/elements.wgsl"
