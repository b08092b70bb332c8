// Rows brought to unit mean square about zero or, where CENTER, about their mean, then scaled and shifted by column.

struct Params {
    rows: u32,
    width: u32,
    width4: u32,
    eps: f32,
}

override GROUP: u32 = 64u;
override LANES: u32 = 1u;

@group(0) @binding(0) var<uniform> params: Params;
#import "operand" 1
#import "operand" 2

fn inside(column: u32) -> vec4<bool> {
    return vec4<u32>(4u * column) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.width);
}

fn sum4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

fn run(group: u32, groups: u32, local: u32, team: u32, lane: u32) {
    let teams = GROUP / LANES;
    let width = f32(params.width);
    for (var first = group * teams; first < params.rows; first += groups * teams) {
        let base = min(first + team, params.rows - 1u) * params.width4;
        var mean = 0.0;
        if (CENTER) {
            var part = vec4<f32>(0.0);
            for (var c = lane; c < params.width4; c += LANES) { part += read1(base + c); }
            mean = sum4(team_total(part, local, team)) / width;
        }
        var part = vec4<f32>(0.0);
        for (var c = lane; c < params.width4; c += LANES) {
            var x = read1(base + c);
            if (CENTER) { x = select(vec4<f32>(0.0), x - mean, inside(c)); }
            part += x * x;
        }
        let inverse = inverseSqrt(sum4(team_total(part, local, team)) / width + params.eps);
        if (first + team < params.rows) {
            for (var c = lane; c < params.width4; c += LANES) {
                store(base + c, (read1(base + c) - mean) * inverse * read2(c) + shift4(c));
            }
        }
    }
}

#import "float_team"
