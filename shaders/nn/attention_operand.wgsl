// Operand $ of attention: rows of 16-element blocks of one head that begins at `base`. What takes the first vector `start` is of the 32 vectors
// from there on.

#import "nn/attention_vectors.wgsl" $

fn block$(base: u32, c: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        vector$(base, c),
        vector$(base, c + 1u),
        vector$(base, c + 2u),
        vector$(base, c + 3u),
    );
}

// Row i of four.
fn load_row$(rows: ptr<function, Rows4>, i: u32, base: u32, start: u32) {
    (*rows)[8u * i + 0u] = block$(base, start);
    if (WIDTH4 > start + 4u) { (*rows)[8u * i + 1u] = block$(base, start + 4u); }
    if (WIDTH4 > start + 8u) { (*rows)[8u * i + 2u] = block$(base, start + 8u); }
    if (WIDTH4 > start + 12u) { (*rows)[8u * i + 3u] = block$(base, start + 12u); }
    if (WIDTH4 > start + 16u) { (*rows)[8u * i + 4u] = block$(base, start + 16u); }
    if (WIDTH4 > start + 20u) { (*rows)[8u * i + 5u] = block$(base, start + 20u); }
    if (WIDTH4 > start + 24u) { (*rows)[8u * i + 6u] = block$(base, start + 24u); }
    if (WIDTH4 > start + 28u) { (*rows)[8u * i + 7u] = block$(base, start + 28u); }
}

// Four rows. Rows beyond the last are the last.
fn load$(rows: ptr<function, Rows4>, held: u32, base: u32, stride: u32, start: u32) {
    load_row$(rows, 0u, base, start);
    load_row$(rows, 1u, base + min(1u, held - 1u) * stride, start);
    load_row$(rows, 2u, base + min(2u, held - 1u) * stride, start);
    load_row$(rows, 3u, base + min(3u, held - 1u) * stride, start);
}

// Dots of four rows with one of the operand.
fn dots$(rows: ptr<function, Rows4>, base: u32, start: u32) -> vec4<f32> {
    var s = vec4<f32>(0.0);
    s += dots(rows, 0u, block$(base, start));
    if (WIDTH4 > start + 4u) { s += dots(rows, 1u, block$(base, start + 4u)); }
    if (WIDTH4 > start + 8u) { s += dots(rows, 2u, block$(base, start + 8u)); }
    if (WIDTH4 > start + 12u) { s += dots(rows, 3u, block$(base, start + 12u)); }
    if (WIDTH4 > start + 16u) { s += dots(rows, 4u, block$(base, start + 16u)); }
    if (WIDTH4 > start + 20u) { s += dots(rows, 5u, block$(base, start + 20u)); }
    if (WIDTH4 > start + 24u) { s += dots(rows, 6u, block$(base, start + 24u)); }
    if (WIDTH4 > start + 28u) { s += dots(rows, 7u, block$(base, start + 28u)); }
    return s;
}

// Adds multiples of a row of the operand to four rows.
fn add$(rows: ptr<function, Rows4>, factors: vec4<f32>, base: u32, start: u32) {
    add_multiples(rows, 0u, factors, block$(base, start));
    if (WIDTH4 > start + 4u) { add_multiples(rows, 1u, factors, block$(base, start + 4u)); }
    if (WIDTH4 > start + 8u) { add_multiples(rows, 2u, factors, block$(base, start + 8u)); }
    if (WIDTH4 > start + 12u) { add_multiples(rows, 3u, factors, block$(base, start + 12u)); }
    if (WIDTH4 > start + 16u) { add_multiples(rows, 4u, factors, block$(base, start + 16u)); }
    if (WIDTH4 > start + 20u) { add_multiples(rows, 5u, factors, block$(base, start + 20u)); }
    if (WIDTH4 > start + 24u) { add_multiples(rows, 6u, factors, block$(base, start + 24u)); }
    if (WIDTH4 > start + 28u) { add_multiples(rows, 7u, factors, block$(base, start + 28u)); }
}
