// Tensor cores of 16 x 16 elements as loops, so that adapters without them test all that is around the fragments. A fragment of an operand is
// where it lies; one of results has eight elements of a row in each of 32 lanes, which need not be a subgroup. One of the interchangeable
// `cores_*` files.

enable f16;

struct Left {
    at: u32,
    pitch: u32,
}

struct Right {
    at: u32,
    pitch: u32,
    columns: bool,
}

struct Sums {
    low: vec4<f32>,
    high: vec4<f32>,
}

// The invocation's lane.
var<private> own_lane: u32 = 0u;

fn place_of(index: u32, subgroup: u32, lane: u32) -> Place {
    own_lane = index % LANES;
    return Place(index / LANES, own_lane);
}

fn left(at: u32, pitch: u32) -> Left {
    return Left(at, pitch);
}

fn right(at: u32, pitch: u32) -> Right {
    return Right(at, pitch, false);
}

fn right_of_columns(at: u32, pitch: u32) -> Right {
    return Right(at, pitch, true);
}

// Elements k of four columns.
fn four_of(b: Right, k: u32, column: u32) -> vec4<f32> {
    if (!b.columns) { return vec4<f32>(halves[b.at + k * b.pitch + column / 4u]); }
    let at = b.at + column * b.pitch + k / 4u;
    let first = vec2<f16>(halves[at][k % 4u], halves[at + b.pitch][k % 4u]);
    let last = vec2<f16>(halves[at + 2u * b.pitch][k % 4u], halves[at + 3u * b.pitch][k % 4u]);
    return vec4<f32>(vec4<f16>(first, last));
}

fn multiply_add(a: Left, b: Right, sums: Sums) -> Sums {
    var result = sums;
    let row = own_lane / 2u;
    let column = 8u * (own_lane % 2u);
    for (var k = 0u; k < 16u; k += 1u) {
        let factor = f32(halves[a.at + row * a.pitch + k / 4u][k % 4u]);
        result.low += factor * four_of(b, k, column);
        result.high += factor * four_of(b, k, column + 4u);
    }
    return result;
}

fn put_fragment(sums: Sums, at: u32, pitch: u32) {
    let first = at + (own_lane / 2u) * pitch + 2u * (own_lane % 2u);
    scores[first] = sums.low;
    scores[first + 1u] = sums.high;
}
