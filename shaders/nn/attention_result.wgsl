// Result at binding $ of attention: four rows of one head, written to `base` on, each times a factor; `start` as an operand's.

#import "nn/attention_stores.wgsl" $

fn store$(base: u32, c: u32, block: mat4x4<f32>) {
    store_vector$(base, c, block[0]);
    store_vector$(base, c + 1u, block[1]);
    store_vector$(base, c + 2u, block[2]);
    store_vector$(base, c + 3u, block[3]);
}

fn store_row$(rows: ptr<function, Rows4>, i: u32, base: u32, factor: f32, start: u32) {
    store$(base, start, factor * (*rows)[8u * i + 0u]);
    if (WIDTH4 > start + 4u) { store$(base, start + 4u, factor * (*rows)[8u * i + 1u]); }
    if (WIDTH4 > start + 8u) { store$(base, start + 8u, factor * (*rows)[8u * i + 2u]); }
    if (WIDTH4 > start + 12u) { store$(base, start + 12u, factor * (*rows)[8u * i + 3u]); }
    if (WIDTH4 > start + 16u) { store$(base, start + 16u, factor * (*rows)[8u * i + 4u]); }
    if (WIDTH4 > start + 20u) { store$(base, start + 20u, factor * (*rows)[8u * i + 5u]); }
    if (WIDTH4 > start + 24u) { store$(base, start + 24u, factor * (*rows)[8u * i + 6u]); }
    if (WIDTH4 > start + 28u) { store$(base, start + 28u, factor * (*rows)[8u * i + 7u]); }
}

fn store_rows$(rows: ptr<function, Rows4>, held: u32, base: u32, stride: u32, factors: vec4<f32>, start: u32) {
    store_row$(rows, 0u, base, factors.x, start);
    if (held > 1u) { store_row$(rows, 1u, base + stride, factors.y, start); }
    if (held > 2u) { store_row$(rows, 2u, base + 2u * stride, factors.z, start); }
    if (held > 3u) { store_row$(rows, 3u, base + 3u * stride, factors.w, start); }
}
