// One chunk of the vocabulary's logits into each row's running maximum, sum of exponentials and label's logit.

struct Params {
    rows: u32,
    width: u32,
    width4: u32,
    // Vocabulary index of the first column; 0 starts the rows' states anew.
    first: u32,
    // Place of the first row among the labels and states.
    first_row: u32,
}

override GROUP: u32 = 64u;
override LANES: u32 = 1u;

@group(0) @binding(0) var<uniform> params: Params;
#import "operand" 1
@group(0) @binding(2) var<storage, read> labels: array<i32>;
// Maximum, sum, the label's logit, and 1 where the label has been met.
@group(0) @binding(3) var<storage, read_write> state: array<vec4<f32>>;

const LEAST: f32 = -3.4e38;

fn logits4(base: u32, c: u32) -> vec4<f32> {
    let inside = vec4<u32>(4u * c) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.width);
    return select(vec4<f32>(LEAST), read1(base + c), inside);
}

#import "nn/ordered.wgsl"

fn run(group: u32, groups: u32, local: u32, team: u32, lane: u32) {
    let teams = GROUP / LANES;
    for (var first = group * teams; first < params.rows; first += groups * teams) {
        let row = min(first + team, params.rows - 1u);
        let base = row * params.width4;
        let place = params.first_row + row;
        let before = select(vec4<f32>(LEAST, 0.0, 0.0, 0.0), state[place], params.first > 0u);
        var most = vec4<f32>(before.x);
        var sizes = sizes4(most);
        for (var c = lane; c < params.width4; c += LANES) {
            let logits = logits4(base, c);
            most = max(most, logits);
            sizes = max(sizes, sizes4(logits));
        }
        // A NaN among the logits makes it one, and so the loss, whatever becomes of the sum.
        let top = from_ordered(team_peak(peak_bits(most, sizes), local, team));
        var part = vec4<f32>(0.0);
        for (var c = lane; c < params.width4; c += LANES) { part += exp(max(logits4(base, c) - top, vec4<f32>(-100.0))); }
        let total = team_total(part, local, team);
        // What lies beyond the last column counted exp(-100) each: nothing beside the maximum's 1.
        let sum = before.y * exp(max(before.x - top, -100.0)) + (total.x + total.y) + (total.z + total.w);
        let label = u32(labels[place]) - params.first;
        let met = labels[place] >= 0 && u32(labels[place]) >= params.first && label < params.width;
        let at = min(label, params.width - 1u);
        let logit = read1(base + at / 4u)[at % 4u];
        if (first + team < params.rows && lane == 0u) {
            state[place] = vec4<f32>(top, sum, select(before.z, logit, met), select(before.w, 1.0, met));
        }
    }
}

#import "float_team"
