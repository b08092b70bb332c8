// Tensor cores that multiply 16 x 16 elements: NVIDIA's and AMD's. One of the interchangeable `fragment_*` files.

enable f16;
enable wgpu_cooperative_matrix;

const FRAGMENT: u32 = 16u;

alias FragmentA = coop_mat16x16<f16, A>;
alias FragmentB = coop_mat16x16<f16, B>;
alias Sums = coop_mat16x16<f32, C>;

// Four elements to a word of memory, the most whose fragments naga loads.
var<workgroup> slices_a: array<vec4<f16>, 2u * BUFFERS * ENTRIES_A>;
var<workgroup> slices_b: array<vec4<f16>, 2u * BUFFERS * ENTRIES_B>;
// A fragment of results for each subgroup.
var<workgroup> sums: array<vec4<f32>, SUBGROUPS * FRAGMENT * FRAGMENT / 4u>;

// Where an invocation is.
fn place_of(index: u32, subgroup: u32, lane: u32) -> Place {
    return Place(subgroup, lane);
}

fn keep_a(at: u32, eight: Eight) {
    slices_a[2u * at] = eight.low;
    slices_a[2u * at + 1u] = eight.high;
}

fn keep_b(at: u32, eight: Eight) {
    slices_b[2u * at] = eight.low;
    slices_b[2u * at + 1u] = eight.high;
}

fn load_a(at: u32) -> FragmentA {
    if (TRANSPOSE_A == 1u) { return coopLoad<FragmentA>(&slices_a[2u * at], 2u * LINE_M); }
    return coopLoadT<FragmentA>(&slices_a[2u * at], 2u * LINE_K);
}

fn load_b(at: u32) -> FragmentB {
    if (TRANSPOSE_B == 1u) { return coopLoad<FragmentB>(&slices_b[2u * at], 2u * LINE_K); }
    return coopLoadT<FragmentB>(&slices_b[2u * at], 2u * LINE_N);
}

fn multiply_add(a: FragmentA, b: FragmentB, sum: Sums) -> Sums {
    return coopMultiplyAdd(a, b, sum);
}

// Four of them to an entry of `sums`, from `at` on.
fn share(fragment: Sums, at: u32, place: Place) {
    coopStoreT(fragment, &sums[at], FRAGMENT / 4u);
}

fn shared_four(at: u32) -> vec4<f32> {
    return sums[at];
}
