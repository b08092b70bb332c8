//! Names of the operators and of the centroid step's ways.

use std::fmt;
use std::str::FromStr;

/// An operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Rows unchanged.
    None,
    /// `normalise(y - μ_y + μ_x)` (Unicorn, arXiv 2503.22655).
    MeanShift,
    /// `normalise(y - μ_y)`, and the target's rows become `normalise(x - μ_x)` (GR-CLIP, arXiv 2507.19054): the one method that moves both sides.
    Centre,
    /// ReAlign's first step alone: the same rows as mean shift, under the ablation's name [paper, table 5].
    Anchor,
    /// ReAlign's first two steps: `normalise(μ_x + s (y - μ_y))`.
    AnchorTrace,
    /// All three steps.
    #[default]
    ReAlign,
    /// `normalise(y - μ_y + μ_x + σ g)` (arXiv 2401.08567).
    C3,
    /// Blockwise covariance alignment in the fixed frame [paper appendix F].
    Blockwise,
    /// Gaussian optimal transport: `normalise(μ_x + A (y - μ_y))` with the symmetric A for which `A Σ_y A = Σ_x` [spec 10].
    OptimalTransport,
    /// AnisoAlign: lengths in the planes of the fixed frame by quantiles, deviations outside of it, and where stages are trained a bounded turn and stretch of
    /// the points in the planes (arXiv 2605.07825).
    AnisoAlign,
    /// The least-squares map of pairs: an upper bound of what a linear map can do, for those who have pairs.
    Ridge,
}

impl Method {
    /// All that need no pairs, in the order of the ablations.
    pub const ALL: [Method; 10] = [
        Method::None,
        Method::MeanShift,
        Method::Centre,
        Method::Anchor,
        Method::AnchorTrace,
        Method::ReAlign,
        Method::C3,
        Method::Blockwise,
        Method::OptimalTransport,
        Method::AnisoAlign,
    ];

    /// The name in files, and that callers choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            Method::None => "none",
            Method::MeanShift => "mean-shift",
            Method::Centre => "centre",
            Method::Anchor => "anchor",
            Method::AnchorTrace => "anchor-trace",
            Method::ReAlign => "realign",
            Method::C3 => "c3",
            Method::Blockwise => "blockwise",
            Method::OptimalTransport => "ot",
            Method::AnisoAlign => "anisoalign",
            Method::Ridge => "ridge",
        }
    }

    /// Whether the trace is aligned.
    pub(crate) fn scales(self) -> bool {
        matches!(self, Method::AnchorTrace | Method::ReAlign)
    }

    /// The fields of [`FitOptions`](super::FitOptions) that it heeds and not all methods do, by name.
    pub const fn options(self) -> &'static [&'static str] {
        match self {
            Method::ReAlign => &["centroid"],
            Method::C3 => &["sigma", "seed"],
            Method::Blockwise => &["centroid", "shrinkage", "frame"],
            Method::OptimalTransport => &["centroid", "shrinkage", "strength"],
            Method::AnisoAlign => &["centroid", "frame", "planes", "seed"],
            Method::Ridge => &["centroid", "shrinkage", "paired"],
            Method::None | Method::MeanShift | Method::Centre | Method::Anchor | Method::AnchorTrace => &[],
        }
    }

    /// Whether it moves the target's rows, too.
    pub(crate) fn centres(self) -> bool {
        self == Method::Centre
    }

    /// Whether it has a map `[d, d]`, fitted from covariances.
    pub(crate) fn maps(self) -> bool {
        matches!(self, Method::Blockwise | Method::OptimalTransport | Method::AnisoAlign | Method::Ridge)
    }

    /// Whether it is fitted to pairs.
    pub(crate) fn needs_pairs(self) -> bool {
        self == Method::Ridge
    }

    /// All of them: those that need pairs last.
    pub fn every() -> impl Iterator<Item = Method> {
        Method::ALL.into_iter().chain([Method::Ridge])
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Method::every().find(|m| m.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Method::every().map(Method::name).collect();
            format!("'{text}' is no method; choose {}", names.join(", "))
        })
    }
}

/// How the centroid step is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Centroid {
    /// Estimate the mean, shift, project; this many times, 1 to 8. 1 is the paper's.
    Steps(u32),
    /// One shift, for which the mean of the final rows is μ_x, by Newton.
    Exact,
}

/// Most centroid steps: each is one more vector of the operator.
pub const MAX_STEPS: u32 = crate::kernels::align::apply::MAX_VECTORS as u32 - 1;

impl Centroid {
    /// Refuses numbers of steps that no operator has.
    pub(crate) fn check(self) -> crate::Result<()> {
        match self {
            Centroid::Steps(count) if !(1..=MAX_STEPS).contains(&count) => {
                let problem = format!("{count} steps; give 1 to {MAX_STEPS}, or a method without a centroid step");
                Err(crate::Error::argument("centroid", problem))
            }
            _ => Ok(()),
        }
    }
}

impl Default for Centroid {
    fn default() -> Self {
        Centroid::Steps(1)
    }
}

impl fmt::Display for Centroid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Centroid::Steps(count) => write!(f, "{count}"),
            Centroid::Exact => f.write_str("exact"),
        }
    }
}

impl FromStr for Centroid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "exact" => Ok(Centroid::Exact),
            Ok(count) if (1..=MAX_STEPS).contains(&count) => Ok(Centroid::Steps(count)),
            _ => Err(format!("'{text}': give the number of steps, 1 to {MAX_STEPS}, or 'exact'")),
        }
    }
}
