//! `demo`, and what it shares with `experiment`.

use std::path::Path;

use anyhow::Result;
use realign::experiment::results::write_results;
use realign::experiment::{Demo, Outcome, Progress, ProtocolSettings, Record};
use realign::train::Start;
use serde_json::{Value, json};

use crate::experiment::args::{DemoArgs, RunArgs};
use crate::shared::show;
use crate::train;

/// What Ctrl-C is answered.
pub const STOPPING: &str = "stopping; Ctrl-C again to stop at once";

pub fn demo(args: &DemoArgs) -> Result<()> {
    let device = args.run.device.request()?;
    let (quick, seed) = (args.run.quick, args.seed);
    let settings = if quick { ProtocolSettings::quick(seed) } else { ProtocolSettings::of_seed(seed) };
    let start = if args.run.force { Start::Replace } else { Start::New };
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
        if train::stopped() { Err(realign::Error::Stopped) } else { Ok(()) }
    };
    let demo = Demo::run(&device, &args.out, settings, start, &mut watch)?;
    bar.finish_and_clear();
    let mut value = demo.json();
    value["quick"] = json!(quick);
    let page = args.out.join("report.html");
    demo.page(&value)?.write(&page, true)?;
    write_results(&args.out, &value)?;
    finish(&args.run, &value, &page, || table(&demo.outcomes, demo.images))
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
