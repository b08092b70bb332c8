// Operand $ of attention: rows of 16-element blocks of one head, read from `base` on.

#import "operand" $

fn block$(base: u32, b: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        keep(read$(base + place(4u * b)), 4u * b),
        keep(read$(base + place(4u * b + 1u)), 4u * b + 1u),
        keep(read$(base + place(4u * b + 2u)), 4u * b + 2u),
        keep(read$(base + place(4u * b + 3u)), 4u * b + 3u),
    );
}

// Row i of four.
fn load_row$(rows: ptr<function, Rows4>, i: u32, base: u32) {
    (*rows)[8u * i + 0u] = block$(base, 0u);
    if (WIDTH4 > 4u) { (*rows)[8u * i + 1u] = block$(base, 1u); }
    if (WIDTH4 > 8u) { (*rows)[8u * i + 2u] = block$(base, 2u); }
    if (WIDTH4 > 12u) { (*rows)[8u * i + 3u] = block$(base, 3u); }
    if (WIDTH4 > 16u) { (*rows)[8u * i + 4u] = block$(base, 4u); }
    if (WIDTH4 > 20u) { (*rows)[8u * i + 5u] = block$(base, 5u); }
    if (WIDTH4 > 24u) { (*rows)[8u * i + 6u] = block$(base, 6u); }
    if (WIDTH4 > 28u) { (*rows)[8u * i + 7u] = block$(base, 7u); }
}

// Four rows. Rows beyond the last are the last.
fn load$(rows: ptr<function, Rows4>, held: u32, base: u32, stride: u32) {
    load_row$(rows, 0u, base);
    load_row$(rows, 1u, base + min(1u, held - 1u) * stride);
    load_row$(rows, 2u, base + min(2u, held - 1u) * stride);
    load_row$(rows, 3u, base + min(3u, held - 1u) * stride);
}

// Dots of four rows with one of the operand.
fn dots$(rows: ptr<function, Rows4>, base: u32) -> vec4<f32> {
    var s = vec4<f32>(0.0);
    s += dots(rows, 0u, block$(base, 0u));
    if (WIDTH4 > 4u) { s += dots(rows, 1u, block$(base, 1u)); }
    if (WIDTH4 > 8u) { s += dots(rows, 2u, block$(base, 2u)); }
    if (WIDTH4 > 12u) { s += dots(rows, 3u, block$(base, 3u)); }
    if (WIDTH4 > 16u) { s += dots(rows, 4u, block$(base, 4u)); }
    if (WIDTH4 > 20u) { s += dots(rows, 5u, block$(base, 5u)); }
    if (WIDTH4 > 24u) { s += dots(rows, 6u, block$(base, 6u)); }
    if (WIDTH4 > 28u) { s += dots(rows, 7u, block$(base, 7u)); }
    return s;
}

// Adds multiples of a row of the operand to four rows.
fn add$(rows: ptr<function, Rows4>, factors: vec4<f32>, base: u32) {
    add_multiples(rows, 0u, factors, block$(base, 0u));
    if (WIDTH4 > 4u) { add_multiples(rows, 1u, factors, block$(base, 1u)); }
    if (WIDTH4 > 8u) { add_multiples(rows, 2u, factors, block$(base, 2u)); }
    if (WIDTH4 > 12u) { add_multiples(rows, 3u, factors, block$(base, 3u)); }
    if (WIDTH4 > 16u) { add_multiples(rows, 4u, factors, block$(base, 4u)); }
    if (WIDTH4 > 20u) { add_multiples(rows, 5u, factors, block$(base, 5u)); }
    if (WIDTH4 > 24u) { add_multiples(rows, 6u, factors, block$(base, 6u)); }
    if (WIDTH4 > 28u) { add_multiples(rows, 7u, factors, block$(base, 7u)); }
}
