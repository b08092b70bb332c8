//! The golden clouds, the bundled digits, and what the reference code says of them.

use std::path::{Path, PathBuf};

use realign::ElementType;
use realign::io::{Dataset, OpenOptions};
use realign::stats::{DatasetRows, MemoryRows, RowSource};
use serde_json::Value;

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
