//! The page of a training run: its curves.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::Result;
use crate::io::{Records, write_atomically};
use crate::report::{Axis, Chart, Lines, Page, Section, Series, Style, number};

/// Writes `report.html` and `loss.svg` from the log of the run in the folder `out`; returns the page's path.
///
/// # Errors
/// No log, or a damaged one; what the disk says.
pub fn write_report(out: &Path) -> Result<PathBuf> {
    let mut lines = Vec::new();
    for record in Records::open(&out.join("log.jsonl"))? {
        lines.push(record?.object);
    }
    let loss = loss_chart(&lines);
    write_atomically(&out.join("loss.svg"), true, loss.svg().as_bytes())?;
    let path = out.join("report.html");
    page(&lines, loss).write(&path, true)?;
    Ok(path)
}

fn points(lines: &[Map<String, Value>], name: &str) -> Vec<[f64; 2]> {
    let number = |line: &Map<String, Value>, name: &str| line.get(name).and_then(Value::as_f64);
    lines.iter().filter_map(|line| Some([number(line, "step")?, number(line, name)?])).collect()
}

/// Exponential mean over some 2% of the points, without the bias of its start.
fn smooth(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let keep = 1.0 - 1.0 / (points.len() as f64 / 50.0).max(1.0);
    let (mut mean, mut weight) = (0.0, 0.0);
    let step = |&[x, y]: &[f64; 2]| {
        mean = keep * mean + (1.0 - keep) * y;
        weight = keep * weight + (1.0 - keep);
        [x, mean / weight]
    };
    points.iter().map(step).collect()
}

fn curve(title: &str, lines: &[Map<String, Value>], name: &str) -> Chart {
    Chart::new(title, Lines::new(Axis::linear("step"), Axis::linear(name)).series(Series::new("", points(lines, name))))
}

fn loss_chart(lines: &[Map<String, Value>]) -> Chart {
    let (loss, held_out) = (points(lines, "loss"), points(lines, "eval_loss"));
    let smoothed = smooth(&loss);
    let mut chart = Lines::new(Axis::linear("step"), Axis::linear("loss (nats per token)"))
        .series(Series::new("each line of the log", loss).style(Style::Faint).colour(0))
        .series(Series::new("smoothed", smoothed).colour(0));
    if !held_out.is_empty() {
        chart = chart.series(Series::new("held out", held_out).colour(1));
    }
    Chart::new("Loss", chart)
}

/// Measures of answers about the held-out data, under their names in the log.
const ANSWERS: [(&str, &str); 3] = [
    ("eval_exact_match", "exact match"),
    ("eval_lenient_match", "the same but for letter case and a full stop"),
    ("eval_f1", "overlap of words (F1)"),
];

/// How good the answers about the held-out data were, where it was answered.
fn answers(lines: &[Map<String, Value>]) -> Option<Section> {
    let curves = ANSWERS.iter().map(|(key, name)| (name, points(lines, key)));
    let curves: Vec<_> = curves.filter(|(_, points)| !points.is_empty()).collect();
    let (_, last) = curves.last()?;
    let meaning = last.last().map(|[step, f1]| {
        let best = last.iter().map(|p| p[1]).fold(f64::NEG_INFINITY, f64::max);
        format!("At step {step} the words' overlap is {}; its best is {}.", number(*f1), number(best))
    })?;
    let plot = Lines::new(Axis::linear("step"), Axis::linear("share").including(0.0).including(1.0));
    let plot = curves.into_iter().fold(plot, |plot, (name, points)| plot.series(Series::new(*name, points)));
    Some(Section::new("Answers about held-out records", "").chart(Chart::new("Answers", plot), meaning))
}

/// What the log says besides numbers: what was left out of the data, and why the run ended early, if it did.
fn notes(lines: &[Map<String, Value>], mut page: Page) -> Page {
    let start = lines.first().and_then(|line| line.get("start"));
    let count = |name: &str| start.and_then(|start| start.get(name)).and_then(Value::as_u64);
    if let Some(samples) = count("samples") {
        let [skipped, bad, cut] = ["skipped", "skipped_bad", "truncated"].map(|name| count(name).unwrap_or(0));
        let note = format!(
            "{skipped} records left out for want of an embedding or a target, {bad} bad ones; {cut} samples cut"
        );
        page = page.card("samples", samples.to_string(), note);
    }
    match lines.last().and_then(|line| Some((line.get("stopped_early")?.as_str()?, line.get("step")?.as_u64()?))) {
        Some((why, step)) => page.card("stopped early", format!("step {step}"), why),
        None => page,
    }
}

fn page(lines: &[Map<String, Value>], chart: Chart) -> Page {
    let (smoothed, held_out) = (smooth(&points(lines, "loss")), points(lines, "eval_loss"));
    let mut page = Page::new("Training run", "Negative log-likelihood per target token, and what drove it.");
    let meaning = match (smoothed.first(), smoothed.last()) {
        (Some([_, first]), Some([step, last])) => {
            page = page.card("loss", number(*last), format!("at step {step}; {} at the start", number(*first)));
            let way = if last < first { "fell" } else { "did not fall" };
            format!("The loss {way}: from {} to {} over {step} steps.", number(*first), number(*last))
        }
        _ => "No step was logged.".to_owned(),
    };
    if let Some([step, last]) = held_out.last() {
        let best = held_out.iter().map(|p| p[1]).fold(f64::INFINITY, f64::min);
        page = page.card("held-out loss", number(*last), format!("at step {step}; best {}", number(best)));
    }
    if let Some([_, tokens]) = points(lines, "tokens").last() {
        page = page.card("positions", number(*tokens), "seen, visual tokens included");
    }
    let section = Section::new("Loss", "").chart(chart, meaning);
    let clipped = "The norm before clipping; a norm that grows while the loss does not fall asks for a lower rate.";
    let rates = Section::new("What drove it", "")
        .chart(curve("Learning rate", lines, "lr"), "The rate of each logged step.")
        .chart(curve("Gradient norm", lines, "grad_norm"), clipped);
    let page = notes(lines, page).section(section);
    let page = match answers(lines) {
        Some(section) => page.section(section),
        None => page,
    };
    page.section(rates)
}
