// Partial selection: brings a tile of cosines into the lists of each query's k best.
//
// A query is a row of the tile and its candidates are the columns, or, DOWN, the other way round. Better is the larger cosine, of equal
// ones the lower index: an order without ties, so that nothing depends on the order of candidates or tiles. A NaN is as good as none: it
// comes into no list.

struct Params {
    queries: u32,
    width4: u32,
    // Candidates of this dispatch: from `first`, a multiple of 4, to before `end`.
    first: u32,
    end: u32,
    k: u32,
    // Place of the tile's first query among the lists, and index of its first candidate.
    query: u32,
    candidate: u32,
    // As DOWN; the host twin reads it here.
    down: u32,
}

override GROUP: u32 = 64u;
override DOWN: u32 = 0u;

@group(0) @binding(0) var<uniform> params: Params;
#import "row_words4"
// For each query the index of a candidate that does not count.
@group(0) @binding(2) var<storage, read> excluded: array<u32>;
// [n, k], best first: a cosine's key, 0 where there is none yet, and its index.
@group(0) @binding(3) var<storage, read_write> lists: array<vec2<u32>>;

#import "geometry/key.wgsl"
#import "common/grid.wgsl"

fn better(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.x > b.x || (a.x == b.x && a.y < b.y);
}

// The keys of four candidates from `p` on. What lies beyond the last is to be left out.
fn keys4(query: u32, p: u32) -> vec4<u32> {
    if (DOWN == 0u) { return key4(row_words4(query * params.width4 + p / 4u)); }
    let column = query / 4u;
    let last = params.end - 1u;
    let a = row_words4(p * params.width4 + column)[query % 4u];
    let b = row_words4(min(p + 1u, last) * params.width4 + column)[query % 4u];
    let c = row_words4(min(p + 2u, last) * params.width4 + column)[query % 4u];
    let d = row_words4(min(p + 3u, last) * params.width4 + column)[query % 4u];
    return key4(vec4<u32>(a, b, c, d));
}

#import "nearest"
