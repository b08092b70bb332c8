// What the matrix products in f32 share: operands that are read in blocks of 4 x 4 elements.
//
// Rows are padded with zeros to a multiple of 4, and op(A) is masked beyond k: so op(B) may hold anything finite there.

#import "linalg/product.wgsl"
// A and B, each of an element type of its own.
#import "matrix" 1
#import "matrix" 2

// Four rows of a stored matrix, the vector `column` of each; rows and columns beyond the last are the last.
fn stored_a(row: u32, last: u32, column: u32) -> mat4x4<f32> {
    let at = min(column, params.a_stride - 1u);
    return mat4x4<f32>(
        read1((params.a_first + min(row, last)) * params.a_stride + at),
        read1((params.a_first + min(row + 1u, last)) * params.a_stride + at),
        read1((params.a_first + min(row + 2u, last)) * params.a_stride + at),
        read1((params.a_first + min(row + 3u, last)) * params.a_stride + at),
    );
}

fn stored_b(row: u32, last: u32, column: u32) -> mat4x4<f32> {
    let at = min(column, params.b_stride - 1u);
    return mat4x4<f32>(
        read2((params.b_first + min(row, last)) * params.b_stride + at),
        read2((params.b_first + min(row + 1u, last)) * params.b_stride + at),
        read2((params.b_first + min(row + 2u, last)) * params.b_stride + at),
        read2((params.b_first + min(row + 3u, last)) * params.b_stride + at),
    );
}

// Block of op(A): column i holds row 4 i4 + i, elements 4 k4 .. 4 k4 + 3; nothing is beyond k.
fn block_a(i4: u32, k4: u32) -> mat4x4<f32> {
    if (TRANSPOSE_A == 1u) { return transpose(stored_a(4u * k4, params.k - 1u, i4)); }
    return stored_a(4u * i4, params.m - 1u, k4);
}

// As `block_a`, with zeros beyond k.
fn masked_a(i4: u32, k4: u32) -> mat4x4<f32> {
    let inside = vec4<u32>(4u * k4) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.k);
    let block = block_a(i4, k4);
    let zero = vec4<f32>(0.0);
    return mat4x4<f32>(
        select(zero, block[0], inside),
        select(zero, block[1], inside),
        select(zero, block[2], inside),
        select(zero, block[3], inside),
    );
}

// Block of op(B): column i holds row 4 k4 + i, elements 4 j4 .. 4 j4 + 3.
fn block_b(k4: u32, j4: u32) -> mat4x4<f32> {
    if (TRANSPOSE_B == 1u) { return transpose(stored_b(4u * j4, params.n - 1u, k4)); }
    return stored_b(4u * k4, params.k - 1u, j4);
}
