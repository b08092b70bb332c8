//! Streams files through the operator in constant memory: fit on two data sets, apply to one, write it next to it.
//!
//! `cargo run --release --example stream_files -- TEXT.npy IMAGE.npy OUT.npy`; without arguments on the bundled data.
//! Each of the three may be larger than memory: rows pass in chunks of a few MiB.

use std::path::{Path, PathBuf};

use realign::align::{Centroid, FitOptions, apply, fit};
use realign::device::{Device, DeviceOptions};
use realign::io::{Dataset, OpenOptions, Output, OutputOptions};
use realign::stats::{DatasetRows, StreamOptions};

fn main() -> realign::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let bundled = |name| Path::new(env!("CARGO_MANIFEST_DIR")).join("data/digits-embeddings").join(name);
    let text = arguments.next().unwrap_or_else(|| bundled("text.npy"));
    let image = arguments.next().unwrap_or_else(|| bundled("image.npy"));
    let out = arguments.next().unwrap_or_else(|| std::env::temp_dir().join("realign-aligned.npy"));

    // A data set is one file, a folder of shards, or a pattern; .npy, .safetensors and .parquet alike.
    let open = OpenOptions::default();
    let (text, image) = (Dataset::open(&[text], &open)?, Dataset::open(&[image], &open)?);

    // A GPU if there is one, else the host's cores. Nothing below depends on which.
    let device = Device::request_blocking(&DeviceOptions::default())?;

    // One pass over the images; over the texts one for the moments and a few for the exact centroid.
    let options = FitOptions::default().centroid(Centroid::Exact);
    let statistics = fit(&device, &mut DatasetRows::new(&text), &mut DatasetRows::new(&image), &options)?;
    println!(
        "{}: gap {:.4} before, {:.1e} after",
        device.name(),
        statistics.gap(),
        statistics.residual_gap.unwrap_or(f64::NAN)
    );

    // The output has the input's shards, type and format, and appears only when it is complete.
    let mut output = Output::create(&text, &out, &OutputOptions { force: true, ..Default::default() })?;
    let mut writer = output.writer(0)?; // one shard here; `realign apply` shows how several follow each other
    let mut sink = |rows: &[u8], _count: usize| writer.write(rows);
    let element = output.element_type();
    let aligner = statistics.aligner();
    let stream = StreamOptions::default();
    let applied = apply(&device, &*aligner, &mut DatasetRows::new(&text), element, stream, &mut sink)?;
    writer.finish()?;
    for path in output.commit()? {
        println!("{} rows of width {} in {}", applied.rows, statistics.width(), path.display());
    }
    Ok(())
}
