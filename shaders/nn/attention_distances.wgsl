// Scores with what a table of each head adds by how far a key is from its query: from `reach` rows before it to `reach` behind it, and beyond as there.

@group(0) @binding(7) var<storage, read> distances: array<f32>;

// Scores of one key by four queries; places are those in their sequence.
fn with_distances(scores: vec4<f32>, head: u32, queries: vec4<u32>, key: u32) -> vec4<f32> {
    let reach = vec4<i32>(i32(params.reach));
    let places = vec4<u32>(clamp(bitcast<vec4<i32>>(vec4<u32>(key) - queries), -reach, reach) + reach);
    let row = vec4<u32>(head * params.distance_stride) + places;
    return scores + vec4<f32>(distances[row.x], distances[row.y], distances[row.z], distances[row.w]);
}
