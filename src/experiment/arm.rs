//! The rows of the experiment: what an adapter is trained on in stage 1.

use super::attributes::Attributes;
use super::words::Length;
use crate::align::{Centroid, FitOptions, Method, PlaneOptions, Stages};

/// The attribute that domains differ in: the strokes.
const STROKES: usize = 1;

/// Which images and texts the statistics of an alignment come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Domain {
    /// All of the pools.
    #[default]
    All,
    /// Digits with thin strokes, and texts about such.
    Thin,
    /// Digits with thick strokes, and texts about such.
    Thick,
}

impl Domain {
    /// Whether something with these attributes is in the domain.
    pub fn has(self, attributes: &Attributes) -> bool {
        match self {
            Domain::All => true,
            Domain::Thin => attributes[STROKES] == 0,
            Domain::Thick => attributes[STROKES] == 1,
        }
    }

    /// What tables and files call it.
    pub fn name(self) -> &'static str {
        match self {
            Domain::All => "all",
            Domain::Thin => "thin",
            Domain::Thick => "thick",
        }
    }
}

/// Which texts of the unpaired pool a row uses, for its statistics and for stage 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Texts {
    /// All.
    #[default]
    All,
    /// The first half.
    Half,
    /// The first quarter.
    Quarter,
    /// Those without filler.
    Short,
    /// Those with filler.
    Long,
}

impl Texts {
    /// Whether text `index` of `count` belongs to them.
    pub fn has(self, (index, count): (usize, usize), text: &str) -> bool {
        match self {
            Texts::All => true,
            Texts::Half => index < count / 2,
            Texts::Quarter => index < count / 4,
            Texts::Short => Length::of(text) == Length::Short,
            Texts::Long => Length::of(text) == Length::Long,
        }
    }

    /// What tables call them.
    pub fn name(self) -> &'static str {
        match self {
            Texts::All => "all texts",
            Texts::Half => "half of the texts",
            Texts::Quarter => "a quarter of the texts",
            Texts::Short => "short texts",
            Texts::Long => "long texts",
        }
    }
}

/// Where stage 1 gets its embeddings from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source {
    /// The unpaired texts' embeddings, aligned.
    Aligned(Method, Centroid),
    /// Real images with captions.
    Paired,
    /// No stage 1: a fresh adapter.
    Untrained,
}

/// How a row's adapter is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arm {
    /// Its embeddings.
    pub source: Source,
    /// Standard deviation of the noise on the adapter's input in stage 1.
    pub noise: f64,
    /// Where the aligner's statistics come from.
    pub domain: Domain,
    /// C3's σ; by default what makes up the difference of the traces, 0 where the texts are spread more widely.
    pub sigma: Option<f64>,
    /// t of optimal transport; 1 by default.
    pub strength: Option<f64>,
    /// What of AnisoAlign is fitted: its initialisation alone by default.
    pub stages: Stages,
    /// The texts.
    pub texts: Texts,
}

impl Arm {
    /// Stage 1 on a source, without noise, with all texts and statistics of everything.
    pub fn new(source: Source) -> Self {
        Arm {
            source,
            noise: 0.0,
            domain: Domain::All,
            sigma: None,
            strength: None,
            stages: Stages::Init,
            texts: Texts::All,
        }
    }

    /// Texts aligned in the paper's way of a method.
    pub fn aligned(method: Method) -> Self {
        Arm::new(Source::Aligned(method, Centroid::default()))
    }

    /// The same with statistics of one domain.
    #[must_use]
    pub fn within(self, domain: Domain) -> Self {
        Arm { domain, ..self }
    }

    /// The same with another σ of C3.
    #[must_use]
    pub fn sigma(self, sigma: f64) -> Self {
        Arm { sigma: Some(sigma), ..self }
    }

    /// The same with another strength of optimal transport.
    #[must_use]
    pub fn strength(self, strength: f64) -> Self {
        Arm { strength: Some(strength), ..self }
    }

    /// The same with other stages of AnisoAlign.
    #[must_use]
    pub fn stages(self, stages: Stages) -> Self {
        Arm { stages, ..self }
    }

    /// How its aligner is fitted; `None` of a row without one.
    pub(super) fn fit_options(&self, seed: u64) -> Option<FitOptions<'static>> {
        let Source::Aligned(method, centroid) = self.source else { return None };
        let planes = PlaneOptions::default().stages(self.stages);
        let (sigma, strength) = (self.sigma, self.strength);
        Some(FitOptions { method, centroid, seed, sigma, strength, planes, ..Default::default() })
    }

    /// The same with a part of the texts.
    #[must_use]
    pub fn on(self, texts: Texts) -> Self {
        Arm { texts, ..self }
    }

    /// Whether the adapter is trained on texts alone.
    pub fn is_text(&self) -> bool {
        matches!(self.source, Source::Aligned(..))
    }

    /// The same with noise.
    #[must_use]
    pub fn noisy(self, noise: f64) -> Self {
        Arm { noise, ..self }
    }

    /// What tables call it. Mean shift and ReAlign's anchor alone are one operator.
    pub fn name(&self) -> String {
        let name = match self.source {
            Source::Aligned(Method::None, _) => "no alignment".to_owned(),
            Source::Aligned(Method::ReAlign, Centroid::Exact) => "realign, exact".to_owned(),
            Source::Aligned(Method::MeanShift | Method::Anchor, _) => "mean shift (anchor alone)".to_owned(),
            Source::Aligned(Method::AnchorTrace, _) => "anchor and trace".to_owned(),
            Source::Aligned(Method::C3, _) => match self.sigma {
                Some(sigma) => format!("c3, σ {sigma}"),
                None => "c3, σ by traces".to_owned(),
            },
            Source::Aligned(Method::OptimalTransport, _) => match self.strength {
                Some(strength) => format!("ot, strength {strength}"),
                None => "ot".to_owned(),
            },
            Source::Aligned(method, _) => match self.stages {
                Stages::Init => method.to_string(),
                stages => format!("{method} {stages}"),
            },
            Source::Paired => "paired images".to_owned(),
            Source::Untrained => "no stage 1".to_owned(),
        };
        let name = match self.domain {
            Domain::All => name,
            domain => format!("{name}, statistics of {} digits", domain.name()),
        };
        let name = match self.texts {
            Texts::All => name,
            texts => format!("{name}, {}", texts.name()),
        };
        if self.noise > 0.0 { format!("{name} + noise {}", self.noise) } else { name }
    }

    /// The name of its folder.
    pub(super) fn slug(&self) -> String {
        self.name().replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-").replace("--", "-")
    }
}
