// Sums over rows, by column: a team shares four columns, its members stride over the rows. The order is fixed.

fn run(group: u32, groups: u32, local: u32, team: u32, lane: u32) {
    let teams = GROUP / LANES;
    for (var first = group * teams; first < params.width4; first += groups * teams) {
        let column = min(first + team, params.width4 - 1u);
        // In slabs, whose sums err less than one long sum.
        var part = vec4<f32>(0.0);
        for (var slab = params.first + lane; slab < params.end; slab += 256u * LANES) {
            var sum = vec4<f32>(0.0);
            for (var row = slab; row < min(slab + 256u * LANES, params.end); row += LANES) { sum += term(row, column); }
            part += sum;
        }
        let total = team_total(part, local, team);
        if (first + team < params.width4 && lane == 0u) {
            let before = sums[column];
            sums[column] = select(total, before + total, params.accumulate == 1u);
        }
    }
}

#import "float_team"
