//! `demo`, and what it shares with `experiment`.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use realign::align::{Centroid, Method, Statistics, apply_rows};
use realign::device::Device;
use realign::experiment::{Arm, Domain, Materials, Outcome, Progress, ProtocolSettings, Source, run_arm};
use realign::io::write_atomically;
use realign::kernels::stats::moments::Summand;
use realign::stats::{MemoryRows, Moments, StreamOptions, measure};
use serde_json::{Value, json};

use crate::experiment_args::{DemoArgs, RESULTS, RunArgs};
use crate::experiment_clouds::clouds;
use crate::experiment_page::{self, Shown};
use crate::show;
use crate::train;

/// Real images in stage 2: few, some, all.
const FEW_AND_ALL: [usize; 2] = [20, 200];
/// Deviation of the noise on the adapter's input, where there is some.
pub const NOISE: f64 = 0.1;

/// A method's work on the texts' embeddings, without any training.
#[derive(Clone, Debug)]
pub struct Geometry {
    pub name: String,
    pub gap: f64,
    pub trace: f64,
}

pub fn demo(args: &DemoArgs) -> Result<()> {
    let device = args.run.device.request()?;
    args.run.folder(&args.out)?;
    let start = Instant::now();
    let arms = [
        Arm::new(Source::Untrained),
        Arm::aligned(Method::None),
        Arm::aligned(Method::MeanShift),
        Arm::aligned(Method::ReAlign),
        Arm::aligned(Method::ReAlign).noisy(NOISE),
        Arm::new(Source::Paired),
    ];
    let study = study(&device, &args.out.join("run"), (args.run.settings(args.seed), &arms, &FEW_AND_ALL))?;
    let geometry = geometry(&device, &study.0)?;
    let seconds = start.elapsed().as_secs_f64();
    let value = json!({
        "device": device.name(), "seed": args.seed, "seconds": seconds,
        "gap": study.0.records.last().map(|r| r.gap), "retrieval": study.0.retrieval,
        "language_model_loss": study.0.language_loss,
        "methods": geometry.iter().map(|g| json!({"method": g.name, "gap": g.gap, "trace": g.trace})).collect::<Vec<_>>(),
        "rows": study.1.iter().map(Outcome::json).collect::<Vec<_>>(),
    });
    let page = args.out.join("report.html");
    let clouds = clouds(&device, &study.0)?;
    let shown = Shown { materials: &study.0, outcomes: &study.1, geometry: &geometry, clouds, images: &FEW_AND_ALL };
    experiment_page::demo(shown, &value)?.write(&page, true)?;
    finish(&args.run, &args.out, &value, &page, || table(&study.1, &FEW_AND_ALL))
}

pub fn finish(run: &RunArgs, out: &Path, value: &Value, page: &Path, text: impl FnOnce() -> String) -> Result<()> {
    write_atomically(&out.join(RESULTS), true, format!("{value:#}\n").as_bytes())?;
    run.finished(out)?;
    if run.json {
        return show::result(true, value);
    }
    show::print(&format!("{}\nThe page with all figures: {}", text(), page.display()))
}

pub type Setup<'a> = (ProtocolSettings, &'a [Arm], &'a [usize]);

/// Prepares an experiment and runs its rows, under a progress line; Ctrl-C ends it.
pub fn study(device: &Device, out: &Path, (settings, arms, images): Setup<'_>) -> Result<(Materials, Vec<Outcome>)> {
    train::watch_for_stop("stopping; Ctrl-C again to stop at once")?;
    let bar = show::progress(0, "");
    let mut last = String::new();
    let mut watch = |p: Progress<'_>| {
        if p.task != last {
            last = p.task.to_owned();
            show::task(&bar, p.task, p.total);
        }
        bar.set_position(p.done);
        if train::stopped() {
            return Err(realign::Error::argument("experiment", train::STOPPED));
        }
        Ok(())
    };
    let materials = Materials::prepare(device, out, settings, &mut watch)?;
    let mut outcomes = Vec::new();
    for arm in arms {
        outcomes.push(run_arm(device, &materials, *arm, images, &mut watch)?);
    }
    bar.finish_and_clear();
    Ok((materials, outcomes))
}

/// What each aligner makes of the clouds: the distance of the means and the spread.
fn geometry(device: &Device, materials: &Materials) -> Result<Vec<Geometry>> {
    let width = materials.width();
    let target = moments(device, &materials.pool_of(Domain::All), width)?;
    let methods = [
        (Method::None, Centroid::default()),
        (Method::MeanShift, Centroid::default()),
        (Method::C3, Centroid::default()),
        (Method::Blockwise, Centroid::default()),
        (Method::AnchorTrace, Centroid::default()),
        (Method::ReAlign, Centroid::default()),
        (Method::ReAlign, Centroid::Exact),
    ];
    let mut rows = vec![Geometry { name: "images".to_owned(), gap: 0.0, trace: target.trace() }];
    for (method, centroid) in methods {
        let statistics = Statistics::load(&materials.statistics(device, method, centroid, Domain::All)?)?;
        let aligned = moments(device, &apply_rows(device, &statistics, &materials.texts, width)?, width)?;
        let gap = aligned.mean().iter().zip(target.mean()).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let name = Arm::new(Source::Aligned(method, centroid)).name();
        rows.push(Geometry { name, gap, trace: aligned.trace() });
    }
    Ok(rows)
}

fn moments(device: &Device, rows: &[f32], width: usize) -> Result<Moments> {
    let mut source = MemoryRows::f32("rows", rows, width)?;
    Ok(measure(device, &mut source, &Summand::unit_rows(device, width)?, StreamOptions::default())?)
}

fn table(outcomes: &[Outcome], images: &[usize]) -> String {
    let mut lines = vec![format!(
        "{:<22} {:>9}{}",
        "stage 1 on",
        "captions",
        images.iter().map(|n| format!(" {:>11}", format!("{n} images"))).collect::<String>()
    )];
    lines.extend(outcomes.iter().map(|o| {
        let answers = images.iter().map(|n| format!(" {:>11.3}", o.answers(*n).map_or(f64::NAN, |a| a.share())));
        format!("{:<22} {:>9.3}{}", o.arm.name(), o.captions.share(), answers.collect::<String>())
    }));
    lines.push("captions: share of attributes right in captions of held-out images after stage 1".to_owned());
    lines.push("images: share of right answers after stage 2 on so many real images".to_owned());
    lines.join("\n")
}
