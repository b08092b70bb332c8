// First of the two dispatches that sum moments without workgroup memory: each row's multiplier, one invocation a row.
// Formats and proofs: `kernels::stats::moments`.

struct Params {
    rows: u32,
    width4: u32,
    // As VECTORS; the host twin reads it here.
    vectors: u32,
    // Index of the first row in the window since the accumulators were cleared, for `first_bad`.
    row_base: u32,
}

override GROUP: u32 = 64u;

@group(0) @binding(0) var<uniform> params: Params;
#import "rows"
// Fixed-point vectors [vectors, width4] of i32: v_i = V_i 2^-exponent_i.
#import "vectors"
#import "common/sums.wgsl"
// [rows] of weight, shift, and the bits of the scale that makes the row's elements integers.
@group(0) @binding(5) var<storage, read_write> weights: array<vec4<u32>>;
#import "stats/row_scalars.wgsl"

fn count(slot: u32, value: vec2<u32>) {
    global_add(4u * params.width4 + slot, value);
}

fn row_peak(row: u32) -> u32 {
    var bits = 0u;
    for (var c = 0u; c < params.width4; c += 1u) {
        bits = max(bits, row_peak4(row * params.width4 + c));
    }
    return bits;
}

fn weigh(row: u32) {
    let bits = row_peak(row);
    let usable = bits >= TINY && bits < 0x7f800000u;
    let scale = select(0.0, fixed_scale(bits), usable);
    var square = no_sum4();
    var dots4: array<Sum4, MAX_VECTORS>;
    for (var k = 0u; k < VECTORS; k += 1u) { dots4[k] = no_sum4(); }
    if (usable) {
        for (var c = 0u; c < params.width4; c += 1u) {
            let x = row_fixed4(row * params.width4 + c, scale);
            square = add_squares(square, vec4<u32>(abs(x)));
            for (var k = 0u; k < VECTORS; k += 1u) {
                dots4[k] = add_products(dots4[k], x, bitcast<vec4<i32>>(vector_words4(k * params.width4 + c)));
            }
        }
    }
    var dots: array<vec2<u32>, MAX_VECTORS>;
    for (var k = 0u; k < VECTORS; k += 1u) { dots[k] = fold_sum4(dots4[k]); }
    let out = row_scalars(row, bits, fold_sum4(square), &dots);
    weights[row] = vec4<u32>(out.weight, out.shift, bitcast<u32>(scale), 0u);
}

#import "common/grid.wgsl"

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    for (var row = (grid.first + group.x) * GROUP + local; row < params.rows; row += grid.groups * GROUP) {
        weigh(row);
    }
}
