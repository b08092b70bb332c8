//! All cases.

use super::case::{Case, Kind, Sizes};
use super::{
    attention, cosines, decoders, dispatches, elementwise, encoders, end_to_end, losses, phases, pictures, products,
    rows, training, yardsticks,
};
use crate::Result;
use crate::device::Device;

/// A case that is not made yet: its data takes memory.
pub struct Entry {
    /// Its name, the same in every version.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Whether it needs a device of wgpu.
    pub wgpu: bool,
    /// Whether it runs only where a filter names a model's shape (`8B-shaped`): it takes gigabytes.
    pub by_shape: bool,
    /// Makes it.
    pub make: fn(&Device, &Sizes) -> Result<Case>,
}

/// All cases, in the order in which they are run.
pub fn catalogue() -> Vec<Entry> {
    let kernel = |name, make| Entry { name, kind: Kind::Kernel, wgpu: false, by_shape: false, make };
    let job = |name, make| Entry { name, kind: Kind::EndToEnd, wgpu: false, by_shape: false, make };
    let mut all = vec![
        kernel("copy", yardsticks::copy),
        kernel("fused multiply-add", yardsticks::fma),
        kernel("normalize", rows::normalize),
        kernel("moments, mean and trace", rows::moments),
        kernel("moments, with a centroid", rows::moments_about),
        kernel("power sums", rows::power_sums),
        kernel("apply", rows::apply),
        kernel("c3", rows::c3),
        kernel("radial", rows::radial),
        kernel("phase features", phases::features),
        kernel("phase noise", phases::noise),
        kernel("phase noise backward", phases::noise_backward),
        kernel("phase turn", phases::turn),
        kernel("phase turn backward", phases::turn_backward),
        kernel("product A B", products::plain),
        kernel("product A Bᵀ", products::by_transposed),
        kernel("product Aᵀ B", products::of_transposed),
        kernel("product A Bᵀ, B in f16", products::by_f16),
        kernel("product A Bᵀ, B in bf16", products::by_bf16),
        kernel("product A Bᵀ, B in q8_0", products::by_q8_0),
        kernel("product A B, B in q8_0", products::by_q8_0_plain),
        kernel("product A B in f16", products::halves),
        kernel("product A Bᵀ in f16", products::halves_by_transposed),
        kernel("product Aᵀ B in f16, to f32", products::halves_of_transposed),
        kernel("product A Bᵀ + bias", products::with_bias),
        kernel("product A Bᵀ + residual", products::with_residual),
        kernel("product A Bᵀ + bias, gelu", products::with_gelu),
        kernel("product A Bᵀ + bias, activation", products::with_activation),
        kernel("exact product Aᵀ B", products::exact),
        kernel("exact product by f32 slices", products::exact_by_floats),
        kernel("exact product by f16 slices", products::exact_by_halves),
        kernel("10 best of each row", cosines::nearest_of_rows),
        kernel("10 best of each column", cosines::nearest_of_columns),
        kernel("histogram of cosines", cosines::histogram),
        kernel("principal angles", cosines::principal_angles),
        kernel("add", elementwise::add),
        kernel("cast", elementwise::cast),
        kernel("add scaled", elementwise::add_scaled),
        kernel("heads", elementwise::split_heads),
        kernel("scale", elementwise::scale),
        kernel("gelu", elementwise::gelu),
        kernel("gelu backward", elementwise::gelu_backward),
        kernel("silu gate", elementwise::silu_gate),
        kernel("silu gate backward", elementwise::silu_gate_backward),
        kernel("gelu gate", elementwise::gelu_gate),
        kernel("gelu gate backward", elementwise::gelu_gate_backward),
        kernel("rms norm", elementwise::rms_norm),
        kernel("rms norm backward", elementwise::rms_norm_backward),
        kernel("rms norm backward, weight", elementwise::rms_norm_weight_backward),
        kernel("layer norm", elementwise::layer_norm),
        kernel("layer norm backward", elementwise::layer_norm_backward),
        kernel("bias backward", elementwise::bias_backward),
        kernel("dropout", elementwise::dropout),
        kernel("rotary", elementwise::rotary),
        kernel("rotary of parts", elementwise::rotary_of_parts),
        kernel("embedding gather", elementwise::gather),
        kernel("embedding scatter", elementwise::scatter),
        kernel("cross entropy", losses::cross_entropy),
        kernel("cross entropy finish", losses::cross_entropy_finish),
        kernel("cross entropy backward", losses::cross_entropy_backward),
        kernel("info nce", losses::info_nce),
        kernel("info nce backward", losses::info_nce_backward),
        kernel("pair sigmoid", losses::pair_sigmoid),
        kernel("pair sigmoid backward", losses::pair_sigmoid_backward),
        kernel("gradient norm", elementwise::norm),
        kernel("adamw", elementwise::adamw),
        kernel("adamw 8 bit", elementwise::adamw_8bit),
        kernel("adamw 8 bit, bf16", elementwise::adamw_8bit_bf16),
        kernel("attention", attention::forward),
        kernel("attention backward", attention::backward),
        kernel("attention in f16", attention::of_halves),
        kernel("attention backward in f16", attention::backward_of_halves),
        kernel("attention, long", attention::long),
        kernel("attention, long, in a window", attention::long_in_a_window),
        kernel("attention backward, long", attention::long_backward),
        kernel("attention backward, long, in a window", attention::long_backward_in_a_window),
        kernel("attention, all to all", encoders::attention),
        kernel("attention, by distance", encoders::attention_by_distance),
        kernel("patches", encoders::patches),
        kernel("add rows", encoders::add_rows),
        kernel("pool", encoders::pool),
        kernel("resample", pictures::resample),
        kernel("planes", pictures::planes),
        job("dispatches", dispatches::recorded),
        Entry {
            name: "dispatches, plain wgpu",
            kind: Kind::EndToEnd,
            wgpu: true,
            by_shape: false,
            make: dispatches::plain,
        },
        job("fit", end_to_end::fit),
        job("apply to rows", end_to_end::apply),
        job("covariance", end_to_end::covariance),
        job("covariance, fast", end_to_end::covariance_in_f32),
        job("64 leading eigenvectors", end_to_end::leading),
        job("10 nearest neighbours", end_to_end::neighbours),
        job("adapter step", training::adapter_case),
        job("stage 1 step", training::stage1_case),
        job("stage 2 step", training::stage2_case),
    ];
    all.extend(decoders::ENTRIES);
    all.extend(encoders::ENTRIES);
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::case::Run;
    use super::*;
    use crate::device::{Capabilities, Command, DeviceKind};
    use crate::kernels::ALL;

    /// Devices that choose each shader of this crate: a GPU, one with tensor cores, and drivers on a CPU with subgroups and without.
    fn kinds() -> Vec<Device> {
        let gpu = |c: &mut Capabilities| (c.kind, c.group, c.lanes) = (DeviceKind::DiscreteGpu, 256, 32);
        let cpu = |c: &mut Capabilities| (c.kind, c.texel_reads) = (DeviceKind::Software, true);
        let of = |change: &dyn Fn(&mut Capabilities)| Device::plan(1 << 30).with_capabilities(change).unwrap();
        vec![
            of(&gpu),
            of(&|c| {
                gpu(c);
                (c.tensor_cores, c.rounds_operands) = (Some(16), true);
            }),
            of(&cpu),
            of(&|c| {
                cpu(c);
                c.subgroup_size = Some(8);
            }),
        ]
    }

    /// The kernels that no case of `entries` records on any kind of device.
    fn missing(entries: &[Entry]) -> Vec<&'static str> {
        let sizes =
            Sizes { rows: 40, width: 8, side: 64, tokens: 64, hidden: 256, vocabulary: 64, neighbours: 4, batch: 1 };
        let mut met = BTreeSet::new();
        for device in kinds() {
            for entry in entries.iter().filter(|e| e.kind == Kind::Kernel) {
                let case = (entry.make)(&device, &sizes).unwrap();
                assert!(case.bytes + case.flops > 0, "{} states no work", entry.name);
                let Run::Recorded(record) = &case.run else { panic!("{} is a job", entry.name) };
                let mut recorder = device.recorder();
                record(&mut recorder).unwrap();
                met.extend(recorder.commands().iter().filter_map(|command| match command {
                    Command::Dispatch(dispatch) => Some(dispatch.kernel.name),
                    _ => None,
                }));
            }
        }
        ALL.iter().map(|kernel| kernel.name).filter(|name| !met.contains(name)).collect()
    }

    #[test]
    fn every_kernel_has_a_case() {
        let mut entries = catalogue();
        assert_eq!(missing(&entries), [] as [&str; 0]);
        // A kernel without a case is found.
        entries.retain(|e| !e.name.starts_with("rotary") && !e.name.contains("gelu"));
        let gone = ["gelu", "gelu backward", "rotary", "rotary elements"];
        let fused = ["matmul subgroup, gelu", "matmul direct, gelu", "matmul tiled, gelu", "matmul cooperative, gelu"];
        assert_eq!(missing(&entries), [&gone[..], &fused[..]].concat());
    }

    #[test]
    fn names_are_distinct() {
        let names: Vec<&str> = catalogue().iter().map(|e| e.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    }
}
