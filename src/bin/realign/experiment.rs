//! `demo` and `experiment`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use realign::align::{Centroid, Method, Statistics, apply_rows};
use realign::device::Device;
use realign::experiment::{Arm, Length, Materials, Outcome, Progress, ProtocolSettings, Source, run_arm};
use realign::io::write_atomically;
use realign::kernels::stats::moments::Summand;
use realign::stats::{MemoryRows, Moments, StreamOptions, measure};
use serde_json::{Value, json};

use crate::experiment_args::{DemoArgs, ExperimentArgs, RESULTS, RunArgs};
use crate::experiment_page::{self, Shown};
use crate::show;
use crate::train;

/// Real images in stage 2: few, some, all.
const FEW_AND_ALL: [usize; 2] = [20, 200];
const THIRDS: [usize; 4] = [20, 60, 120, 200];
const NOISE: f64 = 0.1;

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
    let untrained = Arm { source: Source::Untrained, noise: 0.0 };
    let paired = Arm { source: Source::Paired, noise: 0.0 };
    let arms = [
        untrained,
        Arm::aligned(Method::None),
        Arm::aligned(Method::MeanShift),
        Arm::aligned(Method::ReAlign),
        Arm::aligned(Method::ReAlign).noisy(NOISE),
        paired,
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
    let shown = Shown { materials: &study.0, outcomes: &study.1, geometry: &geometry, images: &FEW_AND_ALL };
    experiment_page::demo(&shown, &value)?.write(&page, true)?;
    finish(&args.run, &args.out, &value, &page, || table(&study.1, &FEW_AND_ALL))
}

fn finish(run: &RunArgs, out: &Path, value: &Value, page: &Path, text: impl FnOnce() -> String) -> Result<()> {
    write_atomically(&out.join(RESULTS), true, format!("{value:#}\n").as_bytes())?;
    run.finished(out)?;
    if run.json {
        return show::result(true, value);
    }
    show::print(&format!("{}\nThe page with all figures: {}", text(), page.display()))
}

type Setup<'a> = (ProtocolSettings, &'a [Arm], &'a [usize]);

/// Prepares an experiment and runs its rows, under a progress line; Ctrl-C ends it.
fn study(device: &Device, out: &Path, (settings, arms, images): Setup<'_>) -> Result<(Materials, Vec<Outcome>)> {
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
    let target = moments(device, &materials.images_of(&materials.digits.split().pool), width)?;
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
        let statistics = Statistics::load(&materials.statistics(device, method, centroid)?)?;
        let aligned = moments(device, &apply_rows(device, &statistics, &materials.texts, width)?, width)?;
        let gap = aligned.mean().iter().zip(target.mean()).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let name = Arm { source: Source::Aligned(method, centroid), noise: 0.0 }.name();
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

/// One setting of the full experiment.
struct Variant {
    name: &'static str,
    change: fn(&mut ProtocolSettings),
    arms: Vec<Arm>,
}

fn variants(full: bool) -> Vec<Variant> {
    let untrained = Arm { source: Source::Untrained, noise: 0.0 };
    let paired = Arm { source: Source::Paired, noise: 0.0 };
    let exact = Arm { source: Source::Aligned(Method::ReAlign, Centroid::Exact), noise: 0.0 };
    let few = vec![untrained, Arm::aligned(Method::None), Arm::aligned(Method::ReAlign), paired];
    if !full {
        return vec![Variant { name: "default", change: |_| (), arms: few }];
    }
    let methods =
        [Method::None, Method::MeanShift, Method::C3, Method::Blockwise, Method::AnchorTrace, Method::ReAlign];
    let mut arms: Vec<Arm> = vec![untrained];
    for arm in methods.map(Arm::aligned).into_iter().chain([exact, paired]) {
        arms.extend([arm, arm.noisy(NOISE)]);
    }
    let realign = || vec![Arm::aligned(Method::ReAlign), Arm::aligned(Method::ReAlign).noisy(NOISE)];
    vec![
        Variant { name: "default", change: |_| (), arms },
        Variant { name: "long captions", change: |s| s.length = Length::Long, arms: realign() },
        Variant { name: "a quarter of the texts", change: |s| s.texts /= 4, arms: realign() },
        Variant { name: "half of the texts", change: |s| s.texts /= 2, arms: realign() },
    ]
}

pub fn experiment(args: &ExperimentArgs) -> Result<()> {
    let device = args.run.device.request()?;
    args.run.folder(&args.out)?;
    let start = Instant::now();
    let mut rows: Vec<(String, Vec<Outcome>)> = Vec::new();
    for variant in variants(args.full) {
        let mut by_name: BTreeMap<usize, Vec<Outcome>> = BTreeMap::new();
        for seed in 0..args.seeds {
            let mut settings = args.run.settings(seed);
            (variant.change)(&mut settings);
            let out = args.out.join(variant.name.replace(' ', "-")).join(format!("seed-{seed}"));
            std::fs::create_dir_all(&out).map_err(realign::Error::io("create", &out))?;
            let (_, outcomes) = study(&device, &out, (settings, &variant.arms, &THIRDS))?;
            outcomes.into_iter().enumerate().for_each(|(i, o)| by_name.entry(i).or_default().push(o));
        }
        let name = |o: &[Outcome]| match variant.name {
            "default" => o[0].arm.name(),
            other => format!("{}, {other}", o[0].arm.name()),
        };
        rows.extend(by_name.into_values().map(|outcomes| (name(&outcomes), outcomes)));
    }
    let value = json!({
        "device": device.name(), "seeds": args.seeds, "full": args.full, "seconds": start.elapsed().as_secs_f64(),
        "rows": rows.iter().map(|(name, outcomes)| summary(name, outcomes)).collect::<Vec<_>>(),
    });
    let page = args.out.join("report.html");
    experiment_page::experiment(&value, &THIRDS)?.write(&page, true)?;
    finish(&args.run, &args.out, &value, &page, || summary_table(&value))
}

/// Mean and standard deviation (n - 1) over the seeds.
fn spread(values: &[f64]) -> Value {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let deviation = match values.len() {
        1 => None,
        _ => Some((values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()),
    };
    json!({ "mean": mean, "sd": deviation })
}

fn summary(name: &str, outcomes: &[Outcome]) -> Value {
    let all = |f: &dyn Fn(&Outcome) -> f64| spread(&outcomes.iter().map(f).collect::<Vec<_>>());
    let answers: serde_json::Map<String, Value> =
        THIRDS.iter().map(|n| (n.to_string(), all(&|o| o.answers(*n).map_or(f64::NAN, |a| a.share())))).collect();
    json!({
        "name": name, "captions": all(&|o| o.captions.share()), "caption_nll": all(&|o| o.caption_nll), "answers": answers,
        "runs": outcomes.iter().map(Outcome::json).collect::<Vec<_>>(),
    })
}

fn summary_table(value: &Value) -> String {
    let cell = |v: &Value| match (v["mean"].as_f64(), v["sd"].as_f64()) {
        (Some(mean), Some(sd)) => format!("{mean:.3} ± {sd:.3}"),
        (Some(mean), None) => format!("{mean:.3}"),
        _ => "–".to_owned(),
    };
    let header = THIRDS.iter().map(|n| format!(" {:>14}", format!("{n} images"))).collect::<String>();
    let mut lines = vec![format!("{:<36} {:>14}{header}", "stage 1 on", "captions")];
    lines.extend(value["rows"].as_array().into_iter().flatten().map(|row| {
        let answers = THIRDS.iter().map(|n| format!(" {:>14}", cell(&row["answers"][n.to_string()])));
        let name = row["name"].as_str().unwrap_or("");
        format!("{name:<36} {:>14}{}", cell(&row["captions"]), answers.collect::<String>())
    }));
    lines.join("\n")
}
