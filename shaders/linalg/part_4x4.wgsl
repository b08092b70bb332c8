// Tiles of 8 x 16 fragments, 4 x 4 to each of 8 subgroups: for large products, which read their operands less often. One of the interchangeable `part_*` files.

const PART_ROWS: u32 = 4u;
const PART_COLUMNS: u32 = 4u;
const GRID_ROWS: u32 = 2u;
const GRID_COLUMNS: u32 = 4u;
// Slices in workgroup memory: two would be more than NVIDIA lends.
const BUFFERS: u32 = 1u;

// Fragments are named: a variable index would move them from registers to memory.
fn make(index: u32, place: Place, first: vec2<u32>, range: vec2<u32>) {
    let corner = FRAGMENT * vec2<u32>(PART_ROWS * (place.subgroup / GRID_COLUMNS), PART_COLUMNS * (place.subgroup % GRID_COLUMNS));
    var s00: Sums;
    var s01: Sums;
    var s02: Sums;
    var s03: Sums;
    var s10: Sums;
    var s11: Sums;
    var s12: Sums;
    var s13: Sums;
    var s20: Sums;
    var s21: Sums;
    var s22: Sums;
    var s23: Sums;
    var s30: Sums;
    var s31: Sums;
    var s32: Sums;
    var s33: Sums;
    var next = fetch(index, first, range.x);
    var buffer = 0u;
    for (var k = range.x; k < range.y; k += SLICE) {
        workgroupBarrier();
        keep(index, next, buffer);
        workgroupBarrier();
        if (k + SLICE < range.y) { next = fetch(index, first, k + SLICE); }
        for (var i = 0u; i < SLICE; i += FRAGMENT) {
            let a0 = fragment_a(buffer, corner.x, i);
            let a1 = fragment_a(buffer, corner.x + FRAGMENT, i);
            let a2 = fragment_a(buffer, corner.x + 2u * FRAGMENT, i);
            let a3 = fragment_a(buffer, corner.x + 3u * FRAGMENT, i);
            let b0 = fragment_b(buffer, i, corner.y);
            s00 = multiply_add(a0, b0, s00);
            s10 = multiply_add(a1, b0, s10);
            s20 = multiply_add(a2, b0, s20);
            s30 = multiply_add(a3, b0, s30);
            let b1 = fragment_b(buffer, i, corner.y + FRAGMENT);
            s01 = multiply_add(a0, b1, s01);
            s11 = multiply_add(a1, b1, s11);
            s21 = multiply_add(a2, b1, s21);
            s31 = multiply_add(a3, b1, s31);
            let b2 = fragment_b(buffer, i, corner.y + 2u * FRAGMENT);
            s02 = multiply_add(a0, b2, s02);
            s12 = multiply_add(a1, b2, s12);
            s22 = multiply_add(a2, b2, s22);
            s32 = multiply_add(a3, b2, s32);
            let b3 = fragment_b(buffer, i, corner.y + 3u * FRAGMENT);
            s03 = multiply_add(a0, b3, s03);
            s13 = multiply_add(a1, b3, s13);
            s23 = multiply_add(a2, b3, s23);
            s33 = multiply_add(a3, b3, s33);
        }
    }
    let row = first.x + corner.x;
    let column = first.y + corner.y;
    put_fragment(s00, place, row, column);
    put_fragment(s01, place, row, column + FRAGMENT);
    put_fragment(s02, place, row, column + 2u * FRAGMENT);
    put_fragment(s03, place, row, column + 3u * FRAGMENT);
    put_fragment(s10, place, row + FRAGMENT, column);
    put_fragment(s11, place, row + FRAGMENT, column + FRAGMENT);
    put_fragment(s12, place, row + FRAGMENT, column + 2u * FRAGMENT);
    put_fragment(s13, place, row + FRAGMENT, column + 3u * FRAGMENT);
    put_fragment(s20, place, row + 2u * FRAGMENT, column);
    put_fragment(s21, place, row + 2u * FRAGMENT, column + FRAGMENT);
    put_fragment(s22, place, row + 2u * FRAGMENT, column + 2u * FRAGMENT);
    put_fragment(s23, place, row + 2u * FRAGMENT, column + 3u * FRAGMENT);
    put_fragment(s30, place, row + 3u * FRAGMENT, column);
    put_fragment(s31, place, row + 3u * FRAGMENT, column + FRAGMENT);
    put_fragment(s32, place, row + 3u * FRAGMENT, column + 2u * FRAGMENT);
    put_fragment(s33, place, row + 3u * FRAGMENT, column + 3u * FRAGMENT);
}
