// A round of one-sided Jacobi rotations on the columns of [R; C]: disjoint pairs of columns, a workgroup to each, are rotated so that their
// parts in R are orthogonal, or those in C. Arithmetic is that of `common/wide_float.wgsl`, and sums have one order: the same bits on every driver.
// Method and bounds: `kernels::geometry::jacobi`.

struct Params {
    // The rows that decide, from the first to before the last, and all.
    first: u32,
    last: u32,
    all_rows: u32,
    columns: u32,
    // The round of the sweep, and the sweep.
    round: u32,
    sweep: u32,
    padding0: u32,
    padding1: u32,
}

const GROUP: u32 = 64u;

@group(0) @binding(0) var<uniform> params: Params;
// [columns, all_rows] of wide floats.
@group(0) @binding(1) var<storage, read_write> columns: array<vec4<u32>>;
// [sweeps]: pairs that were rotated.
@group(0) @binding(2) var<storage, read_write> rotated: array<atomic<u32>>;

#import "common/wide_float.wgsl"

var<workgroup> partial: array<vec4<u32>, 192>;
// Cosine and sine of the rotation, and 1 where there is one.
var<workgroup> turn: array<vec4<u32>, 2>;
var<workgroup> turned: u32;

/// Sums of x x, y y and x y over the rows that decide: a lane's own, one after the other, then those of two lanes, of four, and so on.
fn sums(x: u32, y: u32, lane: u32) {
    var xx = Wide(vec2<u32>(0u), 0, 0u);
    var yy = xx;
    var xy = xx;
    for (var row = params.first + lane; row < params.last; row += GROUP) {
        let a = wide_of(columns[x * params.all_rows + row]);
        let b = wide_of(columns[y * params.all_rows + row]);
        xx = plus(xx, times(a, a));
        yy = plus(yy, times(b, b));
        xy = plus(xy, times(a, b));
    }
    partial[lane] = words_of(xx);
    partial[64u + lane] = words_of(yy);
    partial[128u + lane] = words_of(xy);
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if (lane < half) {
            for (var k = 0u; k < 192u; k += 64u) {
                partial[k + lane] = words_of(plus(wide_of(partial[k + lane]), wide_of(partial[k + lane + half])));
            }
        }
        workgroupBarrier();
    }
}

/// The rotation that makes x and y orthogonal, where they are not already to 2^-45 of their norms.
fn find_turn() {
    let xx = wide_of(partial[0]);
    let yy = wide_of(partial[64]);
    let xy = wide_of(partial[128]);
    turned = 0u;
    if (!lesser(times(xx, yy), moved(times(xy, xy), 90))) {
        return;
    }
    let zeta = times(plus(yy, negative(xx)), inverse(moved(xy, 1)));
    let square = plus(ONE, times(zeta, zeta));
    let t = inverse(plus(magnitude(zeta), times(square, inverse_sqrt(square))));
    let c = inverse_sqrt(plus(ONE, times(t, t)));
    turn[0] = words_of(c);
    turn[1] = words_of(Wide(times(c, t).m, times(c, t).e, zeta.s));
    turned = 1u;
}

fn rotate(x: u32, y: u32, lane: u32) {
    let c = wide_of(turn[0]);
    let s = wide_of(turn[1]);
    for (var row = lane; row < params.all_rows; row += GROUP) {
        let a = wide_of(columns[x * params.all_rows + row]);
        let b = wide_of(columns[y * params.all_rows + row]);
        columns[x * params.all_rows + row] = words_of(plus(times(c, a), negative(times(s, b))));
        columns[y * params.all_rows + row] = words_of(plus(times(s, a), times(c, b)));
    }
}

/// Whether the sweep before rotated nothing: then all is done.
fn is_done() -> bool {
    return params.sweep > 0u && atomicLoad(&rotated[max(params.sweep, 1u) - 1u]) == 0u;
}

#import "common/grid.wgsl"

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // A tournament: the last of an even number of columns stays, the others go round.
    let pair = grid.first + group.y * groups.x + group.x;
    let others = (params.columns + 1u) / 2u * 2u - 1u;
    let x = select((params.round + pair) % others, others, pair == 0u);
    let y = (params.round + others - pair) % others;
    if (pair > others / 2u || max(x, y) >= params.columns) {
        return;
    }
    if (lane == 0u) {
        turned = select(0u, 1u, is_done());
    }
    if (workgroupUniformLoad(&turned) == 1u) {
        return;
    }
    sums(x, y, lane);
    if (lane == 0u) {
        find_turn();
        atomicAdd(&rotated[params.sweep], turned);
    }
    if (workgroupUniformLoad(&turned) == 1u) {
        rotate(x, y, lane);
    }
}
