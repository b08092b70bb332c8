//! `apply`.

use std::time::Instant;

use anyhow::Result;
use realign::align::{Statistics, apply as apply_to};
use realign::io::{Output, OutputOptions, ShardWriter};
use realign::stats::DatasetRows;
use serde_json::json;

use crate::args::ApplyArgs;
use crate::show;

pub fn apply(args: &ApplyArgs) -> Result<()> {
    let statistics = Statistics::load(&args.stats)?;
    let dataset = args.read.open(&args.inputs)?;
    if dataset.width() != statistics.width() {
        let (stats, data) = (args.stats.display(), dataset.shards()[0].path().display());
        let (want, have) = (statistics.width(), dataset.width());
        anyhow::bail!("{data}: rows of width {have}, but {stats} was fitted for width {want}; fit on rows as these");
    }
    let options = OutputOptions { format: args.format, element_type: args.dtype, force: args.force };
    let mut output = Output::create(&dataset, &args.out, &options)?;
    let device = args.device.request()?;
    let start = Instant::now();
    let bar = show::progress(dataset.rows(), "aligning");
    let step = |rows| bar.inc(rows);
    let stream = args.read.stream(Some(&step));
    let element = output.element_type();
    let mut writers = Writers { shard: 0, left: 0, writer: None };
    let sizes: Vec<u64> = dataset.shards().iter().map(realign::io::Shard::rows).collect();
    let mut sink = |bytes: &[u8], rows: usize| writers.write(&mut output, &sizes, bytes, rows);
    let aligner = statistics.aligner();
    let applied = apply_to(&device, &*aligner, &mut DatasetRows::new(&dataset), element, stream, &mut sink)?;
    writers.close()?;
    let written = output.commit()?;
    bar.finish_and_clear();
    let value = json!({
        "method": statistics.method.name(), "rows": applied.rows, "width": dataset.width(), "dtype": element.name(),
        "nonfinite_replaced": applied.replaced, "device": device.name(), "seconds": start.elapsed().as_secs_f64(),
        "files": written.iter().map(|p| p.display().to_string()).collect::<Vec<_>>(),
    });
    show::result(args.json, &value)
}

/// Hands blocks of rows to the shards' writers, in order. A block never spans two shards.
struct Writers {
    shard: usize,
    left: u64,
    writer: Option<ShardWriter>,
}

impl Writers {
    fn write(&mut self, output: &mut Output, sizes: &[u64], bytes: &[u8], rows: usize) -> realign::Result<()> {
        if self.left == 0 {
            self.close()?;
            self.writer = Some(output.writer(self.shard)?);
            self.left = sizes.get(self.shard).copied().unwrap_or(0);
            self.shard += 1;
        }
        if let Some(writer) = &mut self.writer {
            writer.write(bytes)?;
        }
        self.left = self.left.saturating_sub(rows as u64);
        Ok(())
    }

    fn close(&mut self) -> realign::Result<()> {
        self.writer.take().map_or(Ok(()), ShardWriter::finish)
    }
}
