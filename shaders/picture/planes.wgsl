// A picture's pixels as a row of numbers, red's plane first, then green's and blue's: what each byte becomes is told by a table.

#import "picture/colours.wgsl"

struct Params {
    // Vectors of the row, and where it begins.
    count: u32,
    target_first: u32,
    // Pixels of a plane, and of a line of it.
    plane: u32,
    width: u32,
    // Where in the plane the picture lies: its first pixel, pixels of a line, and lines. Around it is black.
    left: u32,
    top: u32,
    across: u32,
    lines: u32,
    // The first pixel that is read, and pixels from a line to the next.
    first: u32,
    line: u32,
    reading: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pixels: array<u32>;
// What the bytes of each channel become.
@group(0) @binding(2) var<storage, read> values: array<f32>;
@group(0) @binding(3) var<storage, read_write> row: array<vec4<f32>>;

fn number(k: u32) -> f32 {
    let at = min(k, 3u * params.plane - 1u);
    let channel = at / params.plane;
    // Above and on the left of the picture these are far beyond it.
    let y = (at % params.plane) / params.width - params.top;
    let x = at % params.plane % params.width - params.left;
    let word = pixels[params.first + min(y, params.lines - 1u) * params.line + min(x, params.across - 1u)];
    let byte = select(0u, colours(word, params.reading)[channel], y < params.lines && x < params.across);
    return select(0.0, values[channel * 256u + byte], k < 3u * params.plane);
}

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let k = 4u * at;
    let value = vec4<f32>(number(k), number(k + 1u), number(k + 2u), number(k + 3u));
    if (index < params.count) { row[params.target_first + index] = value; }
}

#import "common/elements.wgsl"
