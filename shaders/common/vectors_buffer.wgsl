// A table beside the rows (an operator's vectors, the rows' multipliers), four words to an entry, from a storage buffer.

@group(0) @binding(2) var<storage, read> vectors: array<vec4<u32>>;

fn vector_words4(index: u32) -> vec4<u32> {
    return vectors[index];
}
