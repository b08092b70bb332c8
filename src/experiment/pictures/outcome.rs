//! What a row came to.

use serde_json::{Value, json};

use crate::experiment::arm::Arm;
use crate::experiment::evaluation::Fitted;
use crate::inference::{Accuracy, Evaluation};

/// How good captions of the held-out pictures are, after stage 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CaptionScores {
    /// Mean negative log-likelihood per token of their own captions.
    pub nll: f64,
    /// Those that are one of the picture's own captions, letter case and a final full stop aside.
    pub right: Accuracy,
    /// Mean overlap of words with one of the picture's own captions: [`Marks::f1`](crate::inference::Marks::f1).
    pub f1: f64,
}

/// A caption that was made for a held-out picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The picture's name.
    pub picture: String,
    /// What the model said.
    pub caption: String,
    /// The first of the picture's own captions.
    pub own: String,
}

/// Answers before stage 2, or after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// Conversations that stage 2 had; 0 before it.
    pub conversations: usize,
    /// The outcome, by type of question.
    pub evaluation: Evaluation,
}

/// What a row came to.
#[derive(Clone, Debug, PartialEq)]
pub struct PictureOutcome {
    /// The row.
    pub arm: Arm,
    /// What its aligner was fitted to; `None` without one.
    pub fitted: Option<Fitted>,
    /// Distance of the aligned captions' mean from that of the held-out pictures, and the aligned captions' trace; `None` without an aligner.
    pub aligned: Option<(f64, f64)>,
    /// Stage 1's last loss; `None` without stage 1.
    pub stage1_loss: Option<f64>,
    /// How good its captions are.
    pub captions: CaptionScores,
    /// The first few of them.
    pub said: Vec<Said>,
    /// Answers before and after stage 2; none where there are no conversations.
    pub answers: Vec<Answered>,
    /// How long it took.
    pub seconds: f64,
}

impl PictureOutcome {
    /// For results files.
    pub fn json(&self) -> Value {
        let share = |a: Accuracy| {
            let (low, high) = a.interval();
            json!({ "accuracy": a.share(), "ci_low": low, "ci_high": high, "count": a.count })
        };
        let answers = self.answers.iter().map(|answered| {
            let mut value = share(answered.evaluation.overall);
            value["conversations"] = json!(answered.conversations);
            value["f1"] = json!(answered.evaluation.f1());
            let types = answered.evaluation.types.iter().map(|(name, a)| (name.clone(), share(*a)));
            value["types"] = Value::Object(types.collect());
            value
        });
        let mut captions = share(self.captions.right);
        captions["nll"] = json!(self.captions.nll);
        captions["f1"] = json!(self.captions.f1);
        let said = self.said.iter().map(|s| json!({"picture": s.picture, "caption": s.caption, "own": s.own}));
        json!({
            "name": self.arm.name(), "noise": self.arm.noise, "statistics": self.fitted.map(Fitted::json),
            "aligned": self.aligned.map(|(gap, trace)| json!({"gap_held_out": gap, "trace": trace})),
            "stage1_loss": self.stage1_loss, "captions": captions, "said": said.collect::<Vec<_>>(),
            "answers": answers.collect::<Vec<_>>(), "seconds": self.seconds,
        })
    }
}
