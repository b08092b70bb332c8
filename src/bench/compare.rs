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
    /// The ratios that the machine's drift between the files may explain, from and to: [`Drift::range`].
    pub drift: [f64; 2],
}

/// How a machine may have drifted between two results files. They were measured one after the other, so that its drift is unknown; the
/// yardsticks, whose work is the same in both, are an estimate.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Drift {
    /// How many times as fast each yardstick is in the new file: the roofline's `bandwidth` (copy) and `arithmetic` (fused multiply-add),
    /// taken before all cases, and the cases `copy` and `fused multiply-add` where both files have them in the same shapes.
    pub yardsticks: Vec<(&'static str, f64)>,
    /// Whether both files are of one device and CPU: between two, yardsticks show what the devices are, and no drift.
    pub same_device: bool,
}

impl Drift {
    /// The ratios that drift may explain: all from the least to the greatest of 1 and the yardsticks'. A job that came and went has hit
    /// what ran just then, yardsticks or cases, so that 1 is always among them.
    pub fn range(&self) -> [f64; 2] {
        let ratios = self.yardsticks.iter().filter(|_| self.same_device).map(|(_, ratio)| *ratio);
        ratios.fold([1.0, 1.0], |[low, high]: [f64; 2], ratio| [low.min(ratio), high.max(ratio)])
    }
}

impl Compared {
    /// Whether the shapes are the same, so that the ratio means something.
    pub fn comparable(&self) -> bool {
        self.shapes[0] == self.shapes[1]
    }

    /// `faster` or `slower`, which are beyond what noise and the yardsticks' drift explain together; `the same within the noise`, or
    /// `within the drift`; `other shapes` where the files did not do the same.
    pub fn verdict(&self) -> &'static str {
        let ([low, high], beyond) = (self.drift, 1.0 + self.noise);
        if !self.comparable() {
            "other shapes"
        } else if self.speedup > high * beyond {
            "faster"
        } else if self.speedup * beyond < low {
            "slower"
        } else if self.speedup.max(1.0 / self.speedup) > beyond {
            "within the drift"
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
    let drift = drift(old, new)?.range();
    let (old, new) = (results("old", old)?, results("new", new)?);
    let mut out = Vec::new();
    for n in new {
        let Some(o) = old.iter().find(|o| o["name"] == n["name"]) else { continue };
        let seconds = |v: &Value, key: &str| positive(&v[key]);
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
            drift,
        });
    }
    Ok(out)
}

/// Estimates from the yardsticks of two results files how the machine drifted between them.
///
/// # Errors
/// As [`check`], of either.
pub fn drift(old: &Value, new: &Value) -> Result<Drift> {
    let cases = (results("old", old)?, results("new", new)?);
    let rate = |v: &Value, key: &str| positive(&v["roofline"][key]);
    let of_roofline = |(name, key): (&'static str, &str)| Some((name, rate(new, key)? / rate(old, key)?));
    let of_case = |name: &'static str| {
        let (o, n) = (cases.0.iter().find(|c| c["name"] == name)?, cases.1.iter().find(|c| c["name"] == name)?);
        let ratio = positive(&o["seconds"])? / positive(&n["seconds"])?;
        (o["shape"] == n["shape"]).then_some((name, ratio))
    };
    let rooflines = [("bandwidth", "bandwidth_gb_s"), ("arithmetic", "arithmetic_gflop_s")];
    let cases = ["copy", "fused multiply-add"].into_iter().filter_map(of_case);
    // Files of earlier versions do not name the CPU.
    let cpu = |file: &Value| file["host"]["cpu"].as_str().map(str::to_owned);
    let same_cpu = cpu(old).zip(cpu(new)).is_none_or(|(old, new)| old == new);
    Ok(Drift {
        yardsticks: rooflines.into_iter().filter_map(of_roofline).chain(cases).collect(),
        same_device: same_cpu && old["device"]["name"] == new["device"]["name"],
    })
}

fn positive(v: &Value) -> Option<f64> {
    v.as_f64().filter(|x| x.is_finite() && *x > 0.0)
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

    /// One code on a machine that another job had slowed down: the yardsticks tell.
    #[test]
    fn ratios_count_beyond_the_drift() {
        let with = |mut file: Value, [bandwidth, arithmetic]: [f64; 2], device: &str| {
            file["roofline"] = json!({"bandwidth_gb_s": bandwidth, "arithmetic_gflop_s": arithmetic});
            file["device"] = json!({"name": device});
            file
        };
        let at = |seconds: f64| file("gelu", "a", [0.98, 1.0, 1.02].map(|s| s * seconds));
        let old = with(at(1.0), [10.0, 50.0], "here");
        let busy = |seconds| with(at(seconds), [4.0, 45.0], "here");
        assert_eq!(verdict(&old, &busy(2.45)), "within the drift");
        assert_eq!(verdict(&old, &busy(1.0)), "the same within the noise");
        assert_eq!(verdict(&old, &busy(3.0)), "slower");
        assert_eq!(verdict(&old, &busy(0.8)), "faster");
        assert_eq!(verdict(&busy(2.45), &old), "within the drift");
        assert_eq!(verdict(&busy(3.0), &old), "faster");
        let drift = drift(&old, &busy(1.0)).unwrap();
        assert_eq!(drift.yardsticks, [("bandwidth", 0.4), ("arithmetic", 0.9)]);
        assert_eq!((drift.range(), drift.same_device), ([0.4, 1.0], true));
        // Another device is no drift.
        assert_eq!(verdict(&old, &with(at(2.45), [4.0, 45.0], "there")), "slower");
        // The yardsticks' own cases, which are timed among the others.
        let copy = |seconds: f64| file("copy", "a", [seconds; 3]);
        assert_eq!(verdict(&copy(1.0), &copy(2.0)), "within the drift");
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
