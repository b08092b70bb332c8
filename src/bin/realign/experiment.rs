//! `demo`, and what it shares with `experiment`.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use realign::align::{Centroid, Method, Statistics, apply_rows};
use realign::device::Device;
use realign::experiment::{Arm, Domain, Materials, Outcome, Progress, ProtocolSettings, Record, Source, run_arm};
use realign::io::write_atomically;
use realign::kernels::stats::moments::Summand;
use realign::stats::{MemoryRows, Moments, StreamOptions, measure};
use serde_json::{Value, json};

use crate::experiment_args::{DemoArgs, FORMAT, RESULTS, RunArgs};
use crate::experiment_clouds::clouds;
use crate::experiment_page::{self, Shown};
use crate::experiment_plan::{FEW_AND_ALL, NOISE};
use crate::show;
use crate::train;

/// What Ctrl-C is answered.
pub const STOPPING: &str = "stopping; Ctrl-C again to stop at once";

/// A method's work on the texts' embeddings, without any training.
#[derive(Clone, Debug)]
pub struct Geometry {
    pub name: String,
    pub gap: f64,
    pub trace: f64,
}

pub fn demo(args: &DemoArgs) -> Result<()> {
    let device = args.run.device.request()?;
    let _lock = args.run.folder(&args.out, false)?;
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
    let preparation = study.0.json();
    let value = json!({
        "format": FORMAT, "finished": true, "device": device.name(), "seed": args.seed, "quick": args.run.quick,
        "seconds": seconds, "gap": preparation["gap"], "retrieval": preparation["retrieval"],
        "language_model_loss": preparation["language_model_loss"], "preparation": preparation,
        "methods": geometry.iter().map(|g| json!({"method": g.name, "gap": g.gap, "trace": g.trace})).collect::<Vec<_>>(),
        "rows": study.1.iter().map(Outcome::json).collect::<Vec<_>>(),
    });
    let page = args.out.join("report.html");
    let clouds = clouds(&device, &study.0)?;
    let shown = Shown { materials: &study.0, outcomes: &study.1, geometry: &geometry, clouds, images: &FEW_AND_ALL };
    experiment_page::demo(shown, &value)?.write(&page, true)?;
    write_atomically(&args.out.join(RESULTS), true, format!("{value:#}\n").as_bytes())?;
    finish(&args.run, &value, &page, || table(&study.1, &FEW_AND_ALL))
}

/// Prints what came out.
pub fn finish(run: &RunArgs, value: &Value, page: &Path, text: impl FnOnce() -> String) -> Result<()> {
    if run.json {
        return show::result(true, value);
    }
    show::print(&format!("{}\nThe page with all figures: {}", text(), page.display()))
}

/// What goes on, for a progress line, with the monitor's last record: what says most comes first, for a narrow terminal cuts the
/// rest.
pub fn line(p: &Progress<'_>, record: Option<&Record>) -> String {
    let mut text = p.task.to_owned();
    if let Some(loss) = p.loss {
        text += &format!(" loss {loss:.3}");
    }
    if let Some(r) = record {
        text += &format!(" gap {:.3} PMB {:.3} POB {:.3}", r.gap, r.fixed.pmb, r.fixed.pob);
        let more = [("drift", r.fixed.drift), ("leakage", r.fixed.leakage), ("sin θ", r.frozen.then_some(r.sin_theta))];
        let more = more.into_iter().filter_map(|(name, x)| x.map(|x| format!(" {name} {x:.3}")));
        text.extend(more);
    }
    text
}

type Setup<'a> = (ProtocolSettings, &'a [Arm], &'a [usize]);

/// Prepares an experiment and runs its rows, under a progress line; Ctrl-C ends it.
fn study(device: &Device, out: &Path, (settings, arms, images): Setup<'_>) -> Result<(Materials, Vec<Outcome>)> {
    train::watch_for_stop(STOPPING)?;
    let bar = show::progress(0, "");
    let (mut last, mut record) = (String::new(), None);
    let mut watch = |p: Progress<'_>| {
        if p.task != last {
            (last, record) = (p.task.to_owned(), None);
            show::task(&bar, p.task, p.total);
        }
        record = p.record.copied().or(record);
        bar.set_position(p.done);
        bar.set_message(line(&p, record.as_ref()));
        if train::stopped() {
            return Err(realign::Error::Stopped);
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
        let arm = Arm::new(Source::Aligned(method, centroid));
        let statistics = Statistics::load(&materials.statistics(device, &arm)?)?;
        let aligned = moments(device, &apply_rows(device, &statistics, &materials.texts, width)?, width)?;
        let gap = aligned.mean().iter().zip(target.mean()).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        rows.push(Geometry { name: arm.name(), gap, trace: aligned.trace() });
    }
    Ok(rows)
}

fn moments(device: &Device, rows: &[f32], width: usize) -> Result<Moments> {
    let mut source = MemoryRows::f32("rows", rows, width)?;
    Ok(measure(device, &mut source, &Summand::unit_rows(device, width)?, StreamOptions::default())?)
}

fn table(outcomes: &[Outcome], images: &[usize]) -> String {
    let mut lines = vec![format!(
        "{:<28} {:>9}{}",
        "stage 1 on",
        "captions",
        images.iter().map(|n| format!(" {:>11}", format!("{n} images"))).collect::<String>()
    )];
    lines.extend(outcomes.iter().map(|o| {
        let answers = images.iter().map(|n| format!(" {:>11.3}", o.answers(*n).map_or(f64::NAN, |a| a.share())));
        format!("{:<28} {:>9.3}{}", o.arm.name(), o.captions.share(), answers.collect::<String>())
    }));
    lines.push("captions: share of attributes right in captions of held-out images after stage 1".to_owned());
    lines.push("images: share of right answers after stage 2 on so many real images".to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::{ProgressBar, ProgressDrawTarget, TermLike};

    use super::*;

    /// A terminal of 60 columns that keeps what is written.
    #[derive(Clone, Debug, Default)]
    struct Narrow(Arc<Mutex<Vec<String>>>);

    impl TermLike for Narrow {
        fn width(&self) -> u16 {
            60
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push(text.to_owned());
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn record() -> Record {
        use realign::experiment::{Monitor, MonitorOptions, Observation};
        let mut monitor = Monitor::new(3, MonitorOptions { freeze_at: 0, ..Default::default() }).unwrap();
        let seen = |step| Observation {
            step,
            loss: 1.0,
            temperature: 0.1,
            images: &[1.0, 0.0, 0.1, 0.0, 1.0, 0.2, 0.5, 0.5, 0.9],
            texts: &[1.0, 0.3, 0.1, 0.2, 1.0, 0.2, 0.5, 0.5, 0.1],
            gradients: &[0.1, 0.2, 0.3, 0.3, 0.1, 0.0],
        };
        monitor.observe(seen(0)).unwrap();
        *monitor.observe(seen(20)).unwrap()
    }

    #[test]
    fn the_progress_line_has_loss_and_monitor_and_fits_60_columns() {
        let record = record();
        let p = Progress { task: "dual encoder", done: 20, total: 300, loss: Some(2.345), record: Some(&record) };
        let text = line(&p, Some(&record));
        for part in ["dual encoder loss 2.345 gap ", "PMB", "POB", "drift", "leakage", "sin θ"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let terminal = Narrow::default();
        let bar = ProgressBar::with_draw_target(Some(300), ProgressDrawTarget::term_like(Box::new(terminal.clone())));
        show::task(&bar, p.task, p.total);
        bar.set_position(p.done);
        bar.set_message(text);
        bar.tick();
        let written = terminal.0.lock().unwrap().clone();
        let last = written.iter().rev().find(|l| l.contains("dual encoder loss 2.345 gap ")).expect("was drawn");
        assert!(last.contains("20/300") && last.chars().count() <= 60, "{last:?}");
        assert!(written.iter().all(|l| l.chars().count() <= 60 && !l.contains('\n')), "{written:?}");
    }
}
