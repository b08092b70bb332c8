// One pass of resampling: each pixel of the result is a weighted sum of pixels that follow each other in a line, or in a column. Pillow's fixed
// point: weights with 22 bits behind the point, sums of 32 bits, rounded to bytes. Integers alone, so that every device gives the same bytes.

#import "picture/colours.wgsl"

struct Params {
    // Pixels of the result, and of a line of it.
    count: u32,
    width: u32,
    // 1: columns are resampled, 0: lines.
    down: u32,
    // The first pixel that is read, and pixels from a line to the next.
    first: u32,
    line: u32,
    // Words of an entry of the table: the first pixel of a sum, how many it has, and their weights.
    entry: u32,
    reading: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pixels: array<u32>;
@group(0) @binding(2) var<storage, read> taps: array<i32>;
@group(0) @binding(3) var<storage, read_write> result: array<u32>;

const BITS: u32 = 22u;

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let x = at % params.width;
    let y = at / params.width;
    let down = params.down == 1u;
    let entry = select(x, y, down) * params.entry;
    let start = u32(taps[entry]);
    let stride = select(1u, params.line, down);
    var place = params.first + select(y * params.line + start, start * params.line + x, down);
    let end = entry + 2u + u32(taps[entry + 1u]);
    var sum = vec3<i32>(1i << (BITS - 1u));
    for (var i = entry + 2u; i < end; i += 1u) {
        sum += taps[i] * vec3<i32>(colours(pixels[place], params.reading));
        place += stride;
    }
    let bytes = vec3<u32>(clamp(sum >> vec3<u32>(BITS), vec3<i32>(0), vec3<i32>(255)));
    if (index < params.count) { result[index] = bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | 0xff000000u; }
}

#import "common/elements.wgsl"
