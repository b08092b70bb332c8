//! `experiment --images`: the protocol on one's own pictures, with real encoders and a real language model.

use std::path::Path;

use anyhow::Result;
use realign::experiment::results::mean_and_deviation;
use realign::experiment::{PicturesEvent, PicturesOptions, pictures_page, pictures_study, pictures_tables};
use realign::io::write_atomically;
use serde_json::Value;

use crate::experiment::args::ExperimentArgs;
use crate::experiment::demo::{STOPPING, finish, line};
use crate::experiment::full::start;
use crate::shared::device::embeddings_folder;
use crate::shared::show;
use crate::train;

pub fn experiment(args: &ExperimentArgs, images: &Path, model: &Path) -> Result<()> {
    let device = args.run.device.request()?;
    train::watch_for_stop(STOPPING)?;
    let mut options = PicturesOptions::new(images, model);
    (options.vision_model, options.text_model) = (args.vision_model.clone(), args.text_model.clone());
    (options.seeds, options.full, options.quick) = (args.seeds, args.full, args.run.quick);
    (options.steps, options.asked, options.start) = (args.steps, args.asked, start(args));
    options.cache = args.cache.clone();
    if options.cache.is_none() && (options.vision_model.is_some() || options.text_model.is_some()) {
        options.cache = Some(embeddings_folder()?);
    }
    let (bar, mut total) = (show::progress(0, ""), 0);
    let say = |done: u64, total: u64, what: String| {
        if bar.is_hidden() {
            eprintln!("{done}/{total} rows; {what}");
        }
        bar.set_position(done);
    };
    let mut watch = |event: PicturesEvent<'_>| {
        match event {
            PicturesEvent::Begins { rows } => {
                total = rows;
                show::task(&bar, "", rows);
            }
            PicturesEvent::Prepared { seed, done, shared } => {
                let [gap, retrieval] = ["gap", "retrieval"].map(|key| shared[key].as_f64().unwrap_or(f64::NAN));
                say(done, total, format!("seed {seed}: prepared, gap {gap:.3}, retrieval {retrieval:.3}"));
            }
            PicturesEvent::Row { seed, done, outcome } => {
                let (arm, captions, seconds) = (outcome.arm.name(), outcome.captions, outcome.seconds);
                let what = format!("words right {:.3}, NLL {:.3}, {seconds:.0} s", captions.f1, captions.nll);
                say(done, total, format!("seed {seed}: {arm}, {what}"));
            }
            PicturesEvent::Progress(progress) => bar.set_message(line(&progress, None)),
            _ => {}
        }
        if train::stopped() { Err(realign::Error::Stopped) } else { Ok(()) }
    };
    let value = pictures_study(&device, &args.out, &options, &mut watch)?;
    bar.finish_and_clear();
    let page = args.out.join("report.html");
    pictures_page(&value)?.write(&page, true)?;
    write_atomically(&args.out.join("results.md"), true, pictures_tables(&value).as_bytes())?;
    finish(&args.run, &value, &page, || summary(&value))
}

fn summary(value: &Value) -> String {
    let mut columns = vec![("captions", "captions"), ("words (F1)", "caption_f1"), ("caption NLL", "caption_nll")];
    if value["asks"] == true {
        columns.extend([("answers before", "answers_before"), ("and after", "answers_after")]);
    }
    let cell = |text: &str| format!(" {text:>14}");
    let header = columns.iter().map(|(name, _)| cell(name)).collect::<String>();
    let mut lines = vec![format!("{:<28}{header}", "stage 1 on")];
    lines.extend(value["rows"].as_array().into_iter().flatten().map(|row| {
        let cells = columns.iter().map(|(_, key)| cell(&mean_and_deviation(&row[*key]))).collect::<String>();
        format!("{:<28}{cells}", row["name"].as_str().unwrap_or(""))
    }));
    if value["asks"] != true {
        lines.push("stage 2 was left out: the folder has no questions.jsonl".to_owned());
    }
    let sentences = value["expectations"].as_array().into_iter().flatten().filter_map(|e| e["sentence"].as_str());
    lines.push(String::new());
    lines.extend(sentences.map(str::to_owned));
    lines.join("\n")
}
