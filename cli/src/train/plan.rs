//! `train plan`: the memory that a run takes, before anything of it is loaded.

use anyhow::Result;
use realign::nn::Precision;
use realign::train::{MemoryPlan, PlanOptions, PlanShape, plan_settings};
use serde_json::json;

use crate::shared::show;
use crate::train::args::PlanArgs;

pub fn plan(args: &PlanArgs) -> Result<()> {
    let settings = args.settings()?;
    let device = match settings.precision {
        Some(Precision::F32) => args.device.request()?,
        Some(Precision::Mixed) | None => args.device.request_for_halves()?,
    };
    let shape = PlanShape { embedding_width: args.embedding_width, length: args.length };
    let (options, planned) = plan_settings(&device, &settings, shape)?;
    let rows = rows(&planned);
    if !args.json {
        return show::print(&table(&options, &rows, device.name()));
    }
    let bytes: serde_json::Map<_, _> = rows.iter().map(|row| (row.key.to_owned(), json!(row.bytes))).collect();
    let value = json!({
        "bytes": bytes, "device": device.name(), "weights": options.storage.name(), "precision": options.precision.name(),
        "batch_size": options.batch_size, "length": options.length, "embedding_width": options.embedding_width,
        "recompute": options.recompute, "rank": options.rank,
    });
    show::result(true, &value)
}

struct Row {
    key: &'static str,
    what: &'static str,
    bytes: u64,
}

fn rows(plan: &MemoryPlan) -> Vec<Row> {
    let MemoryPlan { layers, tables, additions, gradients, moments, activations, backward, head, peak } = *plan;
    let row = |key, what, bytes| Row { key, what, bytes };
    vec![
        row("layers", "the decoder's layers", layers),
        row("tables", "embedding table and output matrix", tables),
        row("additions", "adapter, low-rank additions, rounded copies", additions),
        row("gradients", "gradients of what learns", gradients),
        row("moments", "the optimiser's moments", moments),
        row("activations", "activations that are kept", activations),
        row("backward", "gradients of activations", backward),
        row("head", "supervised rows and their logits", head),
        row("peak", "all at once, a batch's own tables included", peak),
    ]
}

/// Powers of ten, as memory is sold.
fn gigabytes(bytes: u64) -> String {
    let gb = bytes as f64 / 1e9;
    if gb < 0.01 { format!("{:.3} MB", gb * 1e3) } else { format!("{gb:.2} GB") }
}

fn table(options: &PlanOptions, rows: &[Row], device: &str) -> String {
    let PlanOptions { batch_size, length, embedding_width, storage, precision, .. } = options;
    let width = rows.iter().map(|row| row.what.len()).max().unwrap_or(0);
    let mut lines = vec![format!(
        "{batch_size} samples of {length} positions, embeddings of width {embedding_width}, weights in {}, computed in {} on {device}",
        storage.name(),
        precision.name()
    )];
    lines.extend(rows.iter().map(|row| format!("{:width$}  {:>12}", row.what, gigabytes(row.bytes))));
    lines.join("\n")
}
