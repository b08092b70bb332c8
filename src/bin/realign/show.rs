//! Printing: devices, files, results.

use std::io::IsTerminal;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use realign::align::Statistics;
use realign::device::{Device, DeviceKind, adapters as list_adapters};
use realign::io::{Dataset, OpenOptions};
use realign::stats::Moments;
use serde_json::{Value, json};

use crate::args::{AdaptersArgs, InfoArgs};

/// Prints a result: the JSON, or its entries as `key  value` lines.
pub fn result(json: bool, value: &Value) {
    if json {
        println!("{value:#}");
        return;
    }
    let Some(entries) = value.as_object() else { return };
    let width = entries.keys().map(String::len).max().unwrap_or(0);
    for (key, value) in entries {
        match value {
            Value::Null => {}
            Value::String(text) => println!("{key:width$}  {text}"),
            other => println!("{key:width$}  {other}"),
        }
    }
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

pub fn adapters(args: &AdaptersArgs) -> Result<()> {
    let found = list_adapters(args.device.backends());
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
        println!("{value:#}");
        return Ok(());
    }
    for (index, a) in found.iter().enumerate() {
        println!("{index}: {} | {} | {} | {}", a.name, a.kind.name(), a.backend, a.driver);
        println!("   {} MiB a binding; {}", a.max_binding >> 20, a.features.join(", "));
    }
    println!("host: {}", host.name());
    if let Some(name) = chosen {
        println!("--device auto takes: {name}");
    }
    if found.iter().any(|a| a.kind == DeviceKind::Software) {
        println!("A software GPU is used only when named: --device NAME");
    }
    Ok(())
}

pub fn info(args: &InfoArgs) -> Result<()> {
    if let [path] = &args.inputs[..] {
        if Moments::is_file(path) {
            let moments = Moments::load(path)?;
            result(args.json, &with_kind("moments", moments_json(&moments)));
            return Ok(());
        }
        if Statistics::is_file(path) {
            let statistics = Statistics::load(path)?;
            result(args.json, &with_kind("statistics", statistics_json(&statistics)));
            return Ok(());
        }
    }
    let options = OpenOptions { key: args.key.clone(), column: args.column.clone() };
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
    result(args.json, &value);
    Ok(())
}

fn with_kind(kind: &str, mut value: Value) -> Value {
    value["kind"] = json!(kind);
    value
}

pub fn moments_json(moments: &Moments) -> Value {
    json!({
        "rows": moments.rows(), "width": moments.width(), "zero_rows": moments.zero_rows(),
        "nonfinite_replaced": moments.replaced(), "trace": moments.trace(),
        "mean_norm": moments.mean().iter().map(|m| m * m).sum::<f64>().sqrt(),
    })
}

pub fn statistics_json(s: &Statistics) -> Value {
    json!({
        "method": s.method.name(), "centroid": s.centroid.map(|c| c.to_string()), "width": s.width(),
        "rows_source": s.rows.0, "rows_target": s.rows.1, "trace_source": s.trace_source, "trace_target": s.trace_target,
        "scale": s.scale, "gap": s.gap(), "residual_gap": s.residual_gap,
        "sigma": s.noise.map(|n| n.sigma), "seed": s.noise.map(|n| n.seed),
    })
}
