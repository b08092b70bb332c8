// Tensor cores of 8 x 8 elements as loops, so that adapters without them test all that is around the fragments. A fragment of an operand is
// where it lies; one of results has two elements in each of 32 lanes, which need not be a subgroup. One of the interchangeable `fragment_*` files.

enable f16;

const FRAGMENT: u32 = 8u;

struct FragmentA {
    at: u32,
}

struct FragmentB {
    at: u32,
}

alias Sums = vec2<f32>;

var<workgroup> slices_a: array<vec4<f16>, 2u * BUFFERS * ENTRIES_A>;
var<workgroup> slices_b: array<vec4<f16>, 2u * BUFFERS * ENTRIES_B>;
var<workgroup> sums: array<f32, SUBGROUPS * FRAGMENT * FRAGMENT>;

fn keep_a(at: u32, eight: Eight) {
    slices_a[2u * at] = eight.low;
    slices_a[2u * at + 1u] = eight.high;
}

fn keep_b(at: u32, eight: Eight) {
    slices_b[2u * at] = eight.low;
    slices_b[2u * at + 1u] = eight.high;
}

fn load_a(at: u32) -> FragmentA {
    return FragmentA(at);
}

fn load_b(at: u32) -> FragmentB {
    return FragmentB(at);
}

fn element_a(a: FragmentA, row: u32, k: u32) -> f32 {
    if (TRANSPOSE_A == 1u) { return f32(slices_a[2u * (a.at + k * LINE_M) + row / 4u][row % 4u]); }
    return f32(slices_a[2u * (a.at + row * LINE_K) + k / 4u][k % 4u]);
}

fn element_b(b: FragmentB, k: u32, column: u32) -> f32 {
    if (TRANSPOSE_B == 1u) { return f32(slices_b[2u * (b.at + column * LINE_K) + k / 4u][k % 4u]); }
    return f32(slices_b[2u * (b.at + k * LINE_N) + column / 4u][column % 4u]);
}

// The invocation's lane.
var<private> own_lane: u32 = 0u;

fn place_of(index: u32, subgroup: u32, lane: u32) -> Place {
    own_lane = index % LANES;
    return Place(index / LANES, own_lane);
}

fn multiply_add(a: FragmentA, b: FragmentB, sum: Sums) -> Sums {
    var result = sum;
    let row = own_lane / 4u;
    let column = 2u * (own_lane % 4u);
    for (var k = 0u; k < FRAGMENT; k += 1u) {
        let factor = element_a(a, row, k);
        result += factor * vec2<f32>(element_b(b, k, column), element_b(b, k, column + 1u));
    }
    return result;
}

fn share(fragment: Sums, at: u32, place: Place) {
    sums[4u * at + 2u * place.lane] = fragment.x;
    sums[4u * at + 2u * place.lane + 1u] = fragment.y;
}

fn shared_four(at: u32) -> vec4<f32> {
    return vec4<f32>(sums[4u * at], sums[4u * at + 1u], sums[4u * at + 2u], sums[4u * at + 3u]);
}
