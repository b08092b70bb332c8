// Rows as words, four to an entry, read from a storage buffer.

@group(0) @binding(1) var<storage, read> rows: array<vec4<u32>>;

fn row_words4(index: u32) -> vec4<u32> {
    return rows[index];
}
