//! The one list of kernels, which tests, translations and benchmarks read.

use super::{align, bench, geometry, linalg, nn, optim, picture, stats};
use crate::spec::{KernelSpec, Multiplier};

/// All kernels of this crate; tests validate each against naga's reflection in every variant.
pub static ALL: &[&KernelSpec] = &[
    &stats::moments::SPEC,
    &stats::moment_weights::SPEC,
    &stats::moment_columns::SPEC,
    &stats::normalize::SPEC,
    &stats::power_sums::SPEC,
    &align::apply::SPEC,
    &align::c3::SPEC,
    &align::radial::SPEC,
    &geometry::nearest::SPEC,
    &geometry::histogram::SPEC,
    &geometry::angles::CROSS,
    &geometry::angles::COLUMNS,
    &geometry::jacobi::SPEC,
    &geometry::jacobi::NORMS,
    &nn::gelu::FORWARD,
    &nn::gelu::BACKWARD,
    &nn::gate::FORWARD,
    &nn::gate::BACKWARD,
    &nn::elementwise::ADD,
    &nn::elementwise::CAST,
    &nn::elementwise::ADD_SCALED,
    &nn::elementwise::HEADS,
    &nn::elementwise::SCALE,
    &nn::bias::SPEC,
    &nn::rms_norm::SPEC,
    &nn::layer_norm::SPEC,
    &nn::norm::SCALARS,
    &nn::norm::BACKWARD,
    &nn::norm::ROWS,
    &nn::norm::WEIGHT,
    &nn::dropout::SPEC,
    &nn::rotary::SPEC,
    &nn::rotary::ELEMENTS,
    &nn::attention::FORWARD,
    &nn::attention::FORWARD_TILED,
    &nn::attention::FORWARD_COOPERATIVE,
    &nn::attention_relative::RELATIVE,
    &nn::attention_relative::RELATIVE_TILED,
    &nn::attention::DELTA,
    &nn::attention::QUERIES,
    &nn::attention::QUERIES_TILED,
    &nn::attention::QUERIES_COOPERATIVE,
    &nn::attention::KEYS,
    &nn::attention::KEYS_TILED,
    &nn::attention::KEYS_COOPERATIVE,
    &nn::embedding::GATHER,
    &nn::embedding::SCATTER,
    &nn::patches::SPEC,
    &nn::add_rows::SPEC,
    &nn::pool::SPEC,
    &nn::cross_entropy::FORWARD,
    &nn::cross_entropy::FINISH,
    &nn::cross_entropy::BACKWARD,
    &nn::info_nce::SOFTMAX,
    &nn::info_nce::TERMS,
    &nn::info_nce::BACKWARD,
    &nn::pair_sigmoid::FORWARD,
    &nn::pair_sigmoid::BACKWARD,
    &optim::adamw::SPEC,
    &optim::adamw_8bit::SPEC,
    &optim::norm::SQUARE_SUM,
    &optim::norm::CLIP,
    &picture::resample::SPEC,
    &picture::planes::SPEC,
    &linalg::exact_product::SPEC,
    &linalg::slices::JOIN,
    &linalg::matmul::SUBGROUP,
    &linalg::matmul::DIRECT,
    &linalg::matmul::TILED,
    &linalg::matmul::COOPERATIVE,
    &linalg::epilogue::ADD[Multiplier::Subgroup as usize],
    &linalg::epilogue::ADD[Multiplier::Direct as usize],
    &linalg::epilogue::ADD[Multiplier::Tiled as usize],
    &linalg::epilogue::ADD[Multiplier::Cooperative as usize],
    &linalg::epilogue::GELU[Multiplier::Subgroup as usize],
    &linalg::epilogue::GELU[Multiplier::Direct as usize],
    &linalg::epilogue::GELU[Multiplier::Tiled as usize],
    &linalg::epilogue::GELU[Multiplier::Cooperative as usize],
    &linalg::epilogue::ACT[Multiplier::Subgroup as usize],
    &linalg::epilogue::ACT[Multiplier::Direct as usize],
    &linalg::epilogue::ACT[Multiplier::Tiled as usize],
    &linalg::epilogue::ACT[Multiplier::Cooperative as usize],
    &bench::copy::SPEC,
    &bench::fma::SPEC,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_says_why_it_needs_no_checks() {
        for kernel in ALL {
            assert!(kernel.in_range.is_some(), "{}", kernel.name);
        }
    }
}
