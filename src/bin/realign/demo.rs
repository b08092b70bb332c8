//! `demo`: fit and apply on bundled embeddings, and a table of before and after.

use std::time::Instant;

use anyhow::{Context, Result};
use realign::ElementType;
use realign::align::{Centroid, FitOptions, Method, apply_rows, fit};
use realign::device::Device;
use realign::kernels::stats::moments::Summand;
use realign::stats::{MemoryRows, Moments, StreamOptions, measure};
use serde_json::{Value, json};

use crate::args::DemoArgs;
use crate::show;

static IMAGE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/digits-embeddings/image.npy"));
static TEXT: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/digits-embeddings/text.npy"));
static PAIRED: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/digits-embeddings/text_paired.npy"));
const WIDTH: usize = 64;

/// The rows of a bundled version 1 .npy file of f32.
fn rows(npy: &'static [u8]) -> Result<Vec<f32>> {
    let length = npy.get(8..10).context("bundled data")?;
    let body = npy.get(10 + usize::from(u16::from_le_bytes([length[0], length[1]]))..).context("bundled data")?;
    Ok(body.chunks_exact(4).map(|e| f32::from_le_bytes([e[0], e[1], e[2], e[3]])).collect())
}

pub fn run(args: &DemoArgs) -> Result<()> {
    let device = args.device.request()?;
    let (image, text, paired) = (rows(IMAGE)?, rows(TEXT)?, rows(PAIRED)?);
    let target = moments(&device, &image)?.mean();
    let methods = [
        (Method::None, Centroid::default()),
        (Method::MeanShift, Centroid::default()),
        (Method::C3, Centroid::default()),
        (Method::AnchorTrace, Centroid::default()),
        (Method::ReAlign, Centroid::Steps(1)),
        (Method::ReAlign, Centroid::Exact),
    ];
    let mut table = Vec::new();
    for (method, centroid) in methods {
        let options = FitOptions { method, centroid, ..Default::default() };
        let mut source = MemoryRows::f32("bundled text", &text, WIDTH)?;
        let mut images = MemoryRows::f32("bundled image", &image, WIDTH)?;
        let start = Instant::now();
        let statistics = fit(&device, &mut source, &mut images, &options)?;
        let aligned = apply_rows(&device, &statistics, &text, WIDTH)?;
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let moments = moments(&device, &aligned)?;
        let gap = moments.mean().iter().zip(&target).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let pairs = apply_rows(&device, &statistics, &paired, WIDTH)?;
        let name = if centroid == Centroid::Exact { "realign, exact".to_owned() } else { method.to_string() };
        table.push(json!({
            "method": name, "gap": gap, "trace": moments.trace(), "paired_cosine": mean_cosine(&pairs, &image),
            "milliseconds": milliseconds,
        }));
    }
    print(args, &device, &table, (text.len() / WIDTH, image.len() / WIDTH), moments(&device, &image)?.trace())
}

fn moments(device: &Device, rows: &[f32]) -> Result<Moments> {
    let mut source = MemoryRows::new("rows", bytemuck::cast_slice(rows), WIDTH, ElementType::F32)?;
    Ok(measure(device, &mut source, &Summand::unit_rows(device, WIDTH)?, StreamOptions::default())?)
}

/// Mean cosine of rows with their partners; the fit knows nothing of the pairing.
fn mean_cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let pairs = a.chunks_exact(WIDTH).zip(b.chunks_exact(WIDTH));
    let total: f64 = pairs.map(|(x, y)| dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()).sum();
    total / (a.len() / WIDTH) as f64
}

fn print(args: &DemoArgs, device: &Device, table: &[Value], (texts, images): (usize, usize), trace: f64) -> Result<()> {
    if args.json {
        let value = json!({
            "device": device.name(), "rows_source": texts, "rows_target": images, "width": WIDTH, "trace_target": trace,
            "methods": table,
        });
        return show::result(true, &value);
    }
    let mut lines = vec![
        format!(
            "Handwritten digits: {texts} captions are mapped into the cloud of {images} images, unpaired, width {WIDTH}."
        ),
        format!("Device: {}\n", device.name()),
        format!("{:<16} {:>10} {:>8} {:>14} {:>9}", "method", "gap", "trace", "paired cosine", "ms"),
    ];
    let number = |row: &Value, key: &str| row[key].as_f64().unwrap_or(f64::NAN);
    lines.extend(table.iter().map(|row| {
        format!(
            "{:<16} {:>10.2e} {:>8.4} {:>14.4} {:>9.1}",
            row["method"].as_str().unwrap_or(""),
            number(row, "gap"),
            number(row, "trace"),
            number(row, "paired_cosine"),
            number(row, "milliseconds"),
        )
    }));
    lines.push(format!(
        "\nThe images' trace is {trace:.4}. The gap is the distance of the two clouds' means; ReAlign closes it and"
    ));
    lines.push(
        "matches the trace. The paired cosine is of captions with their own images, which no method saw as pairs."
            .to_owned(),
    );
    show::print(&lines.join("\n"))
}
