//! `adapters` and `info`: what devices and files there are.

pub mod args;

use anyhow::Result;
use realign::align::{Statistics, TrainingState};
use realign::device::{Device, DeviceKind, list_adapters};
use realign::geometry::{Frame, PrincipalVectors, Spectrum};
use realign::io::{Dataset, GgufSummary, OpenOptions};
use realign::rank::Ranking;
use realign::stats::{DatasetRows, Moments, RowSource, Summary};
use serde_json::{Value, json};

use crate::inspect::args::{AdaptersArgs, InfoArgs};
use crate::rank;
use crate::shared::{show, zero_rows};
use crate::wording::words;

/// Files of more bytes are not read for what they hold: some ten seconds at a disk's speed.
const MOST_READ: u64 = 16 << 30;
/// Bytes read at a time.
const READ_BYTES: u64 = 8 << 20;

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
        return show::result(true, &value);
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
    show::print(&lines.join("\n"))
}

pub fn info(args: &InfoArgs) -> Result<()> {
    if let [path] = &args.inputs[..] {
        if GgufSummary::is_file(path) {
            return show::result(args.json, &with_kind("gguf", gguf(&GgufSummary::read(path)?)));
        }
        if Moments::is_file(path) {
            let summary = Summary::load(path)?;
            let counts = (summary.moments.zero_rows(), summary.moments.rows());
            zero_rows::warn_of_counted(&path.display().to_string(), counts);
            return show::result(args.json, &with_kind("moments", counted(&summary)?));
        }
        if Ranking::is_file(path) {
            return show::result(args.json, &with_kind("ranking", rank::value(&Ranking::load(path)?)));
        }
        if Frame::is_file(path) {
            let frame = Frame::load(path)?;
            let value = json!({ "width": frame.width(), "rank": frame.rank() });
            return show::result(args.json, &with_kind("frame", value));
        }
        if PrincipalVectors::is_file(path) {
            let (vectors, radians) = PrincipalVectors::load(path)?;
            let degrees: Vec<f64> = radians.iter().map(|angle| angle.to_degrees()).collect();
            let value = json!({ "width": vectors.width, "pairs": radians.len(), "angles_deg": degrees });
            return show::result(args.json, &with_kind("principal vectors", value));
        }
        if TrainingState::is_file(path) {
            return show::result(args.json, &with_kind("training", training(&TrainingState::load(path)?)));
        }
        if Statistics::is_file(path) {
            let statistics = Statistics::load(path)?;
            return show::result(args.json, &with_kind("statistics", show::statistics_json(&statistics)));
        }
    }
    let options = OpenOptions { key: args.key.clone(), column: args.column.clone(), ..Default::default() };
    let dataset = Dataset::open(&args.inputs, &options)?;
    let shards: Vec<Value> = dataset
        .shards()
        .iter()
        .map(|s| json!({ "path": s.path().display().to_string(), "rows": s.rows(), "format": s.format().name() }))
        .collect();
    let encoders: Vec<String> = dataset.encoders().iter().map(ToString::to_string).collect();
    let mut value = json!({
        "encoder": (!encoders.is_empty()).then(|| encoders.join(", ")),
        "kind": "rows", "rows": dataset.rows(), "width": dataset.width(), "dtype": dataset.element_type().name(),
        "shards": shards, "zero_rows": count_zero_rows(&dataset),
    });
    if !args.json {
        value["shards"] = json!(dataset.shards().len());
    }
    show::result(args.json, &value)
}

/// Rows of zeros, with a warning if there are any; nothing of files that take long to read, or that cannot be read to their end, which is
/// said.
fn count_zero_rows(dataset: &Dataset) -> Option<u64> {
    let row = dataset.width() as u64 * dataset.element_type().bytes() as u64;
    let bytes = dataset.rows().saturating_mul(row);
    if bytes > MOST_READ {
        let size = bytes >> 30;
        log::warn!("rows of zeros are not counted in {size} GiB of rows; realign stats counts them while it reads");
        return None;
    }
    let mut rows = DatasetRows::new(dataset);
    match read_all(&mut rows, (READ_BYTES / row.max(1)).clamp(1, dataset.rows().max(1)) as usize, row as usize) {
        Ok(()) => {
            zero_rows::warn(dataset, rows.zero_rows());
            Some(rows.zero_rows().count)
        }
        Err(error) => {
            log::warn!("its rows cannot be used: {}", words(&error));
            None
        }
    }
}

fn read_all(rows: &mut DatasetRows<'_>, most: usize, row_bytes: usize) -> realign::Result<()> {
    let bar = show::progress(rows.rows(), "reading");
    let mut block = vec![0; most * row_bytes];
    loop {
        match rows.next(most, &mut block)? as u64 {
            0 => break,
            read => bar.inc(read),
        }
    }
    bar.finish_and_clear();
    Ok(())
}

fn gguf(summary: &GgufSummary) -> Value {
    let (tokenizer, pre) = summary.tokenizer.clone().unzip();
    json!({
        "architecture": summary.architecture, "name": summary.name, "parameters": summary.numbers, "types": summary.types,
        "tokenizer": tokenizer, "pre_tokenizer": pre.flatten(), "chat_template": summary.chat_template,
    })
}

/// Of AnisoAlign's networks: what `fit --resume` goes on with.
fn training(state: &TrainingState) -> Value {
    let mut value = json!({ "trained": state.trained.name(), "step": state.step });
    for (name, setting) in &state.settings {
        value[name] = serde_json::from_str(setting).unwrap_or_else(|_| json!(setting));
    }
    value
}

fn with_kind(kind: &str, mut value: Value) -> Value {
    value["kind"] = json!(kind);
    value
}

/// [`show::summary_json`], and what the covariance's spectrum shows.
fn counted(summary: &Summary) -> Result<Value> {
    let mut value = show::summary_json(summary);
    if let Some(covariance) = &summary.covariance {
        let spectrum = Spectrum::of_covariance(&covariance.covariance())?;
        value["effective_rank"] = json!(spectrum.effective_rank());
        value["numerical_rank"] = json!(spectrum.numerical_rank());
        value["kappa"] = json!(spectrum.kappa());
        value["alpha"] = json!(spectrum.alpha());
    }
    Ok(value)
}
