//! The demo: the protocol once, from the dual encoder to answers about real images.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use super::arm::{Arm, Domain, Source};
use super::evaluation::{Outcome, run_arm};
use super::plan::{FEW_AND_ALL, NOISE};
use super::protocol::{Materials, ProtocolSettings, Watch};
use super::results::{FORMAT, claim_folder};
use crate::Result;
use crate::align::{Centroid, Method, Statistics, apply_rows};
use crate::device::Device;
use crate::kernels::stats::moments::Summand;
use crate::stats::{MemoryRows, Moments, StreamOptions, measure};
use crate::train::Start;

/// What an aligner makes of the texts' cloud, without any training.
#[derive(Clone, Debug, PartialEq)]
pub struct AlignedCloud {
    /// The aligner; `images` for the cloud that is aligned to.
    pub name: String,
    /// Distance of its mean from the images'.
    pub gap: f64,
    /// Trace of its covariance.
    pub trace: f64,
}

/// What a demo made and found.
#[derive(Debug)]
pub struct Demo {
    /// What its rows share.
    pub materials: Materials,
    /// Its rows.
    pub outcomes: Vec<Outcome>,
    /// The images' cloud, and the texts' after each aligner.
    pub clouds: Vec<AlignedCloud>,
    /// Images of its stages 2.
    pub images: &'static [usize],
    /// How long it took.
    pub seconds: f64,
    device: Device,
}

impl Demo {
    /// Runs the demo's rows in a folder of their own, which is replaced if it is an earlier experiment's and `start` says so.
    ///
    /// # Errors
    /// As [`claim_folder`], [`Materials::prepare`] and [`run_arm`].
    pub fn run(
        device: &Device,
        out: &Path,
        settings: ProtocolSettings,
        start: Start,
        watch: &mut Watch<'_>,
    ) -> Result<Demo> {
        let (_, _lock) = claim_folder(out, start)?;
        let began = Instant::now();
        let arms = [
            Arm::new(Source::Untrained),
            Arm::aligned(Method::None),
            Arm::aligned(Method::MeanShift),
            Arm::aligned(Method::ReAlign),
            Arm::aligned(Method::ReAlign).noisy(NOISE),
            Arm::new(Source::Paired),
        ];
        let images = &FEW_AND_ALL[..];
        let materials = Materials::prepare(device, &out.join("run"), settings, watch)?;
        let rows = arms.iter().map(|arm| run_arm(device, &materials, *arm, images, watch));
        let outcomes = rows.collect::<Result<_>>()?;
        let clouds = aligned_clouds(device, &materials)?;
        let seconds = began.elapsed().as_secs_f64();
        Ok(Demo { materials, outcomes, clouds, images, seconds, device: device.clone() })
    }

    /// For results files.
    pub fn json(&self) -> Value {
        let preparation = self.materials.json();
        let methods = self.clouds.iter().map(|c| json!({"method": c.name, "gap": c.gap, "trace": c.trace}));
        json!({
            "format": FORMAT, "finished": true, "device": self.device.name(), "seed": self.materials.settings.seed,
            "seconds": self.seconds, "gap": preparation["gap"], "retrieval": preparation["retrieval"],
            "language_model_loss": preparation["language_model_loss"], "methods": methods.collect::<Vec<_>>(),
            "rows": self.outcomes.iter().map(Outcome::json).collect::<Vec<_>>(), "preparation": preparation,
        })
    }

    /// The page with all figures; `inputs` are kept in it as JSON.
    ///
    /// # Errors
    /// A device lost or out of memory.
    #[cfg(feature = "report")]
    pub fn page(&self, inputs: &Value) -> Result<crate::report::Page> {
        super::pages::demo::page(self, super::pages::clouds::clouds(&self.device, &self.materials)?, inputs)
    }
}

/// What each aligner makes of the clouds: the distance of the means and the spread.
fn aligned_clouds(device: &Device, materials: &Materials) -> Result<Vec<AlignedCloud>> {
    let width = materials.width();
    let target = moments(device, &materials.pool_of(Domain::All), width)?;
    let methods = [
        (Method::None, Centroid::default()),
        (Method::MeanShift, Centroid::default()),
        (Method::C3, Centroid::default()),
        (Method::Blockwise, Centroid::default()),
        (Method::OptimalTransport, Centroid::default()),
        (Method::AnisoAlign, Centroid::default()),
        (Method::AnchorTrace, Centroid::default()),
        (Method::ReAlign, Centroid::default()),
        (Method::ReAlign, Centroid::Exact),
    ];
    let mut rows = vec![AlignedCloud { name: "images".to_owned(), gap: 0.0, trace: target.trace() }];
    for (method, centroid) in methods {
        let arm = Arm::new(Source::Aligned(method, centroid));
        let statistics = Statistics::load(&materials.statistics(device, &arm)?)?;
        let aligned = moments(device, &apply_rows(device, &statistics, &materials.texts, width)?, width)?;
        let gap = aligned.mean().iter().zip(target.mean()).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        rows.push(AlignedCloud { name: arm.name(), gap, trace: aligned.trace() });
    }
    Ok(rows)
}

pub(super) fn moments(device: &Device, rows: &[f32], width: usize) -> Result<Moments> {
    let mut source = MemoryRows::f32("rows", rows, width)?;
    measure(device, &mut source, &Summand::unit_rows(device, width)?, StreamOptions::default())
}
