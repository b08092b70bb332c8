//! `experiment`: the protocol over several seeds, and what it says to the paper's claims.

use anyhow::Result;
use realign::experiment::plan::IMAGES;
use realign::experiment::results::mean_and_deviation;
use realign::experiment::{StudyEvent, StudyOptions, markdown, study, study_page};
use realign::io::write_atomically;
use realign::train::Start;
use serde_json::Value;

use crate::experiment::args::ExperimentArgs;
use crate::experiment::demo::{STOPPING, finish, line};
use crate::experiment::pictures;
use crate::shared::show;
use crate::train;

pub fn experiment(args: &ExperimentArgs) -> Result<()> {
    if let (Some(images), Some(model)) = (&args.images, &args.model) {
        return pictures::experiment(args, images, model);
    }
    let device = args.run.device.request()?;
    train::watch_for_stop(STOPPING)?;
    let mut options = StudyOptions::default();
    (options.seeds, options.jobs) = (args.seeds, args.jobs);
    (options.full, options.quick) = (args.full, args.run.quick);
    options.start = start(args);
    let (bar, mut total) = (show::progress(0, ""), 0);
    let say = |done: u64, total: u64, what: String| {
        if bar.is_hidden() {
            eprintln!("{done}/{total} rows; {what}");
        }
        bar.set_position(done);
    };
    let mut watch = |event: StudyEvent<'_>| {
        match event {
            StudyEvent::Begins { rows } => {
                total = rows;
                show::task(&bar, "", rows);
            }
            StudyEvent::Prepared { preparation, seed, done, materials } => {
                let (gap, loss) = (materials.records.last().map_or(f64::NAN, |r| r.gap), materials.language_loss);
                let what = format!("prepared, gap {gap:.3}, language model's loss {loss:.3}");
                say(done, total, format!("{preparation}, seed {seed}: {what}"));
            }
            StudyEvent::Row { preparation, seed, done, outcome } => {
                let (arm, share, seconds) = (outcome.arm.name(), outcome.captions.share(), outcome.seconds);
                let what = format!("{arm}, captions {share:.3}, {seconds:.0} s");
                say(done, total, format!("{preparation}, seed {seed}: {what}"));
            }
            StudyEvent::Progress(progress) => bar.set_message(line(&progress, progress.record)),
            _ => {}
        }
        if train::stopped() { Err(realign::Error::Stopped) } else { Ok(()) }
    };
    let value = study(&device, &args.out, &options, &mut watch)?;
    bar.finish_and_clear();
    let page = args.out.join("report.html");
    study_page(&value)?.write(&page, true)?;
    write_atomically(&args.out.join("results.md"), true, markdown::tables(&value).as_bytes())?;
    finish(&args.run, &value, &page, || summary(&value))
}

/// What is to be done about an earlier experiment in the folder.
pub fn start(args: &ExperimentArgs) -> Start {
    match (args.resume, args.run.force) {
        (true, _) => Start::Resume,
        (false, true) => Start::Replace,
        (false, false) => Start::New,
    }
}

fn summary(value: &Value) -> String {
    let header = IMAGES.iter().map(|n| format!(" {:>14}", format!("{n} images"))).collect::<String>();
    let mut lines = vec![format!("{:<40} {:>14} {:>14}{header}", "stage 1 on", "captions", "zero-shot")];
    lines.extend(value["rows"].as_array().into_iter().flatten().map(|row| {
        let sizes = [0].into_iter().chain(IMAGES);
        let answers = sizes.map(|n| format!(" {:>14}", mean_and_deviation(&row["answers"][n.to_string()])));
        let name = row["name"].as_str().unwrap_or("");
        format!("{name:<40} {:>14}{}", mean_and_deviation(&row["captions"]), answers.collect::<String>())
    }));
    let sentences = value["expectations"].as_array().into_iter().flatten().filter_map(|e| e["sentence"].as_str());
    lines.push(String::new());
    lines.extend(sentences.map(str::to_owned));
    lines.join("\n")
}
