//! What settings are: their names, and the values of those that are one of a few words.

/// Which training it is; what the defaults depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Modality substitution pretraining: the decoder is frozen, the adapter learns from aligned text embeddings.
    One,
    /// Visual instruction tuning: real image embeddings, all parameters learn.
    Two,
}

/// What learns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trained {
    /// The adapter alone (`adapter`).
    Adapter,
    /// Adapter and decoder (`all`).
    All,
    /// The adapter, and low-rank additions to the decoder's projections (`lora`).
    Lora,
}

/// The covariance of the noise on the adapter's input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoiseShape {
    /// The same in all directions (`isotropic`).
    Isotropic,
    /// That of the image embeddings (`covariance`).
    Covariance,
}

/// How ranks send each other gradients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reduce {
    /// Each batch's in f32, added up in the order of the batches: the bits of one rank that computes all of them.
    #[default]
    F32,
    /// Each rank's sum in bf16, and so their sum: half of the bytes or less, and other bits.
    Bf16,
}

/// How many values a key takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyKind {
    /// One.
    Value,
    /// None, for true.
    Switch,
    /// One or more.
    List,
}

/// The name of a setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// As in `run.toml`.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// How many values it takes.
    pub kind: KeyKind,
}

/// What an evaluation is judged by: for the best one, and for an early end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EvalMetric {
    /// The held-out data's mean negative log-likelihood per target token (`loss`); lower is better.
    #[default]
    Loss,
    /// Share of answers that equal the right one, white space aside (`exact_match`).
    ExactMatch,
    /// Share of answers that equal the right one, letter case and a final full stop aside, too (`lenient_match`).
    LenientMatch,
    /// Mean overlap of the answers' words with those of the right ones (`f1`).
    F1,
}

impl EvalMetric {
    /// As in `run.toml`.
    pub fn name(self) -> &'static str {
        self.key().trim_start_matches("eval_")
    }

    /// As in the log.
    pub fn key(self) -> &'static str {
        match self {
            EvalMetric::Loss => "eval_loss",
            EvalMetric::ExactMatch => "eval_exact_match",
            EvalMetric::LenientMatch => "eval_lenient_match",
            EvalMetric::F1 => "eval_f1",
        }
    }

    /// Whether a higher number is a better one.
    pub fn higher_is_better(self) -> bool {
        self != EvalMetric::Loss
    }
}
