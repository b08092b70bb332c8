//! Names of the scores.

use std::fmt;
use std::str::FromStr;

/// How what a query scores in one collection is made comparable with what it scores in another. q: the query, d: an item of collection m,
/// both unit rows; μ_m, Σ_m: mean and covariance of that collection's unit rows, μ_q: the mean of the queries' kind; P: projection to norm 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Score {
    /// `-log10` of the share of the collection that scores as high, estimated from its reference sample: 3 is one item in a thousand.
    #[default]
    Quantile,
    /// `(q·d - q·μ_m) / √(qᵀ Σ_m q)`: deviations from the mean of the query's scores in the collection, in closed form.
    Z,
    /// `P(q - μ_q) · P(d - μ_m)` (GR-CLIP, arXiv 2507.19054). Needs the items' rows.
    Centre,
    /// Cosine after ReAlign of the query and of all collections but one to that one's cloud (arXiv 2602.07026). Needs the items' rows.
    Realign,
    /// `q·d - α b(d)`, b(d) the mean of the item's k largest dot products with reference queries: nearest neighbour normalisation (Chowdhury et al.
    /// 2024, arXiv 2410.24114). Needs the items' rows and reference queries.
    Nnn,
    /// `(q·d - m_m) / σ_m`, m_m and σ_m mean and deviation of reference queries' dot products with their best item of the collection's
    /// reference sample, their pseudo-positive: similarity standardisation (Yamashita et al. 2025, arXiv 2511.22141). Needs reference queries.
    Standardise,
    /// `q·d` as it is.
    Raw,
    /// Distribution-based score fusion of the returned lists: 0 at three deviations below the mean of a list's best 50, 1 at three above.
    Dbsf,
    /// Reciprocal rank fusion of the returned lists: `1 / (60 + rank)`.
    Rrf,
}

impl Score {
    /// All of them, the baselines first.
    pub const ALL: [Score; 9] = [
        Score::Raw,
        Score::Realign,
        Score::Centre,
        Score::Nnn,
        Score::Standardise,
        Score::Z,
        Score::Quantile,
        Score::Dbsf,
        Score::Rrf,
    ];

    /// The name that callers choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            Score::Quantile => "quantile",
            Score::Z => "z",
            Score::Centre => "centre",
            Score::Realign => "realign",
            Score::Nnn => "nnn",
            Score::Standardise => "standardise",
            Score::Raw => "raw",
            Score::Dbsf => "dbsf",
            Score::Rrf => "rrf",
        }
    }

    /// Whether it moves rows before they are multiplied, so that it cannot be told from dot products alone.
    pub const fn moves_rows(self) -> bool {
        matches!(self, Score::Centre | Score::Realign | Score::Nnn)
    }

    /// Whether it is held against reference queries: rows of the queries' kind, counted by themselves.
    pub const fn needs_queries(self) -> bool {
        matches!(self, Score::Nnn | Score::Standardise)
    }

    /// Whether it is told by rows of a collection, its reference sample, or by its covariance: what a private ranking has not.
    pub const fn needs_rows(self) -> bool {
        matches!(self, Score::Quantile | Score::Z | Score::Nnn | Score::Standardise)
    }

    /// Whether it knows no more than the lists that were returned: such a score has no cut-off.
    pub const fn of_lists(self) -> bool {
        matches!(self, Score::Dbsf | Score::Rrf)
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Score {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Score::ALL
            .into_iter()
            .find(|score| score.name() == text)
            .ok_or_else(|| format!("'{text}' is no score; choose {}", Score::ALL.map(Score::name).join(", ")))
    }
}
