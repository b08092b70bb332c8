//! Two results files side by side.

use serde_json::Value;

use super::report::SCHEMA;
use crate::error::{FileKind, Problem, Remedy};
use crate::{Error, Result};

/// A case that both files have.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// Its shapes in the old file and in the new one.
    pub shapes: [String; 2],
    /// Median seconds in the old file and in the new one.
    pub seconds: [f64; 2],
    /// How many times as fast the new one is: old seconds over new.
    pub speedup: f64,
    /// Half the width of the ratio's range as the quartiles of both have it, relative: below 1 ± this nothing is known.
    pub noise: f64,
}

impl Compared {
    /// Whether the shapes are the same, so that the ratio means something.
    pub fn comparable(&self) -> bool {
        self.shapes[0] == self.shapes[1]
    }

    /// `faster`, `slower`, or `the same within the noise`; `other shapes` where the files did not do the same.
    pub fn verdict(&self) -> &'static str {
        if !self.comparable() {
            "other shapes"
        } else if self.speedup > 1.0 + self.noise {
            "faster"
        } else if self.speedup * (1.0 + self.noise) < 1.0 {
            "slower"
        } else {
            "the same within the noise"
        }
    }
}

/// Compares the cases that both results files timed, in the new one's order.
///
/// # Errors
/// As [`check`], of either.
pub fn compare(old: &Value, new: &Value) -> Result<Vec<Compared>> {
    let (old, new) = (results("old", old)?, results("new", new)?);
    let mut out = Vec::new();
    for n in new {
        let Some(o) = old.iter().find(|o| o["name"] == n["name"]) else { continue };
        let seconds = |v: &Value, key: &str| v[key].as_f64().filter(|s| s.is_finite() && *s > 0.0);
        let (Some(before), Some(after)) = (seconds(o, "seconds"), seconds(n, "seconds")) else { continue };
        let half = |v: &Value, median: f64| match (seconds(v, "seconds_q1"), seconds(v, "seconds_q3")) {
            (Some(low), Some(high)) => (high - low) / (2.0 * median),
            _ => 0.0,
        };
        let text = |v: &Value| v["shape"].as_str().unwrap_or_default().to_owned();
        out.push(Compared {
            name: n["name"].as_str().unwrap_or_default().to_owned(),
            shapes: [text(o), text(n)],
            seconds: [before, after],
            speedup: before / after,
            noise: half(o, before) + half(n, after),
        });
    }
    Ok(out)
}

/// Checks that a file is one of results, in the form that this version reads: before anything is measured to be compared with it.
///
/// # Errors
/// A file of something else, or of another version's form.
pub fn check(file: &Value) -> Result<()> {
    results("", file).map(drop)
}

fn results<'a>(which: &str, file: &'a Value) -> Result<&'a Vec<Value>> {
    let file_of = if which.is_empty() { "this file".to_owned() } else { format!("the {which} file") };
    let wrong = |problem: String| Problem::new(format!("{file_of} {problem}"));
    match (file["results"].as_array(), file["schema"].as_u64()) {
        (Some(list), Some(SCHEMA)) => Ok(list),
        (_, Some(other)) if other != SCHEMA => {
            let problem = wrong(format!("has form {other}; this program reads form {SCHEMA}"));
            Err(Error::argument("results", problem))
        }
        _ => {
            let problem = wrong("is no results file of a benchmark".to_owned());
            Err(Error::argument("results", problem.remedy(Remedy::Give(FileKind::Results))))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(name: &str, shape: &str, [q1, median, q3]: [f64; 3]) -> Value {
        json!({"schema": 1, "results": [{
            "name": name, "shape": shape, "seconds": median, "seconds_q1": q1, "seconds_q3": q3,
        }]})
    }

    fn verdict(old: &Value, new: &Value) -> &'static str {
        compare(old, new).unwrap()[0].verdict()
    }

    #[test]
    fn ratios_count_beyond_the_noise() {
        let old = file("apply", "a", [0.9, 1.0, 1.1]);
        let same = file("apply", "a", [0.8, 0.9, 1.0]);
        let compared = &compare(&old, &same).unwrap()[0];
        assert!((compared.speedup - 1.0 / 0.9).abs() < 1e-12 && (compared.noise - (0.1 + 0.1 / 0.9)).abs() < 1e-12);
        assert_eq!(compared.verdict(), "the same within the noise");
        assert_eq!(verdict(&old, &file("apply", "a", [0.49, 0.5, 0.51])), "faster");
        assert_eq!(verdict(&old, &file("apply", "a", [1.9, 2.0, 2.1])), "slower");
        assert_eq!(verdict(&old, &file("apply", "b", [0.1, 0.1, 0.1])), "other shapes");
        assert_eq!(compare(&old, &file("fit", "a", [1.0; 3])).unwrap(), []);
    }

    #[test]
    fn other_files_are_refused() {
        let old = file("apply", "a", [1.0; 3]);
        for bad in [json!({}), json!({"schema": 2, "results": []}), json!([1])] {
            assert!(compare(&bad, &old).unwrap_err().to_string().contains("old"));
            assert!(compare(&old, &bad).unwrap_err().to_string().contains("new"));
            check(&bad).unwrap_err();
        }
        check(&old).unwrap();
        assert!(check(&json!({"schema": 7, "results": []})).unwrap_err().to_string().contains("form 7"));
    }
}
