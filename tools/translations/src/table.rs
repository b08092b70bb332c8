//! The report of what shaders take on AMD's chips: `docs/benchmarks/amd-compiled.md`, by kernel, and `.csv` beside it, by variant.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Shader;
use crate::amd::Statistics;

/// What one shader takes on a chip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The kernel's name.
    pub kernel: String,
    /// The shader's files, without their folders and suffixes, and the team's size.
    pub variant: String,
    /// What it takes.
    pub statistics: Statistics,
}

/// What a chip's compiler made of the shaders.
#[derive(Debug, Serialize, Deserialize)]
pub struct Chip {
    /// As Mesa's environment variable has it.
    pub family: String,
    /// Of the driver.
    pub version: String,
    /// Different shaders that were compiled.
    pub shaders: usize,
    /// One for each shader and set of values for its overrides.
    pub rows: Vec<Row>,
}

/// The name of a variant; its values of overrides are not in it, but for the size of a team: sets of them are one row of the tables.
pub fn variant(shader: &Shader, constants: &BTreeMap<String, f64>) -> String {
    let stem = |file: &String| file.rsplit('/').next().unwrap_or(file).trim_end_matches(".wgsl").to_owned();
    let team = constants.get("LANES").map(|lanes| format!("LANES={lanes}"));
    shader.files.iter().map(stem).chain(team).collect::<Vec<_>>().join(" ")
}

/// Kernel and variant; for a kernel's worst, the variant is empty.
type Key<'a> = (&'a str, &'a str);

impl Chip {
    /// The worst of each variant, and how many sets of values it is of.
    pub fn variants(&self) -> BTreeMap<Key<'_>, (Statistics, usize)> {
        self.grouped(|row| (&row.kernel, &row.variant))
    }

    /// The worst of each kernel, and of how many shaders.
    pub fn kernels(&self) -> BTreeMap<Key<'_>, (Statistics, usize)> {
        self.grouped(|row| (&row.kernel, ""))
    }

    fn grouped<'a>(&'a self, key: impl Fn(&'a Row) -> Key<'a>) -> BTreeMap<Key<'a>, (Statistics, usize)> {
        let mut all = BTreeMap::new();
        for row in &self.rows {
            let (worst, count) = all.entry(key(row)).or_insert((row.statistics, 0));
            *worst = worst.worst(row.statistics);
            *count += 1;
        }
        all
    }
}

/// `docs/benchmarks/amd-compiled` with this suffix.
pub fn path(suffix: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks").join(format!("amd-compiled.{suffix}"))
}

/// First line of the table by variants.
const HEADER: &str = "chip,driver,kernel,variant,sets,vgprs,spills,scratch,lds,waves,instructions,inverse throughput";

/// All variants on all chips, a line each; names hold no comma but for kernels', which are quoted.
pub fn csv(chips: &[Chip]) -> String {
    let mut text = format!("{HEADER}\n");
    for chip in chips {
        for ((kernel, variant), (s, sets)) in chip.variants() {
            let Statistics { vgprs, spills, scratch, lds, waves, instructions, inverse_throughput } = s;
            let _ = writeln!(
                text,
                "{},{},\"{kernel}\",{variant},{sets},{vgprs},{spills},{scratch},{lds},{waves},{instructions},{inverse_throughput}",
                chip.family, chip.version,
            );
        }
    }
    text
}

/// Waves of each variant of a chip, by kernel and variant, where the table is of this version of the driver.
pub fn waves(csv: &str, chip: &Chip) -> Option<BTreeMap<(String, String), u64>> {
    let start = format!("{},{},\"", chip.family, chip.version);
    let lines = csv.lines().filter_map(|line| line.strip_prefix(&start)?.split_once("\","));
    let entry = |(kernel, rest): (&str, &str)| {
        let fields: Vec<&str> = rest.split(',').collect();
        Some(((kernel.to_owned(), fields.first()?.to_string()), fields.get(6)?.parse().ok()?))
    };
    let all: BTreeMap<_, _> = lines.filter_map(entry).collect();
    (!all.is_empty()).then_some(all)
}

const TITLE: &str = "\
# What the kernels take on AMD's chips

Mesa's driver for AMD compiles for chips that are not in the machine. This is what its compiler makes of every shader that a GPU may get, with
the checks that are left out (`docs/portability.md`): for each kernel the worst of its variants, statistic by statistic. All variants are in
[amd-compiled.csv](amd-compiled.csv). A test compiles all of them anew; it fails where a register spills, and where fewer waves fit than the table says.

*waves*: subgroups that a SIMD unit holds at a time, by registers and workgroup memory, the more the better it hides the latency of memory;
*LDS*: bytes of workgroup memory; *instructions*: of the code, which the compiler may have unrolled; *inverse throughput*: cycles, as the compiler
estimates them with guesses of how often loops run, so that it compares versions of one kernel, and no two kernels.

```sh
cargo test --release --test portability                 # the shaders, as data
REALIGN_WRITE_TABLE=1 cargo test --release --manifest-path tools/translations/Cargo.toml --target-dir target/translations --test amd
```
";

/// The page: a table for each chip.
pub fn page(chips: &[Chip]) -> String {
    let mut text = TITLE.to_owned();
    for chip in chips {
        let Chip { family, version, shaders, .. } = chip;
        let _ = write!(text, "\n## {family}\n\n{version}; {shaders} different shaders.\n\n");
        text += "| kernel | variants | VGPRs | spills | scratch | LDS | waves | instructions | inverse throughput |\n";
        text += "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
        for ((kernel, _), (s, count)) in chip.kernels() {
            let Statistics { vgprs, spills, scratch, lds, waves, instructions, inverse_throughput } = s;
            let _ = writeln!(
                text,
                "| {kernel} | {count} | {vgprs} | {spills} | {scratch} | {lds} | {waves} | {instructions} | {inverse_throughput} |"
            );
        }
    }
    text
}
