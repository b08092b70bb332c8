//! The results file of a study: runs as they come, and what they say together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::arm::Domain;
use super::claims::expectations;
use super::distances::rank_correlation;
use super::evaluation::Outcome;
use super::expectations::Score;
use super::jobs::Place;
use super::plan::{IMAGES, Preparation};
use super::protocol::Materials;
use crate::error::{Problem, Remedy};
use crate::io::{FolderLock, write_atomically};
use crate::train::Start;
use crate::{Error, Result};

/// The file that says that a folder is an experiment's: its `format` is [`FORMAT`].
pub const RESULTS: &str = "results.json";
/// What the results file says that it is.
pub const FORMAT: &str = "realign-experiment";

/// Makes an experiment's folder, with a results file that says whose it is, and locks it against other processes. One of an earlier
/// experiment is replaced or gone on with as `start` says, any other is left alone. Returns whether there is an earlier experiment to
/// go on with, and the lock, to be held as long as the folder is written into.
///
/// # Errors
/// The folder is there and may not be replaced; to resume, it is no experiment's; another process holds it; what the disk says.
pub fn claim_folder(out: &Path, start: Start) -> Result<(bool, FolderLock)> {
    // First of all, so that nothing is put into the folder of another; and again, for another process may have been faster.
    has_earlier(out, start)?;
    crate::io::url::create_folders(out)?;
    let lock = FolderLock::acquire(out)?;
    let earlier = has_earlier(out, start)?;
    if !earlier {
        lock.clear_folder()?;
        write_results(out, &json!({ "format": FORMAT, "finished": false }))?;
    }
    Ok((earlier, lock))
}

/// Whether the folder holds an experiment that stays; an error where the folder is not to be touched.
fn has_earlier(out: &Path, start: Start) -> Result<bool> {
    let empty = FolderLock::is_vacant(out);
    let ours = !empty && is_ours(out);
    match start {
        Start::Resume if ours => Ok(true),
        Start::Resume if !empty => Err(Error::format(out, "is no experiment's folder; nothing to resume")),
        Start::New if ours => Err(Error::format(out, Problem::new("is there already").remedy(Remedy::ReplaceFolder))),
        _ if !empty && !ours => {
            let problem = Problem::new("is there already, and no experiment's");
            Err(Error::format(out, problem.remedy(Remedy::AnotherFolder)))
        }
        _ => Ok(false),
    }
}

/// Writes an experiment's results file into its folder; what was there is replaced at once or not at all.
///
/// # Errors
/// What the disk says.
pub fn write_results(out: &Path, value: &Value) -> Result<()> {
    write_atomically(&out.join(RESULTS), true, format!("{value:#}\n").as_bytes())
}

/// Whether a folder has a results file of ours.
fn is_ours(folder: &Path) -> bool {
    let text = std::fs::read(folder.join(RESULTS)).unwrap_or_default();
    serde_json::from_slice::<Value>(&text).is_ok_and(|value| value["format"] == FORMAT)
}

/// What was run so far.
#[derive(Debug)]
pub struct Results<'a> {
    out: PathBuf,
    plan: &'a [Preparation],
    /// What was asked for, and the device.
    head: Value,
    preparations: BTreeMap<Place, Value>,
    /// By preparation, number of the row in it, and seed.
    runs: BTreeMap<(usize, usize, u64), Value>,
}

/// A row's runs.
#[derive(Debug)]
pub struct Row<'a> {
    /// The row's name.
    pub name: String,
    runs: Vec<&'a Value>,
}

impl<'a> Results<'a> {
    /// Without any runs; `head` are entries of the results file that say what was asked for: `device`, `seeds`, `full`, `quick`.
    pub fn new(out: &Path, plan: &'a [Preparation], head: Value) -> Self {
        Results { out: out.to_path_buf(), plan, head, preparations: BTreeMap::new(), runs: BTreeMap::new() }
    }

    /// With those of an earlier, stopped experiment.
    ///
    /// # Errors
    /// One of other settings; a damaged file.
    pub fn resume(mut self) -> Result<Self> {
        let path = self.out.join(RESULTS);
        let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let damaged = |e: serde_json::Error| Error::format(&path, e.to_string());
        let earlier: Value = serde_json::from_slice(&text).map_err(damaged)?;
        if !earlier["kind"].is_null() {
            let problem = format!("{} is of pictures, not of the digits; choose another folder", path.display());
            return Err(Error::argument("resume", problem));
        }
        for key in ["full", "quick"] {
            if !earlier[key].is_null() && earlier[key] != self.head[key] {
                let (file, was) = (path.display(), &earlier[key]);
                return Err(Error::argument(key, format!("{file} was made with {was}; resume it the same way")));
            }
        }
        let list = |key: &str| earlier[key].as_array().cloned().unwrap_or_default();
        let number = |name: &Value| self.plan.iter().position(|p| name == p.name);
        for value in list("preparations") {
            if let (Some(preparation), Some(seed)) = (number(&value["preparation"]), value["seed"].as_u64()) {
                self.preparations.insert(Place { preparation, seed }, value);
            }
        }
        for value in list("runs") {
            let (Some(preparation), Some(seed)) = (number(&value["preparation"]), value["seed"].as_u64()) else {
                continue;
            };
            let row = self.plan[preparation].rows.iter().position(|(arm, _)| value["name"] == arm.name());
            if let Some(row) = row {
                self.runs.insert((preparation, row, seed), value);
            }
        }
        Ok(self)
    }

    /// Whether this row was run.
    pub fn has(&self, place: Place, row: usize) -> bool {
        self.runs.contains_key(&(place.preparation, row, place.seed))
    }

    /// Runs that there are.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Keeps what a preparation's rows share.
    pub fn prepared(&mut self, place: Place, materials: &Materials) {
        let mut value = materials.json();
        value["preparation"] = json!(self.plan[place.preparation].name);
        self.preparations.insert(place, value);
    }

    /// Keeps a row's run.
    pub fn add(&mut self, (place, row): (Place, usize), outcome: &Outcome, materials: &Materials) {
        let mut value = outcome.json();
        value["preparation"] = json!(self.plan[place.preparation].name);
        value["seed"] = json!(place.seed);
        for (key, domain) in [(THIN, Domain::Thin), (THICK, Domain::Thick)] {
            value[key] = json!(outcome.captions_of(domain, materials.digits.attributes()).share());
        }
        self.runs.insert((place.preparation, row, place.seed), value);
    }

    /// Writes the file and returns what it holds; what was there is replaced at once or not at all.
    ///
    /// # Errors
    /// What the disk says.
    pub fn save(&self, finished: bool, seconds: f64) -> Result<Value> {
        let value = self.json(finished, seconds);
        write_results(&self.out, &value)?;
        Ok(value)
    }

    fn json(&self, finished: bool, seconds: f64) -> Value {
        let rows = self.rows();
        let mut value = self.head.clone();
        value["format"] = json!(FORMAT);
        value["finished"] = json!(finished);
        value["seconds"] = json!(seconds);
        value["rows"] = rows.iter().map(Row::json).collect();
        value["expectations"] = expectations(&rows).into();
        value["rank_correlations"] = self.rank_correlations();
        value["preparations"] = self.preparations.values().cloned().collect();
        value["runs"] = self.runs.values().cloned().collect();
        value
    }

    /// Of each part of the Fréchet distance with the captions, over a seed's rows without noise: mean and deviation over the seeds.
    /// Distances are of clean inputs, so that rows with noise say nothing of them.
    fn rank_correlations(&self) -> Value {
        let of = |part: &str| {
            let mut seeds: BTreeMap<(usize, u64), Vec<(f64, f64)>> = BTreeMap::new();
            for ((preparation, _, seed), run) in &self.runs {
                let (distance, captions) = (run[part].as_f64(), run["captions"]["accuracy"].as_f64());
                if let (Some(pair), true) = (distance.zip(captions), run["noise"] == 0.0) {
                    seeds.entry((*preparation, *seed)).or_default().push(pair);
                }
            }
            spread(&seeds.values().filter_map(|pairs| rank_correlation(pairs)).collect::<Vec<_>>())
        };
        json!({ "frechet_mean": of("frechet_mean"), "frechet_covariance": of("frechet_covariance") })
    }

    /// The rows in the plan's order.
    fn rows(&self) -> Vec<Row<'_>> {
        let mut rows: Vec<Row<'_>> = Vec::new();
        for ((preparation, row, _), value) in &self.runs {
            let name = self.plan[*preparation].rows[*row].0.name();
            match rows.last_mut().filter(|last| last.name == name) {
                Some(last) => last.runs.push(value),
                None => rows.push(Row { name, runs: vec![value] }),
            }
        }
        rows
    }
}

const THIN: &str = "captions_thin";
const THICK: &str = "captions_thick";

impl Row<'_> {
    /// A score of each run, by seed; seeds without it are left out.
    pub fn scores(&self, score: Score) -> BTreeMap<u64, f64> {
        self.by_seed(|run| match score {
            Score::Captions | Score::CaptionsOf(Domain::All) => run["captions"]["accuracy"].as_f64(),
            Score::CaptionsOf(Domain::Thin) => run[THIN].as_f64(),
            Score::CaptionsOf(Domain::Thick) => run[THICK].as_f64(),
            Score::Answers(images) => {
                let mut answers = run["answers"].as_array().into_iter().flatten();
                answers.find(|a| a["images"] == images).and_then(|a| a["accuracy"].as_f64())
            }
        })
    }

    /// A number of the statistics that each run's aligner was fitted to.
    pub fn fitted(&self, key: &str) -> Vec<f64> {
        self.by_seed(|run| run["statistics"][key].as_f64()).into_values().collect()
    }

    fn by_seed(&self, of: impl Fn(&Value) -> Option<f64>) -> BTreeMap<u64, f64> {
        self.runs.iter().filter_map(|run| Some((run["seed"].as_u64()?, of(run)?))).collect()
    }

    fn json(&self) -> Value {
        let spread = |scores: BTreeMap<u64, f64>| spread(&scores.into_values().collect::<Vec<_>>());
        let answers = |n: usize| (n.to_string(), spread(self.scores(Score::Answers(n))));
        let sizes = [0].into_iter().chain(IMAGES);
        json!({
            "name": self.name, "preparation": self.runs[0]["preparation"], "noise": self.runs[0]["noise"],
            "captions": spread(self.scores(Score::Captions)),
            "caption_nll": spread(self.by_seed(|run| run["caption_nll"].as_f64())),
            THIN: spread(self.scores(Score::CaptionsOf(Domain::Thin))),
            THICK: spread(self.scores(Score::CaptionsOf(Domain::Thick))),
            "answers": sizes.map(answers).collect::<serde_json::Map<_, _>>(),
        })
    }
}

/// Mean and standard deviation (n - 1) over the seeds.
pub(super) fn spread(values: &[f64]) -> Value {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let deviation = match values.len() {
        0 | 1 => None,
        _ => Some((values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()),
    };
    json!({ "mean": mean, "sd": deviation, "seeds": values.len() })
}

/// `0.123 ± 0.004`, or a dash.
pub fn mean_and_deviation(v: &Value) -> String {
    match (v["mean"].as_f64(), v["sd"].as_f64()) {
        (Some(mean), Some(sd)) => format!("{mean:.3} ± {sd:.3}"),
        (Some(mean), None) => format!("{mean:.3}"),
        _ => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::plan::plan;

    /// A parser that does not round correctly changes some of these in the last place.
    #[test]
    fn what_is_resumed_keeps_every_bit() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(false);
        let mut first = Results::new(folder.path(), &plan, json!({"full": false, "quick": true}));
        for seed in 0..200 {
            let x = (seed as f64 + 0.3).sqrt() / 7.0;
            let run = json!({
                "preparation": "default", "name": plan[0].rows[0].0.name(), "seed": seed,
                "captions": {"accuracy": x / 3.0}, "caption_nll": x, THIN: x / 360.0,
            });
            first.runs.insert((0, 0, seed), run);
        }
        let saved = first.save(false, 0.0).unwrap();
        let head = json!({"full": false, "quick": true});
        let second = Results::new(folder.path(), &plan, head).resume().unwrap();
        assert_eq!(second.len(), 200);
        assert_eq!(second.save(false, 0.0).unwrap(), saved);
    }
}
