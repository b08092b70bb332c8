//! `tune`, and the tuning that other commands find.

use std::path::PathBuf;

use anyhow::{Context, Result};
use etcetera::BaseStrategy;
use realign::bench::{Tuning, tune as measure};
use realign::device::{Device, DeviceKind};
use realign::kernels::linalg::tiles::Class;
use serde_json::{Value, json};

use crate::bench_args::TuneArgs;
use crate::show;

/// The file of tunings: `realign/tuning.json` in the user's cache folder.
fn path() -> Result<PathBuf> {
    let base = etcetera::choose_base_strategy().context("this user has no home folder for a cache; pass --no-tune")?;
    Ok(base.cache_dir().join("realign").join("tuning.json"))
}

/// A device as its tuning has it: from the cache, or measured now and kept there. A software GPU is tuned by `realign tune` alone,
/// for it takes seconds; nothing that goes wrong with a tuning stops a command.
pub fn tuned(device: Device) -> Result<Device> {
    let kind = device.capabilities().kind;
    if kind == DeviceKind::Host {
        return Ok(device);
    }
    let known = path().ok().and_then(|path| Tuning::load(&path, &device));
    let tuning = match known {
        Some(tuning) => Some(tuning),
        None if kind == DeviceKind::Software => None,
        None => measure_and_keep(&device).map_err(|e| log::warn!("not tuned: {e:#}")).ok(),
    };
    match tuning {
        Some(tuning) => Ok(tuning.apply(device)?),
        None => Ok(device),
    }
}

fn measure_and_keep(device: &Device) -> Result<Tuning> {
    let path = path()?;
    log::info!("tuning {} once; 'realign tune' does it again", device.name());
    let tuning = measure(device)?;
    tuning.save(&path, device)?;
    Ok(tuning)
}

pub fn tune(args: &TuneArgs) -> Result<()> {
    let device = args.device.request_untuned()?;
    let tuning = measure(&device)?;
    let path = path()?;
    tuning.save(&path, &device)?;
    let tried = tuning.tried.iter().map(|t| {
        let chosen = tuning.tiling.get(t.class) == t.tile;
        json!({ "class": t.class.name(), "tile": t.tile.name(), "gflop_s": t.rate / 1e9, "chosen": chosen })
    });
    let value = json!({
        "device": device.name(), "driver": device.driver(), "dispatch_flops": tuning.dispatch_flops,
        "dispatch_bytes": tuning.dispatch_bytes, "tried": tried.collect::<Vec<Value>>(), "file": path.display().to_string(),
    });
    if args.json {
        return show::result(true, &value);
    }
    let mut lines = vec![format!("{}: GFLOP/s of matrix products by tile; > is taken from now on", device.name())];
    for class in Class::all() {
        lines.push(class.name());
        lines.extend(tuning.tried.iter().filter(|t| t.class == class).map(|t| {
            let mark = if tuning.tiling.get(class) == t.tile { '>' } else { ' ' };
            format!("  {mark} {:18} {:10.1}", t.tile.name(), t.rate / 1e9)
        }));
    }
    lines.push(format!(
        "a dispatch does at most {:.3} GFLOP or moves {:.3} GB, a quarter of a second",
        tuning.dispatch_flops as f64 / 1e9,
        tuning.dispatch_bytes as f64 / 1e9
    ));
    lines.push(format!("kept in {}", path.display()));
    show::print(&lines.join("\n"))
}
