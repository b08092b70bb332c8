//! Trains a small dual encoder and watches its modality gap in a frame that is frozen after 100 steps:
//!
//!     cargo run --release --example watch_the_gap -- OUT_FOLDER [--images FOLDER]
//!
//! It learns from the bundled digits, or from a folder of one's own: PNG or JPEG files, and `captions.jsonl` with a record
//! `{"image": "cat.jpg", "text": "a grey cat asleep"}` per caption. Every tenth image is held out for the monitor, which needs two:
//! give 20 images or more.
//!
//! It leaves `monitor.jsonl`, a line per measurement, `monitor.html`, its figures, and embeddings of images and texts, ready
//! for `realign fit --source OUT_FOLDER/texts.npy --target OUT_FOLDER/images.npy`.

use std::path::{Path, PathBuf};

use realign::experiment::figures::monitor_page;
use realign::experiment::*;
use realign::{Device, Error, Result};

fn main() -> Result<()> {
    let usage = || Error::argument("usage", "watch_the_gap OUT_FOLDER [--images FOLDER]");
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (out, own) = match &arguments[..] {
        [out] => (out, None),
        [out, flag, own] if flag.as_os_str() == "--images" => (out, Some(own)),
        _ => return Err(usage()),
    };
    std::fs::create_dir_all(out).map_err(Error::io("create", out))?;
    match own {
        Some(folder) => images(folder, out),
        None => digits(out),
    }
}

/// A folder of one's own.
fn images(folder: &Path, out: &Path) -> Result<()> {
    let pairs = FolderPairs::open(folder, FolderOptions { side: 32, colour: true, ..Default::default() })?;
    let trained = train(&pairs, pairs.probe(), out)?;
    let pixels: Vec<f32> = (0..pairs.len()).flat_map(|i| pairs.image(i)).copied().collect();
    write_embeddings(&out.join("images"), &trained.images(&pixels)?, pairs.names(), true)?;
    let (names, words): (Vec<&str>, Vec<&[u32]>) = pairs.captions().unzip();
    // An image may have several captions: they are numbered.
    let names: Vec<String> = names.iter().enumerate().map(|(i, name)| format!("{name} {i}")).collect();
    write_embeddings(&out.join("texts"), &trained.texts(&words)?, &names, true)
}

/// 800 images with captions to train on, 200 to watch, the rest for what comes after; 4,000 texts without images.
fn digits(out: &Path) -> Result<()> {
    let digits = Digits::new(Parts::default(), 0)?;
    let pairs = DigitPairs::new(&digits, Length::Short);
    let trained = train(&pairs, &pairs.probe(), out)?;
    let ids: Vec<String> = (0..digits.len()).map(Digits::id).collect();
    write_embeddings(&out.join("images"), &trained.images(digits.pixels())?, &ids, true)?;
    let (vocabulary, pool) = (Vocabulary::of_digits(), digits.texts(4000, Length::Short));
    let words: Vec<Vec<u32>> = pool.iter().map(|(text, _)| vocabulary.encode(text)).collect();
    let ids: Vec<String> = (0..pool.len()).map(text_id).collect();
    write_embeddings(&out.join("texts"), &trained.texts(&words)?, &ids, true)
}

fn train(pairs: &dyn Pairs, probe: &Probe, out: &Path) -> Result<TrainedEncoder> {
    let mut settings = EncoderSettings::default();
    settings.batch = settings.batch.min(pairs.len());
    let monitor = Monitor::new(settings.width, MonitorOptions::default())?;
    let mut monitor = monitor.logged(&out.join("monitor.jsonl"), true)?;
    let trained = train_dual_encoder(&Device::host(), pairs, Some((probe, &mut monitor)), &settings, &mut |step| {
        if let Some(r) = step.record {
            println!("step {:>4}: loss {:.3}, gap {:.3}, POB {:.3}", step.step, step.loss, r.gap, r.fixed.pob);
        }
        Ok(())
    })?;
    monitor_page("A dual encoder learns", monitor.records()).write(out.join("monitor.html"), true)?;
    Ok(trained)
}
