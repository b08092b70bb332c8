// Tensor cores that multiply 16 x 16 elements, for attention. One of the interchangeable `cores_*` files.

enable f16;
enable wgpu_cooperative_matrix;

alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sums = coop_mat16x16<f32, C>;

// Where an invocation is.
fn place_of(index: u32, subgroup: u32, lane: u32) -> Place {
    return Place(subgroup, lane);
}

// A left operand, whose rows lie in `halves` from entry `at` on, so many entries apart.
fn left(at: u32, pitch: u32) -> Left {
    return coopLoadT<Left>(&halves[at], pitch);
}

// A right operand whose rows lie there.
fn right(at: u32, pitch: u32) -> Right {
    return coopLoadT<Right>(&halves[at], pitch);
}

// A right operand whose columns lie there.
fn right_of_columns(at: u32, pitch: u32) -> Right {
    return coopLoad<Right>(&halves[at], pitch);
}

fn multiply_add(a: Left, b: Right, sums: Sums) -> Sums {
    return coopMultiplyAdd(a, b, sums);
}

// Puts the rows of a fragment to `scores` from entry `at` on.
fn put_fragment(sums: Sums, at: u32, pitch: u32) {
    coopStoreT(sums, &scores[at], pitch);
}
