// What networks see of planes' points: cosine and sine of each plane's phase, the logarithm of each one's length, and the tail, as it is. An invocation
// has a plane of a row, and every so many of the tail's columns.

struct Params {
    // Planes of all rows.
    count: u32,
    // Of a row.
    planes: u32,
    // The tail's columns.
    tail: u32,
    // Vectors of a row of each operand.
    coordinates4: u32,
    tail4: u32,
    features4: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> coordinates: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> tail: array<f32>;
@group(0) @binding(3) var<storage, read_write> features: array<f32>;

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let row = at / params.planes;
    let plane = at % params.planes;
    let point = coordinates[2u * row * params.coordinates4 + plane];
    let square = dot(point, point);
    let length = sqrt(square);
    // What has no direction gets that of the first axis, the angle 0, and the logarithm of 1e-18. A NaN is not short.
    let short = square < 1e-36 && !is_nan(square);
    let direction = select(point / length, vec2<f32>(1.0, 0.0), short);
    let logarithm = select(keep_nan(log(length), square), -41.446532, short);
    let first = 4u * row * params.features4;
    if (index < params.count) {
        features[first + 2u * plane] = direction.x;
        features[first + 2u * plane + 1u] = direction.y;
        features[first + 2u * params.planes + plane] = logarithm;
        for (var column = plane; column < params.tail; column += params.planes) {
            features[first + 3u * params.planes + column] = tail[4u * row * params.tail4 + column];
        }
    }
}

#import "common/nan.wgsl"
#import "common/elements.wgsl"
