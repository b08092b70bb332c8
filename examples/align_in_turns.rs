//! The library's own time for what Python's `fit` and `apply` do, on slices: fits text to images and aligns the text each time that a line comes on
//! stdin, and prints the seconds. `python/benches/speed.py` takes turns with it.
//!
//! `cargo run --release --example align_in_turns -- text.npy image.npy`, two files of f32.

use std::io::BufRead;
use std::path::PathBuf;
use std::time::Instant;

use realign::align::{FitOptions, apply_rows, fit};
use realign::io::Dataset;
use realign::stats::{DatasetRows, MemoryRows, NonFinite};
use realign::{Device, Result, rank};

fn read(path: PathBuf) -> Result<(Vec<f32>, usize)> {
    let set = Dataset::open(&[path], &Default::default())?;
    Ok((rank::read_queries(&mut DatasetRows::new(&set), NonFinite::Error)?, set.width()))
}

fn main() -> Result<()> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [text, image] = &paths[..] else {
        eprintln!("usage: align_in_turns text.npy image.npy");
        std::process::exit(2);
    };
    let ((text, width), (image, other)) = (read(text.clone())?, read(image.clone())?);
    assert_eq!(width, other, "rows of one width");
    let device = Device::host();
    println!("ready");
    for _ in std::io::stdin().lock().lines() {
        let start = Instant::now();
        let mut source = MemoryRows::f32("text", &text, width)?;
        let mut target = MemoryRows::f32("image", &image, width)?;
        let statistics = fit(&device, &mut source, &mut target, &FitOptions::default())?;
        let aligned = apply_rows(&device, &statistics, &text, width)?;
        println!("{} {}", start.elapsed().as_secs_f64(), aligned[0]);
    }
    Ok(())
}
