// Tensor cores that multiply 8 x 8 elements: Apple's. One of the interchangeable `fragment_*` files.

const FRAGMENT: u32 = 8u;

alias FragmentA = coop_mat8x8<f16, A>;
alias FragmentB = coop_mat8x8<f16, B>;
alias Sums = coop_mat8x8<f32, C>;
