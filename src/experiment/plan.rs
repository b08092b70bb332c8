//! What a study runs: preparations, and the rows that share each.

use super::arm::{Arm, Domain, Source, Texts};
use super::protocol::ProtocolSettings;
use super::words::Length;
use crate::align::{Centroid, Method, Stages};

/// Real images in stage 2: a tenth of all, 30%, 60% and all.
pub const IMAGES: [usize; 4] = [20, 60, 120, 200];
/// For rows that the sizes between are not asked of.
pub const FEW_AND_ALL: [usize; 2] = [20, 200];
/// Deviation of the noise on the adapter's input, where there is some.
pub const NOISE: f64 = 0.1;
/// C3's σ, besides the one that the traces give.
pub const SIGMAS: [f64; 2] = [0.02, 0.05];

/// Strengths of optimal transport, besides the whole map.
pub const STRENGTHS: [f64; 2] = [0.25, 0.5];

/// A dual encoder and a language model, and the rows that are made with them.
#[derive(Clone, Debug)]
pub struct Preparation {
    /// Also its folder.
    pub name: &'static str,
    /// What differs from the default settings.
    pub change: fn(&mut ProtocolSettings),
    /// Each row, and the sizes of its stage 2.
    pub rows: Vec<(Arm, &'static [usize])>,
}

/// The preparations of a plan; no two of its rows have one name. The `full` one has every aligner and ablation, with and without
/// noise, both lengths of captions and smaller pools of texts; the other one the four rows that say most.
pub fn plan(full: bool) -> Vec<Preparation> {
    let [untrained, paired] = [Source::Untrained, Source::Paired].map(Arm::new);
    let realign = Arm::aligned(Method::ReAlign);
    let all = |arms: Vec<Arm>| arms.into_iter().map(|arm| (arm, &IMAGES[..])).collect::<Vec<_>>();
    let default = |rows| Preparation { name: "default", change: |_| (), rows };
    if !full {
        return vec![default(all(vec![untrained, Arm::aligned(Method::None), realign, paired]))];
    }
    let both = |arm: Arm| [arm, arm.noisy(NOISE)];
    let c3 = Arm::aligned(Method::C3);
    let every = vec![untrained, Arm::aligned(Method::None), realign, paired];
    let exact = Arm::new(Source::Aligned(Method::ReAlign, Centroid::Exact));
    let aligners = [Method::MeanShift, Method::AnchorTrace].map(Arm::aligned).into_iter().chain([exact]);
    let aligners = aligners.chain([Arm::aligned(Method::Blockwise), c3]).chain(SIGMAS.map(|s| c3.sigma(s)));
    let transport = Arm::aligned(Method::OptimalTransport);
    let planes = Arm::aligned(Method::AnisoAlign);
    let aligners = aligners.chain(STRENGTHS.map(|t| transport.strength(t)));
    let aligners = aligners.chain([transport, planes, planes.stages(Stages::Full)]);
    let smaller = [Texts::Half, Texts::Quarter].map(|texts| realign.on(texts));
    let noisy = every[1..].iter().map(|arm| arm.noisy(NOISE));
    let few = aligners.chain(smaller).flat_map(both).chain(noisy).map(|arm| (arm, &FEW_AND_ALL[..]));
    let lengths = [Texts::Short, Texts::Long].map(|texts| realign.on(texts)).into_iter().flat_map(both);
    let lengths = lengths.map(|arm| (arm, &FEW_AND_ALL[..])).collect();
    let mut rows = all(every.clone());
    rows.extend(few);
    rows.extend([Domain::Thin, Domain::Thick].map(|domain| (realign.within(domain), &[][..])));
    let mixed = Preparation { name: "both lengths", change: |s| s.length = Length::Mixed, rows: lengths };
    vec![default(rows), mixed]
}
