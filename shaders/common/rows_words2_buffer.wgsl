// Rows as words, two to an entry, read from a storage buffer.

@group(0) @binding(1) var<storage, read> rows: array<vec2<u32>>;

fn row_words2(index: u32) -> vec2<u32> {
    return rows[index];
}
