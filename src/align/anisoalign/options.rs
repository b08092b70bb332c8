//! What AnisoAlign's planes are made of, and how its networks are trained.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::str::FromStr;

use super::checkpoint::TrainingState;
use crate::error::{Problem, Remedy};
use crate::io::{Start, check_local, check_writable};
use crate::setters::setters;
use crate::{Error, Result};

/// How AnisoAlign's directions are mixed before they are put into planes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mix {
    /// As the eigenvalues order them: neighbours share a plane.
    #[default]
    None,
    /// By a random rotation, uniform over all of them (Haar), which makes the planes alike.
    Haar,
}

/// What of AnisoAlign is fitted: the rows of the paper's ablation (table 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stages {
    /// The initialisation alone, in closed form.
    #[default]
    Init,
    /// And the refinement, without a loss: it stays at its start, where it does nothing, so that rows are the initialisation's.
    Refine,
    /// And its training by the score prior, which is trained first.
    Prior,
    /// Training by differences of phases alone: their loss and its gradient are 0 at the refinement's start, so that rows are the initialisation's.
    Phase,
    /// Both losses: the paper's whole method.
    Full,
}

impl Stages {
    /// All, in the order of the ablation.
    pub const ALL: [Stages; 5] = [Stages::Init, Stages::Refine, Stages::Prior, Stages::Phase, Stages::Full];

    /// The name in files, and that callers choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            Stages::Init => "init",
            Stages::Refine => "refine",
            Stages::Prior => "prior",
            Stages::Phase => "phase",
            Stages::Full => "full",
        }
    }

    /// The fields of [`PlaneOptions`] that these stages heed and [`Stages::Init`] does not, by name.
    pub const fn options(self) -> &'static [&'static str] {
        match self {
            Stages::Init | Stages::Refine => &[],
            Stages::Phase => &["hidden", "refine_steps", "alpha_theta", "alpha_rho"],
            Stages::Prior | Stages::Full => &["hidden", "prior_steps", "refine_steps", "alpha_theta", "alpha_rho"],
        }
    }

    /// Whether the score prior is trained, and trains the refinement.
    pub const fn has_prior(self) -> bool {
        matches!(self, Stages::Prior | Stages::Full)
    }

    /// Whether differences of phases are a loss.
    pub const fn has_phase_loss(self) -> bool {
        matches!(self, Stages::Phase | Stages::Full)
    }
}

impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Stages {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Stages::ALL.into_iter().find(|stages| stages.name() == text).ok_or_else(|| {
            let names = Stages::ALL.map(Stages::name).join(", ");
            format!("'{text}' are no stages; choose {names}")
        })
    }
}

/// What AnisoAlign's planes are made of, and what is learnt in them.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PlaneOptions {
    /// How directions are mixed.
    pub mix: Mix,
    /// The most rows of each side that quantiles of lengths are taken over, and networks are trained on, 2 at least: of more rows so many at random. They
    /// take 8 bytes for each row and plane; where networks are trained, 8 more for each side's, and 4 for each component of the source's.
    pub fit_rows: u64,
    /// What is fitted.
    pub stages: Stages,
    /// Width of the networks' hidden layers, 1 to 8,192.
    pub hidden: usize,
    /// Steps of the prior's training, 1 or more.
    pub prior_steps: u64,
    /// Steps of the refinement's training, 1 or more.
    pub refine_steps: u64,
    /// α_θ: how far a phase turns at most, in radians, 0 to π.
    pub alpha_theta: f64,
    /// α_ρ: how much the logarithm of a length changes at most, 0 to 2. With both bounds 0 rows are the initialisation's.
    pub alpha_rho: f64,
}

impl Default for PlaneOptions {
    fn default() -> Self {
        PlaneOptions {
            mix: Mix::None,
            fit_rows: 65_536,
            stages: Stages::Init,
            hidden: 256,
            prior_steps: 600,
            refine_steps: 400,
            alpha_theta: 0.2,
            alpha_rho: 0.1,
        }
    }
}

setters! {
    PlaneOptions {
        mix: Mix,
        fit_rows: u64,
        stages: Stages,
        hidden: usize,
        prior_steps: u64,
        refine_steps: u64,
        alpha_theta: f64,
        alpha_rho: f64,
    }
}

/// The largest width of hidden layers.
pub(super) const MAX_HIDDEN: usize = 8192;
/// The largest bounds.
const MAX_ALPHA: [f64; 2] = [std::f64::consts::PI, 2.0];

/// Whether bounds can be a refinement's.
pub(super) fn bounds_fit(alphas: [f64; 2]) -> bool {
    alphas.iter().zip(MAX_ALPHA).all(|(alpha, most)| (0.0..=most).contains(alpha))
}

impl PlaneOptions {
    /// Refuses what no fit can do, before anything is read.
    pub(in crate::align) fn check(&self) -> Result<()> {
        if self.fit_rows < 2 {
            return Err(Error::argument("fit_rows", format!("{}; give 2 or more", self.fit_rows)));
        }
        if !(1..=MAX_HIDDEN).contains(&self.hidden) {
            return Err(Error::argument("hidden", format!("{}; give a width from 1 to {MAX_HIDDEN}", self.hidden)));
        }
        for (name, steps) in [("prior_steps", self.prior_steps), ("refine_steps", self.refine_steps)] {
            if !(1..=1 << 32).contains(&steps) {
                return Err(Error::argument(name, format!("{steps}; give a number from 1 to 2^32")));
            }
        }
        let alphas = [("alpha_theta", self.alpha_theta), ("alpha_rho", self.alpha_rho)];
        for ((name, alpha), most) in alphas.into_iter().zip(MAX_ALPHA) {
            if !(0.0..=most).contains(&alpha) {
                return Err(Error::argument(name, format!("{alpha}; give a number from 0 to {most:.4}")));
            }
        }
        Ok(())
    }
}

/// How AnisoAlign's training is watched and kept.
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct Training<'a> {
    /// Where the training's state is saved every [`Training::every`] steps, at once or not at all. By default nowhere. It stays when the fit is done, for the operator may yet be lost: [`Training::finish`].
    pub checkpoint: Option<&'a Path>,
    /// What becomes of a state that the file holds already. One that is resumed gives the bits of a training without a break.
    pub start: Start,
    /// Steps from one save to the next; 0, the default, stands for 100.
    pub every: u64,
    /// Called every 50 steps, and after the first and the last of each network.
    pub progress: Option<&'a (dyn Fn(&TrainingStep) + Sync)>,
}

setters! {
    Training<'a> {
        checkpoint: Option<&'a Path>,
        start: Start,
        every: u64,
        progress: Option<&'a (dyn Fn(&TrainingStep) + Sync)>,
    }
}

impl Training<'_> {
    /// Removes the training's state, if there is one: once what was fitted is saved.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn finish(&self) -> Result<()> {
        let Some(path) = self.checkpoint else { return Ok(()) };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
            _ => Ok(()),
        }
    }

    /// Refuses, before hours of work, a state that would be lost and one that could not be written.
    pub(in crate::align) fn check(&self) -> Result<()> {
        let Some(path) = self.checkpoint else { return Ok(()) };
        if self.start != Start::Resume && path.exists() {
            if !TrainingState::is_file(path) {
                let problem = "is in the way, and is no state of a training, which would be kept here; move it away, or name another output";
                return Err(Error::format(path, problem));
            }
            if self.start == Start::Replace {
                return check_writable(path, true);
            }
            let problem = Problem::new("holds the state of a training that was stopped");
            return Err(Error::format(path, problem.remedy(Remedy::ResumeOrReplace)));
        }
        check_local(path)?;
        check_writable(path, true)
    }
}

impl fmt::Debug for Training<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Training")
            .field("checkpoint", &self.checkpoint)
            .field("start", &self.start)
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}

/// One of AnisoAlign's networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trained {
    /// The score prior of the target's phases.
    Prior,
    /// The refinement of the source's points.
    Refinement,
}

impl Trained {
    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Trained::Prior => "prior",
            Trained::Refinement => "refinement",
        }
    }
}

/// A step of training.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct TrainingStep {
    /// Which network.
    pub network: Trained,
    /// The number of the step, from 1.
    pub step: u64,
    /// Steps of this network.
    pub steps: u64,
    /// The batch's score loss, the mean over its rows and planes; 0 without the prior.
    pub score_loss: f64,
    /// The batch's loss of differences of phases; 0 of the prior, and without it.
    pub phase_loss: f64,
}
