// Tensor cores that multiply 16 x 16 elements: NVIDIA's and AMD's. One of the interchangeable `fragment_*` files.

const FRAGMENT: u32 = 16u;

alias FragmentA = coop_mat16x16<f16, A>;
alias FragmentB = coop_mat16x16<f16, B>;
alias Sums = coop_mat16x16<f32, C>;
