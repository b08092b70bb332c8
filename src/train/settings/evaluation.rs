//! What settings of evaluations must agree in.

use super::{EvalMetric, Settings};

impl Settings {
    /// Keys, whether their values are possible, and what is wrong if not.
    pub(super) fn checks_of_evaluation(&self) -> [(&'static str, bool, &'static str); 6] {
        let held_out = self.eval_data.is_some();
        let wanted = "there is nothing to evaluate; name held-out data with eval_data";
        [
            ("eval_generate", held_out || self.eval_generate == 0, wanted),
            ("keep_best", held_out || !self.keep_best, wanted),
            ("patience", held_out || self.patience == 0, wanted),
            (
                "eval_metric",
                self.eval_metric == EvalMetric::Loss || self.eval_generate > 0,
                "is one of answers; say with eval_generate how many records are to be answered, or choose loss",
            ),
            ("eval_max_tokens", self.eval_max_tokens >= 1, "at least 1 is needed"),
            ("min_delta", self.min_delta.is_finite() && self.min_delta >= 0.0, "a number of at least 0 is needed"),
        ]
    }

    /// Keys, whether they are set without effect, and why.
    pub(super) fn ignored_of_evaluation(&self) -> [(&'static str, bool, &'static str); 3] {
        [
            ("eval_metric", self.eval_data.is_none() && self.eval_metric != EvalMetric::Loss, "there is no eval_data"),
            (
                "patience",
                self.patience > 0 && self.eval_every == 0,
                "evaluations come at the end only (eval_every is 0)",
            ),
            ("min_delta", self.patience == 0 && self.min_delta != 0.0, "no patience is set"),
        ]
    }
}
