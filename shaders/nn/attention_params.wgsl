// What all kernels of attention share: the parameters, where heads lie, and which keys a query sees.

struct Params {
    // Invocations, or workgroups where they share tiles, in all, and the first of this dispatch.
    count: u32,
    first: u32,
    // Query heads, and how many of them share a head of keys.
    heads: u32,
    shared_by: u32,
    // From a row of queries, or of keys, to the next: vectors, or pairs where PAIR is 1.
    query_stride: u32,
    key_stride: u32,
    // Elements of a row of lse.
    lse_stride: u32,
    // What dots are multiplied by.
    scale: f32,
    // Elements of a head, and blocks, which the host twin reads.
    width: u32,
    blocks: u32,
    // Keys that a query sees at most, its own and those before it; at most 2^31, which is all of them.
    window: u32,
    // 1 if each query of a block sees a key more than the one before, 0 if all see those that the first sees.
    causal: u32,
    // Rows before and behind a query whose distances the table has, and its elements from a head to the next.
    reach: u32,
    distance_stride: u32,
    padding: vec2<u32>,
}

// Vectors of a head, the last of which may be half a one.
override WIDTH4: u32 = 16u;
// Whether it is: heads begin at pairs of elements then, which places are counted in, else in vectors.
override PAIR: u32 = 0u;

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

// Where a head begins in a row.
fn head_place(head: u32) -> u32 {
    return head * ((WIDTH4 << PAIR) - PAIR);
}

fn place(c: u32) -> u32 {
    return min(c, WIDTH4 - 1u);
}

fn keep(v: vec4<f32>, c: u32) -> vec4<f32> {
    return select(vec4<f32>(0.0), v, c < WIDTH4);
}

// The first key that a query of a block sees, if the first query sees so many without a window.
fn first_seen(seen: u32) -> u32 {
    return seen - min(seen, params.window);
}

// Whether keys are seen, by how many keys they are before the query's own: differences are below 2^31, and those of later ones wrap.
fn in_window(before: vec4<u32>) -> vec4<bool> {
    return before < vec4<u32>(params.window);
}

// First query of a block of keys that sees one of them, and the first after those.
fn first_query(block: Keys) -> u32 {
    return u32(max(block.lower, 0));
}

fn end_of_queries(block: Keys) -> u32 {
    let lower = bitcast<u32>(block.lower) + block.rows - 1u;
    return u32(max(bitcast<i32>(lower + min(block.queries - lower, params.window)), 0));
}
