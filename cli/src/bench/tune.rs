//! `tune`.

use anyhow::{Context, Result};
use realign::kernels::linalg::tiles::Class;
use realign::tuning::tune as measure;
use serde_json::{Value, json};

use crate::bench::args::TuneArgs;
use crate::shared::device::tunings;
use crate::shared::show;

const NOT_KEPT: &str = "the tuning was measured, but could not be kept for other commands";

pub fn tune(args: &TuneArgs) -> Result<()> {
    let device = args.device.request_untuned()?;
    let tuning = measure(&device)?;
    let kept = tunings().and_then(|path| tuning.save(&path, &device).map(|()| path).map_err(Into::into));
    let file = kept.as_ref().ok().map(|path| path.display().to_string());
    let tried = tuning.tried.iter().map(|t| {
        let chosen = tuning.tiling.get(t.class) == t.tile;
        json!({ "class": t.class.name(), "tile": t.tile.name(), "gflop_s": t.rate / 1e9, "chosen": chosen })
    });
    let value = json!({
        "device": device.name(), "driver": device.driver(), "dispatch_flops": tuning.dispatch_flops,
        "dispatch_bytes": tuning.dispatch_bytes, "exact_products": tuning.exact_form.name(), "tried": tried.collect::<Vec<Value>>(), "file": file,
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
    lines.push(format!("integers are multiplied exactly as {}", tuning.exact_form));
    lines.push(format!(
        "a dispatch does at most {:.3} GFLOP or moves {:.3} GB, a quarter of a second",
        tuning.dispatch_flops as f64 / 1e9,
        tuning.dispatch_bytes as f64 / 1e9
    ));
    lines.extend(file.map(|file| format!("kept in {file}")));
    show::print(&lines.join("\n"))?;
    kept.map(drop).context(NOT_KEPT)
}
