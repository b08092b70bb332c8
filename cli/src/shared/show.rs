//! Printing: progress and results.

use std::io::{ErrorKind, IsTerminal, Write};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use realign::align::{Method, Radial, Stages, Statistics};
use realign::stats::{CovarianceSums, Noise, Summary};
use serde_json::{Value, json};

/// Prints lines on stdout. A reader that has gone, as with `| head`, is no failure; a full disk is.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}

/// Prints a result: the JSON, or its entries as `key  value` lines.
pub fn result(json: bool, value: &Value) -> Result<()> {
    let entries = match value.as_object() {
        Some(entries) if !json => entries,
        _ => return print(&format!("{value:#}")),
    };
    let width = entries.keys().map(String::len).max().unwrap_or(0);
    let line = |(key, value): (&String, &Value)| match value {
        Value::Null => None,
        Value::String(text) => Some(format!("{key:width$}  {text}")),
        other => Some(format!("{key:width$}  {other}")),
    };
    print(&entries.iter().filter_map(line).collect::<Vec<_>>().join("\n"))
}

/// A progress bar over `rows` on stderr; silent where that is no terminal.
pub fn progress(rows: u64, what: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(Some(rows), ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new(rows);
    let style = "{msg} {wide_bar} {human_pos}/{human_len} rows {per_sec} ETA {eta}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.with_message(what)
}

/// Names what is being done; a line of its own where stderr is no terminal.
pub fn task(bar: &ProgressBar, name: &str, total: u64) {
    if bar.is_hidden() {
        eprintln!("{name}");
    }
    bar.set_style(task_style());
    bar.set_length(total);
    bar.set_message(name.to_owned());
}

/// Count, bar, message: the message is cut where the terminal ends.
pub fn task_style() -> ProgressStyle {
    // Invariant: the template is well-formed, as a test shows; the default would do for want of it.
    ProgressStyle::with_template(TASK).unwrap_or_else(|_| ProgressStyle::default_bar())
}

const TASK: &str = "{pos}/{len} {bar:10} {wide_msg}";

/// What was counted, in figures that cost no time.
pub fn summary_json(summary: &Summary) -> Value {
    let moments = &summary.moments;
    let mut value = json!({
        "rows": moments.rows(), "width": moments.width(), "zero_rows": moments.zero_rows(),
        "nonfinite_replaced": moments.replaced(), "trace": moments.trace(),
        "encoder": moments.encoder().map(ToString::to_string),
        "mean_norm": moments.mean().iter().map(|m| m * m).sum::<f64>().sqrt(),
    });
    if moments.is_moved() {
        value["moved"] = json!(true);
    }
    if let Some(noise) = moments.noise() {
        // What the file does not tell.
        (value["zero_rows"], value["nonfinite_replaced"]) = (Value::Null, Value::Null);
        value["private"] = noise_json(noise, moments.rows());
    }
    if let Some(sums) = &summary.covariance {
        let covariance = sums.covariance();
        value["covariance"] = json!(if matches!(sums, CovarianceSums::Exact(_)) { "exact" } else { "rounded" });
        value["covariance_trace"] = json!(covariance.trace());
        value["covariance_error"] = json!(covariance.error);
    }
    value
}

/// The budget of private moments, and the noise of each component of the mean of so many rows.
pub fn noise_json(noise: &Noise, rows: u64) -> Value {
    let of_mean = noise.standard_deviation() / rows.max(1) as f64;
    json!({ "epsilon": noise.epsilon, "delta": noise.delta, "noise": of_mean })
}

pub fn statistics_json(s: &Statistics) -> Value {
    let refinement = s.radial.as_ref().and_then(|radial| radial.refinement.as_ref());
    json!({
        "method": s.method.name(), "centroid": s.centroid.map(|c| c.to_string()), "width": s.width(),
        "rows_source": s.rows.0, "rows_target": s.rows.1, "trace_source": s.trace_source, "trace_target": s.trace_target,
        "scale": s.scale, "gap": s.gap(), "residual_gap": s.residual_gap,
        "sigma": s.noise.map(|n| n.sigma), "seed": s.noise.map(|n| n.seed),
        "strength": s.strength, "planes": s.radial.as_ref().map(Radial::planes),
        "stages": (s.method == Method::AnisoAlign).then(|| refinement.map_or(Stages::Init, |r| r.stages).name()),
        "hidden": refinement.and_then(|r| r.network.widths().get(1).copied()),
        "alpha_theta": refinement.map(|r| r.alpha_theta), "alpha_rho": refinement.map(|r| r.alpha_rho),
        "private_source": private(s.budgets[0], s.privacy.0), "private_target": private(s.budgets[1], s.privacy.1),
        "encoder_source": s.encoders.0.as_ref().map(|encoder| &encoder.name),
        "encoder_target": s.encoders.1.as_ref().map(|encoder| &encoder.name),
    })
}

/// The budget of private moments, and the noise of each component of their mean.
fn private(budget: Option<(f64, f64)>, variance: f64) -> Option<Value> {
    budget.map(|(epsilon, delta)| json!({ "epsilon": epsilon, "delta": delta, "noise": variance.sqrt() }))
}

/// Four digits, in the form that reads best.
pub fn number(x: f64) -> String {
    match x.abs() {
        0.0 => "0".to_owned(),
        a if !(1e-3..1e5).contains(&a) => format!("{x:.2e}"),
        a if a >= 100.0 => format!("{x:.1}"),
        a if a >= 10.0 => format!("{x:.2}"),
        _ => format!("{x:.4}"),
    }
}
