//! `tune`, and the tuning that other commands find.

use std::path::PathBuf;

use anyhow::{Context, Result};
use etcetera::BaseStrategy;
use realign::bench::{Tuning, tune as measure};
use realign::device::{Device, DeviceKind};
use realign::kernels::linalg::tiles::Class;
use serde_json::{Value, json};

use crate::bench::args::TuneArgs;
use crate::show;

/// The file of tunings: `realign/tuning.json` in the user's cache folder.
fn path() -> Result<PathBuf> {
    let base = etcetera::choose_base_strategy().context("this user has no home folder for a cache")?;
    Ok(base.cache_dir().join("realign").join("tuning.json"))
}

/// A device as its tuning has it: from the cache, or measured now and kept there. A software GPU is tuned by `realign tune` alone,
/// for it takes seconds; nothing that goes wrong with a tuning stops a command.
pub fn tuned(device: Device) -> Result<Device> {
    let kind = device.capabilities().kind;
    if kind == DeviceKind::Host {
        return Ok(device);
    }
    let path = path();
    let file = path.as_deref().ok();
    let tuning = if kind == DeviceKind::Software {
        file.and_then(|file| Tuning::load(file, &device))
    } else {
        load_or_tune(&path, &device)
    };
    match tuning {
        Some(tuning) => Ok(tuning.apply(device)?),
        None => Ok(device),
    }
}

/// A tuning that cannot be kept is used; the next command measures again.
fn load_or_tune(path: &Result<PathBuf>, device: &Device) -> Option<Tuning> {
    let (tuning, problem) = match Tuning::load_or_tune(path.as_deref().ok(), device) {
        Ok(tuned) => tuned,
        Err(e) => {
            log::warn!("not tuned: {e}");
            return None;
        }
    };
    let problem = problem.map(|e| e.to_string()).or_else(|| path.as_ref().err().map(|e| format!("{e:#}")));
    if let Some(problem) = problem {
        log::warn!("the tuning is used, but not kept, and the next command tunes again (or pass --no-tune): {problem}");
    }
    Some(tuning)
}

const NOT_KEPT: &str = "the tuning was measured, but could not be kept for other commands";

pub fn tune(args: &TuneArgs) -> Result<()> {
    let device = args.device.request_untuned()?;
    let tuning = measure(&device)?;
    let kept = path().and_then(|path| tuning.save(&path, &device).map(|()| path).map_err(Into::into));
    let file = kept.as_ref().ok().map(|path| path.display().to_string());
    let tried = tuning.tried.iter().map(|t| {
        let chosen = tuning.tiling.get(t.class) == t.tile;
        json!({ "class": t.class.name(), "tile": t.tile.name(), "gflop_s": t.rate / 1e9, "chosen": chosen })
    });
    let value = json!({
        "device": device.name(), "driver": device.driver(), "dispatch_flops": tuning.dispatch_flops,
        "dispatch_bytes": tuning.dispatch_bytes, "tried": tried.collect::<Vec<Value>>(), "file": file,
    });
    // What was measured is shown, whether or not it could be kept.
    if args.json {
        show::result(true, &value)?;
        return kept.map(drop).context(NOT_KEPT);
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
    lines.extend(file.map(|file| format!("kept in {file}")));
    show::print(&lines.join("\n"))?;
    kept.map(drop).context(NOT_KEPT)
}
