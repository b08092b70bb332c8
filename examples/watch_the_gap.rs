//! Trains a small dual encoder on the bundled digits and watches its modality gap in a frame that is frozen after 100 steps:
//!
//!     cargo run --release --example watch_the_gap -- OUT_FOLDER
//!
//! leaves `monitor.jsonl`, a line per measurement, `monitor.html`, its figures, and the embeddings of all images and of 4,000
//! unpaired texts, ready for `realign fit`.

use std::path::PathBuf;

use realign::Device;
use realign::experiment::figures::monitor_page;
use realign::experiment::*;

fn main() -> realign::Result<()> {
    let Some(out) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(realign::Error::argument("OUT_FOLDER", "name a folder for the results"));
    };
    std::fs::create_dir_all(&out).map_err(realign::Error::io("create", &out))?;
    let device = Device::host();

    // 800 images with captions to train on, 200 to watch, the rest for what comes after.
    let digits = Digits::new(Parts::default(), 0)?;
    let pairs = DigitPairs::new(&digits, Length::Short);
    let settings = EncoderSettings::default();
    let monitor = Monitor::new(settings.width, MonitorOptions::default())?;
    let mut monitor = monitor.logged(&out.join("monitor.jsonl"), true)?;

    let watch = Some((&pairs.probe(), &mut monitor));
    let trained = train_dual_encoder(&device, &pairs, watch, &settings, &mut |step| {
        if let Some(record) = step.record {
            println!(
                "step {:>4}: loss {:.3}, gap {:.3}, POB {:.3}",
                step.step, step.loss, record.gap, record.fixed.pob
            );
        }
        Ok(())
    })?;
    monitor_page("A dual encoder learns digits", monitor.records()).write(out.join("monitor.html"), true)?;

    let images = trained.images(digits.pixels())?;
    let ids: Vec<String> = (0..digits.len()).map(Digits::id).collect();
    write_embeddings(&out.join("images"), &images, &ids, true)?;
    let (vocabulary, pool) = (Vocabulary::of_digits(), digits.texts(4000, Length::Short));
    let words: Vec<Vec<u32>> = pool.iter().map(|(text, _)| vocabulary.encode(text)).collect();
    let ids: Vec<String> = (0..pool.len()).map(text_id).collect();
    write_embeddings(&out.join("texts"), &trained.texts(&words)?, &ids, true)
}
