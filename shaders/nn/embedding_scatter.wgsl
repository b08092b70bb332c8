// Adds rows to the rows that their ids name, in order of position: one invocation for four columns of one id.

struct Params {
    count: u32,
    width4: u32,
    // Distinct ids; `plan` holds the ids, then the first place of each and one more, then the positions.
    ids: u32,
    // The first of those ids that this dispatch adds to, and the id of the first row of `out_rows`.
    start: u32,
    first: u32,
    // What is added is multiplied by it.
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
#import "operand" 1
@group(0) @binding(2) var<storage, read> plan: array<u32>;
@group(0) @binding(3) var<storage, read_write> out_rows: array<vec4<f32>>;

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let which = params.start + at / params.width4;
    let column = at % params.width4;
    let target_row = plan[which] - params.first;
    let first = plan[params.ids + which];
    let end = plan[params.ids + which + 1u];
    let place = target_row * params.width4 + column;
    var total = out_rows[place];
    for (var i = first; i < end; i += 1u) {
        total += params.scale * read1(plan[2u * params.ids + 1u + i] * params.width4 + column);
    }
    if (index < params.count) { out_rows[place] = total; }
}

#import "common/elements.wgsl"
