// From the states of rows and columns: each pair's loss, and its share of the gradient by t.

struct Params {
    count: u32,
    most: f32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> temperature: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> columns: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> losses: array<f32>;
@group(0) @binding(5) var<storage, read_write> terms: array<vec4<f32>>;

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let row = rows[at];
    let column = columns[at];
    let slope = 0.5 * params.scale * ((row.z - row.y) + (column.z - column.y));
    // Beyond the limit only steps back are taken.
    let moves = temperature[0].x < params.most || slope > 0.0 || is_nan(slope);
    if (index < params.count) {
        losses[index] = 0.5 * ((row.x - row.y) + (column.x - column.y));
        terms[index] = vec4<f32>(select(0.0, slope, moves), 0.0, 0.0, 0.0);
    }
}

#import "common/nan.wgsl"
#import "common/elements.wgsl"
