// Patches of images as rows: what a convolution without overlaps multiplies by its weight. An image's elements follow each other channel by
// channel, line by line; a patch's as well.

struct Params {
    // Vectors of the result.
    count: u32,
    // Vectors of a row of the result, and elements of it that are a patch's.
    width4: u32,
    width: u32,
    // Side of a patch, patches of a line, and of an image.
    side: u32,
    across: u32,
    patches: u32,
    // Pixels of a line and lines of an image; elements from an image to the next.
    pixels: u32,
    lines: u32,
    stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> images: array<f32>;
#import "result" 2

fn pixel(row: u32, k: u32) -> f32 {
    let at = min(k, params.width - 1u);
    let x = at % params.side;
    let y = (at / params.side) % params.side;
    let channel = at / (params.side * params.side);
    let place = row % params.patches;
    let line = channel * params.lines + (place / params.across) * params.side + y;
    let first = (row / params.patches) * params.stride + (place % params.across) * params.side;
    return select(0.0, images[first + line * params.pixels + x], k < params.width);
}

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let row = at / params.width4;
    let k = 4u * (at % params.width4);
    let value = vec4<f32>(pixel(row, k), pixel(row, k + 1u), pixel(row, k + 2u), pixel(row, k + 3u));
    if (index < params.count) { write2(index, value); }
}

#import "common/elements.wgsl"
