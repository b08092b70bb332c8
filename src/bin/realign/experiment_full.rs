//! `experiment`: the protocol over several seeds, and what it says to the paper's claims.

use std::time::Instant;

use anyhow::Result;
use indicatif::ProgressBar;
use realign::experiment::{Materials, Outcome, Progress};
use realign::io::write_atomically;
use serde_json::{Value, json};

use crate::experiment::{STOPPING, finish, line};
use crate::experiment_args::{Earlier, ExperimentArgs};
use crate::experiment_full_page;
use crate::experiment_jobs::{Jobs, Place, Reports, default_jobs};
use crate::experiment_markdown;
use crate::experiment_plan::{IMAGES, Preparation, plan};
use crate::experiment_results::{Results, mean_and_deviation};
use crate::show;
use crate::train;

pub fn experiment(args: &ExperimentArgs) -> Result<()> {
    let device = args.run.device.request()?;
    let plan = plan(args.full);
    let head = json!({
        "device": device.name(), "seeds": args.seeds, "full": args.full, "quick": args.run.quick,
    });
    let (earlier, _lock) = args.run.folder(&args.out, args.resume)?;
    let results = match earlier {
        Earlier::Kept => Results::new(&args.out, &plan, head).resume()?,
        Earlier::None => Results::new(&args.out, &plan, head),
    };
    train::watch_for_stop(STOPPING)?;
    let start = Instant::now();
    let total = args.seeds * plan.iter().map(|p| p.rows.len() as u64).sum::<u64>();
    let mut live = Live { plan: &plan, results, start, bar: show::progress(0, ""), total };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.unwrap_or_else(|| default_jobs(&device, cores));
    let settings = |seed| args.run.settings(seed);
    let jobs = Jobs { device: &device, plan: &plan, seeds: args.seeds, out: &args.out, settings: &settings, jobs };
    show::task(&live.bar, "", total);
    jobs.run(&mut live)?;
    live.bar.finish_and_clear();
    let value = live.results.save(true, start.elapsed().as_secs_f64())?;
    let page = args.out.join("report.html");
    experiment_full_page::page(&value)?.write(&page, true)?;
    write_atomically(&args.out.join("results.md"), true, experiment_markdown::tables(&value).as_bytes())?;
    finish(&args.run, &value, &page, || summary(&value))
}

/// Keeps what comes, and says how far it is.
struct Live<'a> {
    plan: &'a [Preparation],
    results: Results<'a>,
    start: Instant,
    bar: ProgressBar,
    /// Rows in all.
    total: u64,
}

impl Live<'_> {
    fn save(&self) -> Result<()> {
        self.results.save(false, self.start.elapsed().as_secs_f64()).map(drop)
    }

    fn say(&self, place: Place, what: &str) {
        let Preparation { name, .. } = self.plan[place.preparation];
        if self.bar.is_hidden() {
            eprintln!("{}/{} rows; {name}, seed {}: {what}", self.results.len(), self.total, place.seed);
        }
        self.bar.set_position(self.results.len() as u64);
    }
}

impl Reports for Live<'_> {
    fn has(&self, place: Place, row: usize) -> bool {
        self.results.has(place, row)
    }

    fn prepared(&mut self, place: Place, materials: &Materials) -> Result<()> {
        self.results.prepared(place, materials);
        let gap = materials.records.last().map_or(f64::NAN, |r| r.gap);
        self.say(place, &format!("prepared, gap {gap:.3}, language model's loss {:.3}", materials.language_loss));
        self.save()
    }

    fn row(&mut self, (place, row): (Place, usize), outcome: &Outcome, materials: &Materials) -> Result<()> {
        self.results.add((place, row), outcome, materials);
        let share = outcome.captions.share();
        self.say(place, &format!("{}, captions {share:.3}, {:.0} s", outcome.arm.name(), outcome.seconds));
        self.save()
    }

    fn progress(&mut self, progress: Progress<'_>) -> realign::Result<()> {
        self.bar.set_message(line(&progress, progress.record));
        if train::stopped() { Err(realign::Error::Stopped) } else { Ok(()) }
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
