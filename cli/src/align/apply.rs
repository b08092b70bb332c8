//! `apply`.

use std::time::Instant;

use anyhow::{Context, Result};
use realign::align::{Method, Statistics, apply_to_files};
use realign::io::{Output, OutputOptions};
use serde_json::json;

use crate::align::args::ApplyArgs;
use crate::geometry::args::SideArg;
use crate::shared::outputs::refuse_input;
use crate::shared::{show, zero_rows};

pub fn apply(args: &ApplyArgs) -> Result<()> {
    let statistics = Statistics::load(&args.stats)?;
    let dataset = args.read.open(&args.inputs)?;
    if dataset.width() != statistics.width() {
        let (stats, data) = (args.stats.display(), dataset.shards()[0].path().display());
        let (want, have) = (statistics.width(), dataset.width());
        anyhow::bail!("{data}: rows of width {have}, but {stats} was fitted for width {want}; fit on rows as these");
    }
    let (encoders, method) = (dataset.encoders(), statistics.method);
    let aligner = match args.side {
        SideArg::Source => {
            statistics.check_source_encoders(&encoders, args.force)?;
            statistics.aligner()
        }
        SideArg::Target => {
            statistics.check_target_encoders(&encoders, args.force)?;
            let moved = statistics.target_aligner();
            moved.with_context(|| {
                format!("--side target: {method} leaves the target's rows as they are; only centre moves them")
            })?
        }
    };
    let options = OutputOptions { format: args.format, element_type: args.dtype, force: args.force };
    // Aligned rows lie in the target's cloud; centred ones in no encoder's.
    let cloud = statistics.encoders.1.as_ref().filter(|_| method != Method::Centre);
    let output = Output::create(&dataset, &args.out, &options)?.by(cloud);
    output.paths().try_for_each(|path| refuse_input(path, std::iter::once(args.stats.as_path())))?;
    let device = args.device.request()?;
    let start = Instant::now();
    let bar = show::progress(dataset.rows(), "aligning");
    let step = |rows| bar.inc(rows);
    let written = apply_to_files(&device, &*aligner, &dataset, output, args.read.stream(Some(&step)))?;
    bar.finish_and_clear();
    zero_rows::warn(&dataset, written.zero_rows);
    let value = json!({
        "method": statistics.method.name(), "rows": written.applied.rows, "width": dataset.width(),
        "dtype": written.element_type.name(), "nonfinite_replaced": written.applied.replaced,
        "zero_rows": written.zero_rows.count, "device": device.name(),
        "seconds": start.elapsed().as_secs_f64(),
        "files": written.files.iter().map(|p| p.display().to_string()).collect::<Vec<_>>(),
    });
    show::result(args.json, &value)
}
