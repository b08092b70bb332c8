// What happens to four elements of a product before they are written: a bias is added, or a matrix, or both. One of the
// interchangeable `epilogue_*` files.

override BIAS: u32 = 0u;
override RESIDUAL: u32 = 0u;

@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> residual: array<vec4<f32>>;

fn epilogue(row: u32, j4: u32, value: vec4<f32>) -> vec4<f32> {
    var result = value;
    if (BIAS == 1u) { result += bias[j4]; }
    if (RESIDUAL == 1u) { result += residual[row * params.c_stride + j4]; }
    return result;
}
