//! The results file of a study of pictures: runs as they come, and what they say together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::outcome::PictureOutcome;
use crate::experiment::arm::Arm;
use crate::experiment::claims::paired;
use crate::experiment::expectations::{Expectation, Judgement, Score, Side};
use crate::experiment::results::{FORMAT, RESULTS, spread, write_results};
use crate::io::fingerprint;
use crate::{Error, Result};

/// What the results file says that it is of.
const PICTURES: &str = "pictures";
/// Endings of files of a model's folder that decide what it computes.
const MODEL_ENDINGS: [&str; 6] = ["json", "jinja", "model", "safetensors", "txt", "gguf"];
/// What must be the same to go on.
const SAME: [&str; 4] = ["full", "quick", "settings", "inputs"];

/// The paper's orderings, as far as captions can show them: a claim, the row that should do better, and the other one.
const CLAIMS: [(&str, &str, &str); 7] = [
    ("Paired images beat text without alignment", "paired images", "no alignment"),
    ("ReAlign beats no alignment", "realign", "no alignment"),
    ("ReAlign beats mean shift", "realign", "mean shift (anchor alone)"),
    ("ReAlign beats blockwise", "realign", "blockwise"),
    ("ReAlign beats C3 (σ by traces)", "realign", "c3, σ by traces"),
    ("Noise on the adapter's input helps ReAlign", "realign + noise 0.1", "realign"),
    ("With noise, ReAlign beats no alignment", "realign + noise 0.1", "no alignment + noise 0.1"),
];

/// The files of a model in few numbers.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn fingerprint_of(model: &Path) -> Result<Value> {
    let mut files = Vec::new();
    match model.is_dir() {
        true => {
            for entry in std::fs::read_dir(model).map_err(Error::io("list", model))? {
                files.push(entry.map_err(Error::io("list", model))?.path());
            }
        }
        false => files.push(model.to_path_buf()),
    }
    let counts = |path: &PathBuf| {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        path.is_file() && MODEL_ENDINGS.contains(&ending)
    };
    files.retain(counts);
    files.sort();
    let mut sums = Map::new();
    for path in &files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (bytes, crc32) = fingerprint::of_file("model", path, false)?.sums();
        sums.insert(name, json!(format!("{bytes} {crc32:08x}")));
    }
    Ok(Value::Object(sums))
}

/// What was run so far.
#[derive(Debug)]
pub(super) struct PictureResults<'a> {
    out: PathBuf,
    arms: &'a [Arm],
    head: Value,
    prepared: BTreeMap<u64, Value>,
    /// By row and seed.
    runs: BTreeMap<(usize, u64), Value>,
}

impl<'a> PictureResults<'a> {
    /// Without any runs; `head` says what was asked for.
    pub fn new(out: &Path, arms: &'a [Arm], head: Value) -> Self {
        PictureResults { out: out.to_path_buf(), arms, head, prepared: BTreeMap::new(), runs: BTreeMap::new() }
    }

    fn earlier(&self) -> Result<Option<Value>> {
        let path = self.out.join(RESULTS);
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
        serde_json::from_slice(&text).map(Some).map_err(|e| Error::format(&path, e.to_string()))
    }

    /// Whether the earlier study in the folder, if there is one, is of these inputs and settings.
    ///
    /// # Errors
    /// It is of others: the first difference is named; a damaged file.
    pub fn check_resumes(&self) -> Result<()> {
        let Some(earlier) = self.earlier()? else { return Ok(()) };
        let (file, key) = (self.out.join(RESULTS), |key: &str| earlier.get(key).filter(|value| !value.is_null()));
        if key("kind").is_none() && key("runs").is_none() {
            // It was stopped before its first row, or is no study's at all, which is said elsewhere.
            return Ok(());
        }
        if earlier["kind"] != PICTURES {
            let problem = format!("{} is of the digits, not of pictures; choose another folder", file.display());
            return Err(Error::argument("resume", problem));
        }
        for name in SAME {
            if earlier[name] != self.head[name] {
                let what = first_difference(name, &earlier[name], &self.head[name]);
                let problem = format!("{} was made with {what}", file.display());
                return Err(Error::argument("resume", format!("{problem}; resume it the same way, or begin again")));
            }
        }
        Ok(())
    }

    /// With the runs of an earlier, stopped study.
    ///
    /// # Errors
    /// As [`Self::check_resumes`].
    pub fn resume(mut self) -> Result<Self> {
        self.check_resumes()?;
        let earlier = self.earlier()?.unwrap_or_default();
        let list = |key: &str| earlier[key].as_array().cloned().unwrap_or_default();
        for value in list("preparations") {
            if let Some(seed) = value["seed"].as_u64() {
                self.prepared.insert(seed, value);
            }
        }
        for value in list("runs") {
            let row = self.arms.iter().position(|arm| value["name"] == arm.name());
            if let (Some(row), Some(seed)) = (row, value["seed"].as_u64()) {
                self.runs.insert((row, seed), value);
            }
        }
        Ok(self)
    }

    /// Whether this row was run.
    pub fn has(&self, row: usize, seed: u64) -> bool {
        self.runs.contains_key(&(row, seed))
    }

    /// Runs that there are.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// Keeps what a seed's rows share.
    pub fn prepared(&mut self, seed: u64, value: Value) {
        self.prepared.insert(seed, value);
    }

    /// Keeps a row's run.
    pub fn add(&mut self, (row, seed): (usize, u64), outcome: &PictureOutcome) {
        let mut value = outcome.json();
        value["seed"] = json!(seed);
        self.runs.insert((row, seed), value);
    }

    /// Writes the file and returns what it holds; what was there is replaced at once or not at all.
    ///
    /// # Errors
    /// What the disk says.
    pub fn save(&self, finished: bool, seconds: f64) -> Result<Value> {
        let rows = self.rows();
        let mut value = self.head.clone();
        value["format"] = json!(FORMAT);
        value["kind"] = json!(PICTURES);
        value["finished"] = json!(finished);
        value["seconds"] = json!(seconds);
        value["rows"] = rows.iter().map(Row::json).collect();
        value["expectations"] = expectations(&rows).into();
        value["preparations"] = self.prepared.values().cloned().collect();
        value["runs"] = self.runs.values().cloned().collect();
        write_results(&self.out, &value)?;
        Ok(value)
    }

    /// The rows in the plan's order.
    fn rows(&self) -> Vec<Row<'_>> {
        let of = |(row, arm): (usize, &Arm)| {
            let runs = self.runs.range((row, 0)..=(row, u64::MAX)).map(|(_, run)| run).collect();
            Row { name: arm.name(), runs }
        };
        self.arms.iter().enumerate().map(of).filter(|row| !row.runs.is_empty()).collect()
    }
}

/// What differs, in words.
fn first_difference(name: &str, then: &Value, now: &Value) -> String {
    let keys = then.as_object().into_iter().flatten().find(|(key, value)| now.get(key) != Some(value));
    match keys {
        Some((key, value)) if value.is_object() => first_difference(&format!("{name}.{key}"), value, &now[key]),
        Some((key, value)) => format!("{name}.{key} {value}, and now it is {}", now[key]),
        None => format!("{name} {then}, and now it is {now}"),
    }
}

/// A row's runs.
struct Row<'a> {
    name: String,
    runs: Vec<&'a Value>,
}

impl Row<'_> {
    fn by_seed(&self, of: impl Fn(&Value) -> Option<f64>) -> BTreeMap<u64, f64> {
        self.runs.iter().filter_map(|run| Some((run["seed"].as_u64()?, of(run)?))).collect()
    }

    fn f1(&self) -> BTreeMap<u64, f64> {
        self.by_seed(|run| run["captions"]["f1"].as_f64())
    }

    fn json(&self) -> Value {
        let spread = |of: &dyn Fn(&Value) -> Option<f64>| spread(&self.by_seed(of).into_values().collect::<Vec<_>>());
        let captions = |key: &'static str| spread(&move |run| run["captions"][key].as_f64());
        let answers = |place: usize| spread(&move |run| run["answers"][place]["accuracy"].as_f64());
        json!({
            "name": self.name, "noise": self.runs[0]["noise"],
            "captions": captions("accuracy"), "caption_f1": captions("f1"), "caption_nll": captions("nll"),
            "gap_held_out": spread(&|run| run["aligned"]["gap_held_out"].as_f64()),
            "trace": spread(&|run| run["aligned"]["trace"].as_f64()),
            "answers_before": answers(0), "answers_after": answers(1),
        })
    }
}

/// Every claim whose two rows were run, with its verdict, by the captions' overlap of words.
fn expectations(rows: &[Row<'_>]) -> Vec<Value> {
    let find = |name: &str| rows.iter().find(|row| row.name == name);
    let judged = |(claim, better, worse): (&'static str, &'static str, &'static str)| {
        let sides = paired(&find(better)?.f1(), &find(worse)?.f1());
        let judgement = Judgement::of(&sides)?;
        let side = |row| Side { row, score: Score::Captions };
        let expectation = Expectation { claim, better: side(better), worse: side(worse) };
        Some(json!({
            "claim": claim, "better": better, "worse": worse, "difference": judgement.difference,
            "half_width": judgement.half_width, "verdict": judgement.verdict().map(|v| format!("{v:?}")),
            "sentence": expectation.sentence(&judgement, ""),
        }))
    };
    CLAIMS.into_iter().filter_map(judged).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::pictures::pictures_plan;

    #[test]
    fn claims_name_rows_of_the_plan() {
        let names: Vec<String> = pictures_plan(true).iter().map(Arm::name).collect();
        for (_, better, worse) in CLAIMS {
            assert!(names.iter().any(|name| name == better) && names.iter().any(|name| name == worse));
        }
    }

    #[test]
    fn a_study_goes_on_with_the_same_inputs_alone() {
        let folder = tempfile::tempdir().unwrap();
        let arms = pictures_plan(false);
        let head = |steps: u64, crc: &str| {
            json!({
                "full": false, "quick": true, "settings": {"stage1": {"steps": steps}},
                "inputs": {"model": {"config.json": crc}},
            })
        };
        let mut first = PictureResults::new(folder.path(), &arms, head(5, "1 a"));
        let x = 0.3f64.sqrt() / 7.0;
        first.runs.insert((2, 1), json!({"name": "realign", "seed": 1, "captions": {"f1": x, "accuracy": x}}));
        let saved = first.save(false, 1.0).unwrap();
        let same = PictureResults::new(folder.path(), &arms, head(5, "1 a")).resume().unwrap();
        assert!(same.has(2, 1) && !same.has(2, 0) && same.len() == 1);
        assert_eq!(same.save(false, 1.0).unwrap(), saved);
        for (steps, crc, words) in [(6, "1 a", "settings.stage1.steps 5"), (5, "1 b", "config.json")] {
            let other = PictureResults::new(folder.path(), &arms, head(steps, crc));
            let said = other.check_resumes().unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        }
        write_results(folder.path(), &json!({"format": FORMAT, "full": false, "runs": []})).unwrap();
        let said = PictureResults::new(folder.path(), &arms, head(5, "1 a")).check_resumes().unwrap_err().to_string();
        assert!(said.contains("digits"), "{said}");
    }
}
