//! The golden clouds, the bundled digits, and what the reference code says of them.

use std::path::{Path, PathBuf};

use realign::ElementType;
use realign::io::{Dataset, OpenOptions};
use realign::stats::{DatasetRows, MemoryRows, RowSource};
use serde_json::Value;

use super::common::Rng;

pub const CASES: [&str; 3] = ["a", "b", "digits"];

/// f32 rows `[n, d]`.
pub struct Rows {
    pub values: Vec<f32>,
    pub width: usize,
}

impl Rows {
    pub fn read(path: &Path) -> Rows {
        let dataset = Dataset::open(&[path.to_path_buf()], &OpenOptions::default()).unwrap();
        let (rows, width) = (dataset.rows() as usize, dataset.width());
        let mut bytes = vec![0; rows * width * 4];
        assert_eq!(dataset.element_type(), ElementType::F32);
        assert_eq!(DatasetRows::new(&dataset).next(rows, &mut bytes).unwrap(), rows);
        let values = bytes.chunks_exact(4).map(|e| f32::from_le_bytes(e.try_into().unwrap())).collect();
        Rows { values, width }
    }

    pub fn source(&self) -> MemoryRows<'_> {
        MemoryRows::f32("rows", &self.values, self.width).unwrap()
    }

    /// Without the copies of earlier rows: neighbours among copies are nobody's choice.
    pub fn distinct(&self) -> Rows {
        let mut seen = std::collections::HashSet::new();
        let rows = self.values.chunks_exact(self.width);
        let fresh = rows.filter(|r| seen.insert(r.iter().map(|x| x.to_bits()).collect::<Vec<_>>()));
        Rows { values: fresh.flatten().copied().collect(), width: self.width }
    }

    pub fn count(&self) -> usize {
        self.values.len() / self.width
    }
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Text and image.
pub fn pair(case: &str) -> (Rows, Rows) {
    let read = |name: &str| match case {
        "digits" => Rows::read(&root(&format!("data/digits-embeddings/{name}.npy"))),
        _ => Rows::read(&root(&format!("tests/golden/geometry/{case}_{name}.npy"))),
    };
    (read("text"), read("image"))
}

/// Text whose row i is the partner of the image's row i.
pub fn partners(case: &str) -> Rows {
    match case {
        "digits" => Rows::read(&root("data/digits-embeddings/text_paired.npy")),
        _ => pair(case).0,
    }
}

/// Text and image with the published figures' geometry at a tenth of the width: means `norms` long (image, text) and 0.39 apart, power
/// laws that fall faster on the image's side, row i of both about the same thing, and spans that are turned against each other.
pub fn paper_clouds((image, text): (f64, f64)) -> (Rows, Rows) {
    const D: usize = 128;
    let (gap, rows, mut rng) = (0.39f64, 3000, Rng(3));
    let along = (image * image - text * text) / (2.0 * gap);
    let common = (image * image - (along + gap / 2.0).powi(2)).sqrt();
    // The gap lies for 40% in the leading directions; what the means share is apart.
    let across =
        |i: usize| if i < 40 { if i < 20 { (0.4f64 / 20.0).sqrt() } else { (0.6f64 / 20.0).sqrt() } } else { 0.0 };
    let mean = |side: f64| -> Vec<f64> {
        (0..D).map(|i| (along + side * gap / 2.0) * across(i) + if i == D - 1 { common } else { 0.0 }).collect()
    };
    let spread = |first: f64, alpha: f64, norm: f64| -> Vec<f64> {
        let law: Vec<f64> = (1..=D).map(|k| (k as f64 + first).powf(-alpha)).collect();
        let total: f64 = law.iter().sum();
        law.iter().map(|l| (l / total * (1.0 - norm * norm)).sqrt()).collect()
    };
    let (mean_x, mean_y) = (mean(1.0), mean(-1.0));
    let (spread_x, spread_y) = (spread(5.0, 1.9, image), spread(0.1, 1.35, text));
    let (sine, cosine) = 0.3f64.atan().sin_cos();
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let z: Vec<f64> = (0..D).map(|_| rng.normal()).collect();
        x.extend(z.iter().zip(&spread_x).zip(&mean_x).map(|((z, s), m)| m + z * s));
        let shared = |k: usize| 0.9 / (1.0 + (k as f64 / 100.0).powi(2)).sqrt();
        let mut own: Vec<f64> = (0..D)
            .map(|i| (shared(i + 1) * z[i] + (1.0 - shared(i + 1).powi(2)).sqrt() * rng.normal()) * spread_y[i])
            .collect();
        for start in [0, 1] {
            for pair in own[start..].chunks_exact_mut(2) {
                (pair[0], pair[1]) = (cosine * pair[0] - sine * pair[1], sine * pair[0] + cosine * pair[1]);
            }
        }
        y.extend(own.iter().zip(&mean_y).map(|(o, m)| m + o));
    }
    let rows = |values: Vec<f64>| {
        let unit = |row: &[f64]| {
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.iter().map(move |x| (x / norm) as f32).collect::<Vec<f32>>()
        };
        Rows { values: values.chunks_exact(D).flat_map(unit).collect(), width: D }
    };
    (rows(y), rows(x))
}

/// What the reference code says of a case.
pub fn expected(case: &str) -> Value {
    let text = std::fs::read_to_string(root("tests/golden/geometry/expected.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()[case].clone()
}

/// Checks every entry that the reference has; `tolerance` of a key is absolute, or relative above 1.
pub fn check(
    what: &str,
    entries: &[(&'static str, Option<f64>)],
    want: &Value,
    tolerance: impl Fn(&str) -> f64,
) -> Result<usize, String> {
    let mut checked = 0;
    for (key, got) in entries {
        let Some(want) = want[*key].as_f64() else { continue };
        let got = got.ok_or_else(|| format!("{what}: {key} is undefined, expected {want}"))?;
        let bound = tolerance(key) * want.abs().max(1.0);
        let off = (got - want).abs();
        if off.is_nan() || off > bound {
            return Err(format!("{what}: {key} is {got}, expected {want}: off by {off:.1e}, allowed {bound:.1e}"));
        }
        checked += 1;
    }
    Ok(checked)
}
