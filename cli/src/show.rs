//! Printing: devices, files, results.

use std::io::{ErrorKind, IsTerminal, Write};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use realign::align::Statistics;
use realign::device::{Device, DeviceKind, list_adapters};
use realign::geometry::{Frame, Spectrum};
use realign::io::{Dataset, OpenOptions};
use realign::stats::{Moments, Summary};
use serde_json::{Value, json};

use crate::args::{AdaptersArgs, InfoArgs};

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

pub fn adapters(args: &AdaptersArgs) -> Result<()> {
    let found = list_adapters(args.device.backends())?;
    let host = Device::host();
    let chosen = args.device.request().map(|d| d.name().to_owned()).ok();
    if args.json {
        let list: Vec<Value> = found
            .iter()
            .enumerate()
            .map(|(index, a)| {
                json!({
                    "index": index, "name": a.name, "kind": a.kind.name(), "backend": a.backend, "driver": a.driver,
                    "max_binding_bytes": a.max_binding, "features": a.features,
                })
            })
            .collect();
        let value = json!({ "adapters": list, "host": host.name(), "chosen": chosen });
        return result(true, &value);
    }
    let mut lines = Vec::new();
    for (index, a) in found.iter().enumerate() {
        lines.push(format!("{index}: {} | {} | {} | {}", a.name, a.kind.name(), a.backend, a.driver));
        lines.push(format!("   {} MiB a binding; {}", a.max_binding >> 20, a.features.join(", ")));
    }
    lines.push(format!("host: {}", host.name()));
    if let Some(name) = chosen {
        lines.push(format!("--device auto takes: {name}"));
    }
    if found.iter().any(|a| a.kind == DeviceKind::Software) {
        lines.push("A software GPU is used only when named: --device NAME".to_owned());
    }
    print(&lines.join("\n"))
}

pub fn info(args: &InfoArgs) -> Result<()> {
    if let [path] = &args.inputs[..] {
        if Moments::is_file(path) {
            return result(args.json, &with_kind("moments", counted(&Summary::load(path)?)?));
        }
        if Frame::is_file(path) {
            let frame = Frame::load(path)?;
            let value = json!({ "width": frame.width(), "rank": frame.rank() });
            return result(args.json, &with_kind("frame", value));
        }
        if Statistics::is_file(path) {
            let statistics = Statistics::load(path)?;
            return result(args.json, &with_kind("statistics", statistics_json(&statistics)));
        }
    }
    let options = OpenOptions { key: args.key.clone(), column: args.column.clone(), ..Default::default() };
    let dataset = Dataset::open(&args.inputs, &options)?;
    let shards: Vec<Value> = dataset
        .shards()
        .iter()
        .map(|s| json!({ "path": s.path().display().to_string(), "rows": s.rows(), "format": s.format().name() }))
        .collect();
    let mut value = json!({
        "kind": "rows", "rows": dataset.rows(), "width": dataset.width(), "dtype": dataset.element_type().name(),
        "shards": shards,
    });
    if !args.json {
        value["shards"] = json!(dataset.shards().len());
    }
    result(args.json, &value)
}

fn with_kind(kind: &str, mut value: Value) -> Value {
    value["kind"] = json!(kind);
    value
}

/// What was counted, in figures that cost no time.
pub fn summary_json(summary: &Summary) -> Value {
    let moments = &summary.moments;
    let mut value = json!({
        "rows": moments.rows(), "width": moments.width(), "zero_rows": moments.zero_rows(),
        "nonfinite_replaced": moments.replaced(), "trace": moments.trace(),
        "mean_norm": moments.mean().iter().map(|m| m * m).sum::<f64>().sqrt(),
    });
    if let Some(covariance) = &summary.covariance {
        value["covariance_trace"] = json!(covariance.trace());
        value["covariance_error"] = json!(covariance.error);
    }
    value
}

/// [`summary_json`], and what the covariance's spectrum shows.
fn counted(summary: &Summary) -> Result<Value> {
    let mut value = summary_json(summary);
    if let Some(covariance) = &summary.covariance {
        let spectrum = Spectrum::of_covariance(covariance)?;
        value["effective_rank"] = json!(spectrum.effective_rank());
        value["numerical_rank"] = json!(spectrum.numerical_rank());
        value["kappa"] = json!(spectrum.kappa());
        value["alpha"] = json!(spectrum.alpha());
    }
    Ok(value)
}

pub fn statistics_json(s: &Statistics) -> Value {
    json!({
        "method": s.method.name(), "centroid": s.centroid.map(|c| c.to_string()), "width": s.width(),
        "rows_source": s.rows.0, "rows_target": s.rows.1, "trace_source": s.trace_source, "trace_target": s.trace_target,
        "scale": s.scale, "gap": s.gap(), "residual_gap": s.residual_gap,
        "sigma": s.noise.map(|n| n.sigma), "seed": s.noise.map(|n| n.seed),
    })
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
