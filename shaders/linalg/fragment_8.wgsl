// Tensor cores that multiply 8 x 8 elements: Apple's, which read scalars alone. One of the interchangeable `fragment_*` files.

enable f16;
enable wgpu_cooperative_matrix;

const FRAGMENT: u32 = 8u;

alias FragmentA = coop_mat8x8<f16, A>;
alias FragmentB = coop_mat8x8<f16, B>;
alias Sums = coop_mat8x8<f32, C>;

var<workgroup> slices_a: array<f16, 8u * BUFFERS * ENTRIES_A>;
var<workgroup> slices_b: array<f16, 8u * BUFFERS * ENTRIES_B>;
// A fragment of results for each subgroup.
var<workgroup> sums: array<f32, SUBGROUPS * FRAGMENT * FRAGMENT>;

// Where an invocation is.
fn place_of(index: u32, subgroup: u32, lane: u32) -> Place {
    return Place(subgroup, lane);
}

fn keep_a(at: u32, eight: Eight) {
    slices_a[8u * at] = eight.low.x;
    slices_a[8u * at + 1u] = eight.low.y;
    slices_a[8u * at + 2u] = eight.low.z;
    slices_a[8u * at + 3u] = eight.low.w;
    slices_a[8u * at + 4u] = eight.high.x;
    slices_a[8u * at + 5u] = eight.high.y;
    slices_a[8u * at + 6u] = eight.high.z;
    slices_a[8u * at + 7u] = eight.high.w;
}

fn keep_b(at: u32, eight: Eight) {
    slices_b[8u * at] = eight.low.x;
    slices_b[8u * at + 1u] = eight.low.y;
    slices_b[8u * at + 2u] = eight.low.z;
    slices_b[8u * at + 3u] = eight.low.w;
    slices_b[8u * at + 4u] = eight.high.x;
    slices_b[8u * at + 5u] = eight.high.y;
    slices_b[8u * at + 6u] = eight.high.z;
    slices_b[8u * at + 7u] = eight.high.w;
}

fn load_a(at: u32) -> FragmentA {
    if (TRANSPOSE_A == 1u) { return coopLoad<FragmentA>(&slices_a[8u * at], 8u * LINE_M); }
    return coopLoadT<FragmentA>(&slices_a[8u * at], 8u * LINE_K);
}

fn load_b(at: u32) -> FragmentB {
    if (TRANSPOSE_B == 1u) { return coopLoad<FragmentB>(&slices_b[8u * at], 8u * LINE_K); }
    return coopLoadT<FragmentB>(&slices_b[8u * at], 8u * LINE_N);
}

fn multiply_add(a: FragmentA, b: FragmentB, sum: Sums) -> Sums {
    return coopMultiplyAdd(a, b, sum);
}

// Four of them to an entry, from `at` on.
fn share(fragment: Sums, at: u32, place: Place) {
    coopStoreT(fragment, &sums[4u * at], FRAGMENT);
}

fn shared_four(at: u32) -> vec4<f32> {
    return vec4<f32>(sums[4u * at], sums[4u * at + 1u], sums[4u * at + 2u], sums[4u * at + 3u]);
}
