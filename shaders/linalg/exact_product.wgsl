// Adds A^T B, or the part of it on and above the diagonal, to sums of 128 bits, exactly: the integers' digits to the base 256 are
// multiplied four rows at a time, and what belongs to one power of 256 is summed in 32 bits. Formats and proofs:
// `kernels::linalg::exact_product`.

struct Params {
    // Groups of four rows, which a word holds.
    words: u32,
    // Columns of A and B, in vectors of four.
    a_width4: u32,
    b_width4: u32,
    // The first column of A whose row of sums is at the start of the sums, in vectors of four; and how many there are.
    first4: u32,
    count4: u32,
    // 1: sums below the diagonal are left alone.
    upper: u32,
    // The products count 2^(32 words_up), 0 to 2.
    words_up: u32,
    padding: u32,
}

// Invocations of a workgroup: SIDE columns of A by SIDE vectors of B's columns.
const SIDE: u32 = 8u;

@group(0) @binding(0) var<uniform> params: Params;
// [6, words, a_width4] digits, lowest first: four rows to a word.
#import "row_words4"
// [6, words, b_width4].
#import "vectors"
// [4 count4, b_width4]: the low word first, signed.
@group(0) @binding(3) var<storage, read_write> sums: array<vec4<u32>>;

/// Adds the products of a column of A with four of B, in four rows.
fn more(sum: vec4<i32>, a: u32, b: vec4<u32>) -> vec4<i32> {
    return sum + vec4<i32>(dot4I8Packed(a, b.x), dot4I8Packed(a, b.y), dot4I8Packed(a, b.z), dot4I8Packed(a, b.w));
}

/// The digits of a column of A in four rows.
fn digits(index: u32, place: u32) -> u32 {
    return row_words4(index)[place];
}

/// The lowest digit of four sums, at its place in a word.
fn digit(sum: vec4<i32>, place: u32) -> vec4<u32> {
    return (bitcast<vec4<u32>>(sum) & vec4<u32>(255u)) << vec4<u32>(place);
}

/// Takes the lowest digit off four sums, and adds those of the next power.
fn carry(sum: vec4<i32>, next: vec4<i32>) -> vec4<i32> {
    return (sum >> vec4<u32>(8u)) + next;
}

#import "common/integer128.wgsl"

fn add_to(at: u32, words: vec4<u32>) {
    sums[at] = integer128_plus(sums[at], words);
}

/// A sum's words at their place; what lies above 128 bits is its sign.
fn placed(words: vec4<u32>) -> vec4<u32> {
    switch params.words_up {
        case 1u: { return vec4<u32>(0u, words.xyz); }
        case 2u: { return vec4<u32>(0u, 0u, words.xy); }
        default: { return words; }
    }
}

/// Sums of one column of A with four of B, by powers of 256. By name, here and where they are added up: of an array whose loops a driver leaves
/// rolled, sums would lie in memory and not in registers.
struct Powers {
    p0: vec4<i32>, p1: vec4<i32>, p2: vec4<i32>, p3: vec4<i32>, p4: vec4<i32>, p5: vec4<i32>,
    p6: vec4<i32>, p7: vec4<i32>, p8: vec4<i32>, p9: vec4<i32>, p10: vec4<i32>,
}

/// Adds them, for the columns of B from `first` of the four on.
fn add_powers(row: u32, column4: u32, first: u32, powers: Powers) {
    var rest = powers.p0;
    var low = digit(rest, 0u);
    rest = carry(rest, powers.p1);
    low |= digit(rest, 8u);
    rest = carry(rest, powers.p2);
    low |= digit(rest, 16u);
    rest = carry(rest, powers.p3);
    low |= digit(rest, 24u);
    rest = carry(rest, powers.p4);
    var middle = digit(rest, 0u);
    rest = carry(rest, powers.p5);
    middle |= digit(rest, 8u);
    rest = carry(rest, powers.p6);
    middle |= digit(rest, 16u);
    rest = carry(rest, powers.p7);
    middle |= digit(rest, 24u);
    rest = carry(rest, powers.p8);
    var high = digit(rest, 0u);
    rest = carry(rest, powers.p9);
    high |= digit(rest, 8u);
    rest = carry(rest, powers.p10);
    high |= digit(rest, 16u);
    rest = rest >> vec4<u32>(8u);
    high |= digit(rest, 24u);
    let sign = bitcast<vec4<u32>>(rest >> vec4<u32>(8u));
    let at = (row * params.b_width4 + column4) * 4u;
    if (first == 0u) { add_to(at, placed(vec4<u32>(low.x, middle.x, high.x, sign.x))); }
    if (first <= 1u) { add_to(at + 1u, placed(vec4<u32>(low.y, middle.y, high.y, sign.y))); }
    if (first <= 2u) { add_to(at + 2u, placed(vec4<u32>(low.z, middle.z, high.z, sign.z))); }
    if (first <= 3u) { add_to(at + 3u, placed(vec4<u32>(low.w, middle.w, high.w, sign.w))); }
}

/// Columns before this one of four, of which the first is `column`, lie below the diagonal of row `row`.
fn below(row: u32, column: u32) -> u32 {
    return select(0u, max(row, column) - column, params.upper == 1u);
}

fn multiply(row: u32, column4: u32) {
    let none = vec4<i32>(0);
    var p0 = none;
    var p1 = none;
    var p2 = none;
    var p3 = none;
    var p4 = none;
    var p5 = none;
    var p6 = none;
    var p7 = none;
    var p8 = none;
    var p9 = none;
    var p10 = none;
    let a_column = params.first4 + row / 4u;
    let place = row % 4u;
    for (var word = 0u; word < params.words; word += 1u) {
        let a0 = digits((0u * params.words + word) * params.a_width4 + a_column, place);
        let a1 = digits((1u * params.words + word) * params.a_width4 + a_column, place);
        let a2 = digits((2u * params.words + word) * params.a_width4 + a_column, place);
        let a3 = digits((3u * params.words + word) * params.a_width4 + a_column, place);
        let a4 = digits((4u * params.words + word) * params.a_width4 + a_column, place);
        let a5 = digits((5u * params.words + word) * params.a_width4 + a_column, place);
        let b0 = vector_words4((0u * params.words + word) * params.b_width4 + column4);
        p0 = more(p0, a0, b0);
        p1 = more(p1, a1, b0);
        p2 = more(p2, a2, b0);
        p3 = more(p3, a3, b0);
        p4 = more(p4, a4, b0);
        p5 = more(p5, a5, b0);
        let b1 = vector_words4((1u * params.words + word) * params.b_width4 + column4);
        p1 = more(p1, a0, b1);
        p2 = more(p2, a1, b1);
        p3 = more(p3, a2, b1);
        p4 = more(p4, a3, b1);
        p5 = more(p5, a4, b1);
        p6 = more(p6, a5, b1);
        let b2 = vector_words4((2u * params.words + word) * params.b_width4 + column4);
        p2 = more(p2, a0, b2);
        p3 = more(p3, a1, b2);
        p4 = more(p4, a2, b2);
        p5 = more(p5, a3, b2);
        p6 = more(p6, a4, b2);
        p7 = more(p7, a5, b2);
        let b3 = vector_words4((3u * params.words + word) * params.b_width4 + column4);
        p3 = more(p3, a0, b3);
        p4 = more(p4, a1, b3);
        p5 = more(p5, a2, b3);
        p6 = more(p6, a3, b3);
        p7 = more(p7, a4, b3);
        p8 = more(p8, a5, b3);
        let b4 = vector_words4((4u * params.words + word) * params.b_width4 + column4);
        p4 = more(p4, a0, b4);
        p5 = more(p5, a1, b4);
        p6 = more(p6, a2, b4);
        p7 = more(p7, a3, b4);
        p8 = more(p8, a4, b4);
        p9 = more(p9, a5, b4);
        let b5 = vector_words4((5u * params.words + word) * params.b_width4 + column4);
        p5 = more(p5, a0, b5);
        p6 = more(p6, a1, b5);
        p7 = more(p7, a2, b5);
        p8 = more(p8, a3, b5);
        p9 = more(p9, a4, b5);
        p10 = more(p10, a5, b5);
    }
    let powers = Powers(p0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10);
    add_powers(row, column4, below(4u * params.first4 + row, 4u * column4), powers);
}

#import "common/grid.wgsl"

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let across = (params.b_width4 + SIDE - 1u) / SIDE;
    let number = grid.first + group.y * groups.x + group.x;
    let row = number / across * SIDE + local / SIDE;
    let column4 = number % across * SIDE + local % SIDE;
    let skipped = params.upper == 1u && column4 < params.first4 + row / 4u;
    if (row < 4u * params.count4 && column4 < params.b_width4 && !skipped) {
        multiply(row, column4);
    }
}
