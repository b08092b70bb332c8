// Matrix product on tensor cores: operands of f16 as they lie in memory (others rounded to it as they are fetched), sums in f32. A workgroup's
// subgroups of 32 make a tile of GRID_ROWS x GRID_COLUMNS parts, each a subgroup's PART_ROWS x PART_COLUMNS fragments, from slices of k in
// workgroup memory. While a slice is multiplied, the next one is on its way to registers.
//
// Slices hold what is stored, line by line: a transposition is a matter of how fragments are loaded. Lines are 16 bytes longer than what they
// hold, so that the rows of a fragment lie in different banks. Beyond an operand there are zeros.

#import "fragment"
#import "linalg/product.wgsl"
#import "eight" 1
#import "eight" 2
#import "part"

const LANES: u32 = 32u;
const SUBGROUPS: u32 = GRID_ROWS * GRID_COLUMNS;
const INVOCATIONS: u32 = LANES * SUBGROUPS;
// A tile's sides, and k of a slice.
const ROWS: u32 = GRID_ROWS * PART_ROWS * FRAGMENT;
const COLUMNS: u32 = GRID_COLUMNS * PART_COLUMNS * FRAGMENT;
const SLICE: u32 = 32u;
// Eights to a line along k, along m and along n; one more between lines.
const LINE_K: u32 = SLICE / 8u + 1u;
const LINE_M: u32 = ROWS / 8u + 1u;
const LINE_N: u32 = COLUMNS / 8u + 1u;
// Of a slice, whichever way it lies.
const ENTRIES_A: u32 = max(ROWS * LINE_K, SLICE * LINE_M);
const ENTRIES_B: u32 = max(COLUMNS * LINE_K, SLICE * LINE_N);
// Eights of a slice that an invocation brings: 1 or 2 of A, 1, 2 or 4 of B.
const OWN_A: u32 = ROWS * SLICE / 8u / INVOCATIONS;
const OWN_B: u32 = COLUMNS * SLICE / 8u / INVOCATIONS;

struct Place {
    subgroup: u32,
    lane: u32,
}

// Eight elements of a stored row.
struct Eight {
    low: vec4<f16>,
    high: vec4<f16>,
}

// What an invocation brings of a slice.
struct Eights {
    a0: Eight,
    a1: Eight,
    b0: Eight,
    b1: Eight,
    b2: Eight,
    b3: Eight,
}

// Line and place in it of an eight among lines of so many: neighbours read neighbouring addresses.
fn line_place(eight: u32, eights: u32) -> vec2<u32> {
    return vec2<u32>(eight / eights, eight % eights);
}

fn fetch_a(eight: u32, first: u32, k: u32) -> Eight {
    var row: u32;
    var column: u32;
    var inside: bool;
    if (TRANSPOSE_A == 1u) {
        let place = line_place(eight, ROWS / 8u);
        row = k + place.x;
        column = first / 8u + place.y;
        inside = row < params.k;
    } else {
        let place = line_place(eight, SLICE / 8u);
        row = first + place.x;
        column = k / 8u + place.y;
        inside = row < params.m;
    }
    if (inside && 2u * column < params.a_stride) { return eight1(params.a_first + row, column, params.a_stride); }
    return Eight();
}

fn fetch_b(eight: u32, first: u32, k: u32) -> Eight {
    var row: u32;
    var column: u32;
    var inside: bool;
    if (TRANSPOSE_B == 1u) {
        let place = line_place(eight, SLICE / 8u);
        row = first + place.x;
        column = k / 8u + place.y;
        inside = row < params.n;
    } else {
        let place = line_place(eight, COLUMNS / 8u);
        row = k + place.x;
        column = first / 8u + place.y;
        inside = row < params.k;
    }
    if (inside && 2u * column < params.b_stride) { return eight2(params.b_first + row, column, params.b_stride); }
    return Eight();
}

fn fetch(index: u32, first: vec2<u32>, k: u32) -> Eights {
    var eights: Eights;
    eights.a0 = fetch_a(index, first.x, k);
    if (OWN_A > 1u) { eights.a1 = fetch_a(index + INVOCATIONS, first.x, k); }
    eights.b0 = fetch_b(index, first.y, k);
    if (OWN_B > 1u) { eights.b1 = fetch_b(index + INVOCATIONS, first.y, k); }
    if (OWN_B > 2u) {
        eights.b2 = fetch_b(index + 2u * INVOCATIONS, first.y, k);
        eights.b3 = fetch_b(index + 3u * INVOCATIONS, first.y, k);
    }
    return eights;
}

// Where an eight lies in its slice.
fn entry_a(eight: u32) -> u32 {
    if (TRANSPOSE_A == 1u) {
        let place = line_place(eight, ROWS / 8u);
        return place.x * LINE_M + place.y;
    }
    let place = line_place(eight, SLICE / 8u);
    return place.x * LINE_K + place.y;
}

fn entry_b(eight: u32) -> u32 {
    if (TRANSPOSE_B == 1u) {
        let place = line_place(eight, SLICE / 8u);
        return place.x * LINE_K + place.y;
    }
    let place = line_place(eight, COLUMNS / 8u);
    return place.x * LINE_N + place.y;
}

fn keep(index: u32, eights: Eights, buffer: u32) {
    let a = buffer * ENTRIES_A;
    let b = buffer * ENTRIES_B;
    keep_a(a + entry_a(index), eights.a0);
    if (OWN_A > 1u) { keep_a(a + entry_a(index + INVOCATIONS), eights.a1); }
    keep_b(b + entry_b(index), eights.b0);
    if (OWN_B > 1u) { keep_b(b + entry_b(index + INVOCATIONS), eights.b1); }
    if (OWN_B > 2u) {
        keep_b(b + entry_b(index + 2u * INVOCATIONS), eights.b2);
        keep_b(b + entry_b(index + 3u * INVOCATIONS), eights.b3);
    }
}

// The fragment of op(A) whose first element is (row, k) of a slice, and that of op(B) whose first is (k, column).
fn fragment_a(buffer: u32, row: u32, k: u32) -> FragmentA {
    if (TRANSPOSE_A == 1u) { return load_a(buffer * ENTRIES_A + k * LINE_M + row / 8u); }
    return load_a(buffer * ENTRIES_A + row * LINE_K + k / 8u);
}

fn fragment_b(buffer: u32, k: u32, column: u32) -> FragmentB {
    if (TRANSPOSE_B == 1u) { return load_b(buffer * ENTRIES_B + column * LINE_K + k / 8u); }
    return load_b(buffer * ENTRIES_B + k * LINE_N + column / 8u);
}

// Writes a fragment of results whose first element is (row, column), by way of the subgroup's part of `sums`.
fn put_fragment(fragment: Sums, place: Place, row: u32, column: u32) {
    let first = place.subgroup * (FRAGMENT * FRAGMENT / 4u);
    share(fragment, first, place);
    workgroupBarrier();
    for (var i = place.lane; i < FRAGMENT * FRAGMENT / 4u; i += LANES) {
        put(row + i / (FRAGMENT / 4u), column / 4u + i % (FRAGMENT / 4u), shared_four(first + i));
    }
    workgroupBarrier();
}

@compute @workgroup_size(INVOCATIONS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let first = vec2<u32>((group.y + params.first_tile) * ROWS, (group.x + params.first_column) * COLUMNS);
    if (UPPER == 1u && first.y + COLUMNS <= first.x) { return; }
    make(index, place_of(index, subgroup, lane), first, layer_range(group.z));
}
