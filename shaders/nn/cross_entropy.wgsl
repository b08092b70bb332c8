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
    return select(vec4<f32>(LEAST), read1(base + clamped(c)), inside);
}

// What a sum about the maximum `lower` is worth about `upper`; exact where they are the same.
fn moved(lower: f32, upper: f32) -> f32 {
    return select(exp(max(lower - upper, -100.0)), 1.0, lower == upper);
}

#import "held"
#import "nn/ordered.wgsl"

fn run(group: u32, groups: u32, local: u32, team: u32, lane: u32) {
    let teams = GROUP / LANES;
    for (var first = group * teams; first < params.rows; first += groups * teams) {
        let row = min(first + team, params.rows - 1u);
        let base = row * params.width4;
        let state_at = params.first_row + row;
        let before = select(vec4<f32>(LEAST, 0.0, 0.0, 0.0), state[state_at], params.first > 0u);
        // Each lane's sum is about the maximum so far, so that a row is read once whatever its width.
        var most = before.x;
        var sum = 0.0;
        var sizes = sizes4(vec4<f32>(most));
        for (var tile = 0u; tile < params.width4; tile += HELD * LANES) {
            var x: array<vec4<f32>, MOST>;
            for (var k = 0u; k < HELD; k += 1u) { x[k] = logits4(base, place(tile, k, lane)); }
            var tops = vec4<f32>(most);
            for (var k = 0u; k < HELD; k += 1u) {
                tops = max(tops, x[k]);
                sizes = max(sizes, sizes4(x[k]));
            }
            let top = max(max(tops.x, tops.y), max(tops.z, tops.w));
            var part = vec4<f32>(0.0);
            for (var k = 0u; k < HELD; k += 1u) { part += exp(max(x[k] - top, vec4<f32>(-100.0))); }
            sum = sum * moved(most, top) + ((part.x + part.y) + (part.z + part.w));
            most = top;
        }
        // A NaN among the logits makes it one, and so the loss, whatever becomes of the sum.
        let top = from_ordered(team_peak(peak_bits(vec4<f32>(most), sizes), local, team));
        let total = team_total(vec4<f32>(sum * moved(most, top), 0.0, 0.0, 0.0), local, team);
        // What lies beyond the last column counted exp(-100) each: nothing beside the maximum's 1.
        let sum_of_all = before.y * exp(max(before.x - top, -100.0)) + total.x;
        let label = u32(labels[state_at]) - params.first;
        let met = labels[state_at] >= 0 && u32(labels[state_at]) >= params.first && label < params.width;
        let at = min(label, params.width - 1u);
        let logit = read1(base + at / 4u)[at % 4u];
        if (first + team < params.rows && lane == 0u) {
            state[state_at] = vec4<f32>(top, sum_of_all, select(before.z, logit, met), select(before.w, 1.0, met));
        }
    }
}

#import "float_team"
