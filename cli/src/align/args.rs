//! The arguments of `stats`, `merge`, `fit` and `apply`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use realign::ElementType;
use realign::align::{Centroid, Method, Mix, PlaneOptions, Stages};
use realign::io::FileFormat;
use realign::stats::{CovarianceMode, Privacy};

use crate::align::unused::Given;
use crate::geometry::args::{CutArgs, SideArg};
use crate::shared::device::DeviceArgs;
use crate::shared::read::ReadArgs;
use crate::shared::sources::EncoderArgs;

#[derive(Args)]
pub struct StatsArgs {
    /// Files, folders or glob patterns of rows: .npy, .safetensors, .parquet.
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// The moments file to write.
    #[arg(long, value_name = "M.safetensors")]
    pub out: PathBuf,
    /// Count the covariance too, for realign frame: exact sums, the same bits on every device and for every cut into shards, or fast,
    /// with products in f32. Reads the rows twice; exact sums take some 56 d² bytes of memory and 16 d² in the file.
    #[arg(long, value_name = "exact|fast", num_args = 0..=1, require_equals = true, default_missing_value = "exact")]
    pub covariance: Option<Covariance>,
    /// Count the rows as this anchor-trace operator moves them: of all of the source's shards, merged, they are --moved-stats of realign fit.
    #[arg(long, value_name = "S.safetensors", conflicts_with_all = ["covariance", "private"])]
    pub moved_by: Option<PathBuf>,
    /// Add noise that hides every single row, (ε, δ)-differentially private, so that the file can be shared where the rows cannot: such as 1,1e-6.
    #[arg(long, value_name = "EPSILON,DELTA", conflicts_with = "covariance")]
    pub private: Option<Budget>,
    /// Replace the output if it exists.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Machine-readable result on stdout.
    #[arg(long)]
    pub json: bool,
}

/// ε and δ.
#[derive(Clone, Copy)]
pub struct Budget(pub Privacy);

impl std::str::FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| part.trim().parse::<f64>().map_err(|_| format!("'{part}' is no number"));
        let Some((epsilon, delta)) = text.split_once(',') else {
            return Err("give ε and δ, with a comma between them: 1,1e-6".to_owned());
        };
        Privacy::new(number(epsilon)?, number(delta)?).map(Budget).map_err(|e| e.to_string())
    }
}

/// How a covariance is counted.
#[derive(Clone, Copy, ValueEnum)]
pub enum Covariance {
    Exact,
    Fast,
}

impl Covariance {
    pub fn mode(self) -> CovarianceMode {
        match self {
            Covariance::Exact => CovarianceMode::Exact,
            Covariance::Fast => CovarianceMode::Fast,
        }
    }
}

/// `--covariance fast` as `--covariance=fast`: the mode may be left out before an input, and a path of that name is told from it.
///
/// # Errors
/// What is ambiguous, and how to say it.
pub fn with_covariance_modes(args: impl Iterator<Item = OsString>) -> Result<Vec<OsString>, String> {
    let (mut joined, mut options): (Vec<OsString>, bool) = (Vec::new(), true);
    for arg in args {
        options &= arg != "--";
        let mode = ["exact", "fast"].into_iter().find(|mode| arg == *mode);
        match (joined.last_mut(), mode) {
            (Some(last), Some(mode)) if options && last == "--covariance" => {
                if Path::new(mode).exists() {
                    let problem = format!("'--covariance {mode}' may mean the mode or the file of that name here");
                    return Err(format!("{problem}: write --covariance={mode}, or ./{mode} for the file"));
                }
                last.push("=");
                last.push(mode);
            }
            _ => joined.push(arg),
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_joined_and_an_input_is_not() {
        let joined = |line: &str| {
            let words = line.split(' ').map(OsString::from);
            with_covariance_modes(words).unwrap().join(&OsString::from(" ")).into_string().unwrap()
        };
        assert_eq!(joined("stats --covariance fast a.npy"), "stats --covariance=fast a.npy");
        assert_eq!(joined("stats a.npy --covariance exact"), "stats a.npy --covariance=exact");
        for same in
            ["stats --covariance a.npy fast", "stats --covariance --out fast", "stats -- --covariance fast", "fast"]
        {
            assert_eq!(joined(same), same);
        }
    }
}

#[derive(Args)]
pub struct MergeArgs {
    /// Moments files.
    #[arg(required = true, value_name = "MOMENTS")]
    pub inputs: Vec<PathBuf>,
    /// The moments file to write.
    #[arg(long, value_name = "M.safetensors")]
    pub out: PathBuf,
    /// Merge the moments alone, where not all files have a covariance.
    #[arg(long)]
    pub without_covariance: bool,
    /// Replace the output if it exists.
    #[arg(long)]
    pub force: bool,
    /// Machine-readable result on stdout.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct FitArgs {
    /// The rows to be mapped: text.
    #[arg(long, num_args = 1.., value_name = "TEXT", required_unless_present = "source_stats")]
    pub source: Vec<PathBuf>,
    /// The rows whose cloud is the target: image.
    #[arg(long, num_args = 1.., value_name = "IMAGE", required_unless_present = "target_stats", conflicts_with = "target_stats")]
    pub target: Vec<PathBuf>,
    /// The source's moments, from realign stats or merge. The centroid step still needs --source, or --moved-stats.
    #[arg(long, value_name = "MOMENTS")]
    pub source_stats: Option<PathBuf>,
    /// The target's moments, from realign stats or merge.
    #[arg(long, value_name = "MOMENTS")]
    pub target_stats: Option<PathBuf>,
    /// In place of --source for the centroid step: moments of its rows as the anchor-trace operator of both sides moves them, from realign stats --moved-by.
    #[arg(long, value_name = "MOMENTS", requires = "source_stats", conflicts_with_all = ["source", "method", "centroid"])]
    pub moved_stats: Option<PathBuf>,
    /// The statistics file to write.
    #[arg(long, value_name = "S.safetensors")]
    pub out: PathBuf,
    /// realign, anchor, anchor-trace, mean-shift, centre, c3, blockwise, ot, anisoalign, ridge or none; realign by default.
    #[arg(long)]
    pub method: Option<Method>,
    /// The centroid step: 1 (the paper, and the default), K (repeated), or exact (Newton).
    #[arg(long, value_name = "1|K|exact")]
    pub centroid: Option<Centroid>,
    /// Standard deviation of C3's noise; by default what makes up the difference of the traces.
    #[arg(long, value_name = "S")]
    pub sigma: Option<f64>,
    /// Seed of C3's noise, and of what is random in anisoalign; 0 by default.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The ridge of blockwise, ot and ridge, as a share of the source's mean variance; 1e-6 by default.
    #[arg(long, value_name = "R")]
    pub shrinkage: Option<f64>,
    /// How much of ot's map is transport, 0 to 1; the rest is realign's scaling. 1 by default.
    #[arg(long, value_name = "T")]
    pub strength: Option<f64>,
    #[command(flatten)]
    pub cut: CutArgs,
    #[command(flatten)]
    pub planes: PlaneArgs,
    /// Row i of the source is the partner of row i of the target: ridge is fitted to such pairs.
    #[arg(long)]
    pub paired: bool,
    /// Accept one row, or rows that are all equal.
    #[arg(long)]
    pub allow_degenerate: bool,
    /// Go on with a training of anisoalign that was stopped, from what it saved beside the output; begin where there is none.
    #[arg(long)]
    pub resume: bool,
    /// Replace the output if it exists.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub encoder: EncoderArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Machine-readable result on stdout.
    #[arg(long)]
    pub json: bool,
}

/// What anisoalign takes, beside the frame, whose directions are an even number there.
#[derive(Args)]
pub struct PlaneArgs {
    /// What of anisoalign is fitted: its initialisation in closed form (init, the default), and a refinement that is trained by the prior of the images'
    /// phases (prior), by how it keeps phases together (phase), or by both (full); refine has it without training, where it does nothing.
    #[arg(long, value_name = "init|refine|prior|phase|full")]
    stages: Option<Stages>,
    /// Width of the hidden layers of anisoalign's networks; 256 by default.
    #[arg(long, value_name = "N")]
    hidden: Option<usize>,
    /// Steps that anisoalign's prior is trained for; 600 by default.
    #[arg(long, value_name = "N")]
    prior_steps: Option<u64>,
    /// Steps that anisoalign's refinement is trained for; 400 by default.
    #[arg(long, value_name = "N")]
    refine_steps: Option<u64>,
    /// How far anisoalign's refinement turns a phase at most, in radians; 0.2 by default.
    #[arg(long, value_name = "X")]
    alpha_theta: Option<f64>,
    /// How much anisoalign's refinement changes the logarithm of a length at most; 0.1 by default.
    #[arg(long, value_name = "X")]
    alpha_rho: Option<f64>,
    /// How anisoalign mixes the frame's directions before they are put into planes of two: not at all, or by a random rotation; none by default.
    #[arg(long, value_enum, value_name = "none|haar")]
    mix: Option<MixArg>,
    /// The most rows of each side that anisoalign's quantiles are taken over, and its networks trained on, drawn by the seed; 65536 by default.
    #[arg(long, value_name = "N")]
    fit_rows: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum MixArg {
    None,
    Haar,
}

impl PlaneArgs {
    pub fn options(&self) -> PlaneOptions {
        let mix = match self.mix {
            Some(MixArg::Haar) => Mix::Haar,
            Some(MixArg::None) | None => Mix::None,
        };
        let plain = PlaneOptions::default();
        plain
            .mix(mix)
            .fit_rows(self.fit_rows.unwrap_or(plain.fit_rows))
            .stages(self.stages())
            .hidden(self.hidden.unwrap_or(plain.hidden))
            .prior_steps(self.prior_steps.unwrap_or(plain.prior_steps))
            .refine_steps(self.refine_steps.unwrap_or(plain.refine_steps))
            .alpha_theta(self.alpha_theta.unwrap_or(plain.alpha_theta))
            .alpha_rho(self.alpha_rho.unwrap_or(plain.alpha_rho))
    }

    pub fn stages(&self) -> Stages {
        self.stages.unwrap_or_default()
    }

    /// The first flag of these that is given.
    pub fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--stages", self.stages.is_some()),
            ("--mix", self.mix.is_some()),
            ("--fit-rows", self.fit_rows.is_some()),
        ];
        let trained = self.trained().map(|(flag, _, given)| (flag, given));
        flags.into_iter().chain(trained).find_map(|(flag, given)| given.then_some(flag))
    }

    /// Flags of training, the options that they set, and whether they are given.
    fn trained(&self) -> [Given; 5] {
        [
            ("--hidden", "hidden", self.hidden.is_some()),
            ("--prior-steps", "prior_steps", self.prior_steps.is_some()),
            ("--refine-steps", "refine_steps", self.refine_steps.is_some()),
            ("--alpha-theta", "alpha_theta", self.alpha_theta.is_some()),
            ("--alpha-rho", "alpha_rho", self.alpha_rho.is_some()),
        ]
    }

    /// Refuses an option of training that the stages do not heed.
    pub fn refuse_untrained(&self) -> anyhow::Result<()> {
        let stages = self.stages();
        for (flag, option, given) in self.trained() {
            if given && !stages.options().contains(&option) {
                let takers = Stages::ALL.into_iter().filter(|stages| stages.options().contains(&option));
                let takers: Vec<String> = takers.map(|stages| format!("--stages {stages}")).collect();
                anyhow::bail!("{flag}: is no option of stages {stages}; leave it out, or give {}", takers.join(" or "));
            }
        }
        Ok(())
    }
}

#[derive(Args)]
pub struct ApplyArgs {
    /// Files, folders or glob patterns of rows: .npy, .safetensors, .parquet.
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// The fitted operator, from realign fit.
    #[arg(long, value_name = "S.safetensors")]
    pub stats: PathBuf,
    /// Where to write: a file for one input file, else a folder, where outputs keep the inputs' names.
    #[arg(long)]
    pub out: PathBuf,
    /// npy, safetensors or parquet; by default as the input.
    #[arg(long)]
    pub format: Option<FileFormat>,
    /// f16, bf16, f32 or f64; by default as the input.
    #[arg(long, value_parser = parse_dtype)]
    pub dtype: Option<ElementType>,
    /// Which side these rows are: the source, or the target, which centre moves, too.
    #[arg(long, value_enum, default_value_t = SideArg::Source)]
    pub side: SideArg,
    /// Replace the output if it exists.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Machine-readable result on stdout.
    #[arg(long)]
    pub json: bool,
}

fn parse_dtype(text: &str) -> Result<ElementType, String> {
    let all = [ElementType::F16, ElementType::BF16, ElementType::F32, ElementType::F64];
    all.into_iter()
        .find(|e| e.name() == text)
        .ok_or_else(|| format!("'{text}' is no type; choose f16, bf16, f32 or f64"))
}
