// Result at binding $ of attention: four rows of one head, written to `base` on, each times a factor.

#import "result" $

fn store$(base: u32, b: u32, block: mat4x4<f32>) {
    write$(base + 4u * b, block[0]);
    if (4u * b + 1u < WIDTH4) { write$(base + 4u * b + 1u, block[1]); }
    if (4u * b + 2u < WIDTH4) { write$(base + 4u * b + 2u, block[2]); }
    if (4u * b + 3u < WIDTH4) { write$(base + 4u * b + 3u, block[3]); }
}

fn store_row$(rows: ptr<function, Rows4>, i: u32, base: u32, factor: f32) {
    store$(base, 0u, factor * (*rows)[8u * i + 0u]);
    if (WIDTH4 > 4u) { store$(base, 1u, factor * (*rows)[8u * i + 1u]); }
    if (WIDTH4 > 8u) { store$(base, 2u, factor * (*rows)[8u * i + 2u]); }
    if (WIDTH4 > 12u) { store$(base, 3u, factor * (*rows)[8u * i + 3u]); }
    if (WIDTH4 > 16u) { store$(base, 4u, factor * (*rows)[8u * i + 4u]); }
    if (WIDTH4 > 20u) { store$(base, 5u, factor * (*rows)[8u * i + 5u]); }
    if (WIDTH4 > 24u) { store$(base, 6u, factor * (*rows)[8u * i + 6u]); }
    if (WIDTH4 > 28u) { store$(base, 7u, factor * (*rows)[8u * i + 7u]); }
}

fn store_rows$(rows: ptr<function, Rows4>, held: u32, base: u32, stride: u32, factors: vec4<f32>) {
    store_row$(rows, 0u, base, factors.x);
    if (held > 1u) { store_row$(rows, 1u, base + stride, factors.y); }
    if (held > 2u) { store_row$(rows, 2u, base + 2u * stride, factors.z); }
    if (held > 3u) { store_row$(rows, 3u, base + 3u * stride, factors.w); }
}
