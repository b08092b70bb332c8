// What all kernels of attention share: the parameters.

struct Params {
    // Invocations, or workgroups where they share tiles, in all, and the first of this dispatch.
    count: u32,
    first: u32,
    // Query heads, and how many of them share a head of keys.
    heads: u32,
    shared_by: u32,
    // Vectors of a row.
    query4: u32,
    key4: u32,
    // Elements of a row of lse.
    lse_stride: u32,
    // 1 / sqrt(head width).
    scale: f32,
    // As WIDTH4; the host twin reads it here.
    width4: u32,
    blocks: u32,
}

// Vectors of a head.
override WIDTH4: u32 = 16u;

@group(0) @binding(0) var<uniform> params: Params;

const LEAST: f32 = -3.4e38;

// Keys of one head.
struct Keys {
    // First row, rows.
    row: u32,
    rows: u32,
    // The sequence's first query row, and its queries.
    first_query: u32,
    queries: u32,
    // First query that sees the first key; below 0 if keys came before all queries.
    lower: i32,
}

fn place(c: u32) -> u32 {
    return min(c, WIDTH4 - 1u);
}

fn keep(v: vec4<f32>, c: u32) -> vec4<f32> {
    return select(vec4<f32>(0.0), v, c < WIDTH4);
}
