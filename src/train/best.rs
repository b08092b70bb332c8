//! How a run's evaluations go: the best so far, which may be kept, and how long ago it was, which may end the run.

use serde_json::{Map, Value, json};

use super::ranks::Mail;
use super::run::Run;
use super::settings::Settings;
use super::{LogRecord, results};
use crate::Result;
use crate::device::Pending;
use crate::io::atomic_folder::FolderWriter;

/// The folder of what the best evaluation saw, within the run's.
pub(super) const BEST: &str = "best";
/// What is said of it there.
const STATE: &str = "best.json";

/// A number, and the step that it was evaluated after.
type At = (u64, f64);

/// The evaluations so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Evaluations {
    best: Option<At>,
    /// The last one that improved by more than `min_delta` on the one before that did.
    mark: Option<At>,
    /// Evaluations since then.
    since: u64,
    /// The step of the newest.
    newest: u64,
}

impl Evaluations {
    /// Takes the next evaluation's number; whether it is the best so far. One that is not finite is never better than another.
    pub(super) fn observe(&mut self, settings: &Settings, step: u64, value: f64) -> bool {
        let gain = |(_, before): At| match settings.eval_metric.higher_is_better() {
            true => value - before,
            false => before - value,
        };
        let improves = |before: Option<At>, by: f64| value.is_finite() && before.is_none_or(|at| gain(at) > by);
        let better = improves(self.best, 0.0);
        if better {
            self.best = Some((step, value));
        }
        self.newest = step;
        self.since += 1;
        if improves(self.mark, settings.min_delta) {
            (self.mark, self.since) = (Some((step, value)), 0);
        }
        better
    }

    /// The best so far.
    pub(super) fn best(&self) -> Option<At> {
        self.best
    }

    /// Forgets the best, but not how long the run has waited for a better one.
    fn forget_best(&mut self) {
        self.best = None;
    }

    /// Why the run is at its end, if it is.
    pub(super) fn stopped(&self, settings: &Settings) -> Option<String> {
        if settings.patience == 0 || self.since < settings.patience {
            return None;
        }
        let (key, evaluations) = (settings.eval_metric.key(), self.since);
        let by = if settings.min_delta > 0.0 { format!(" by more than {}", settings.min_delta) } else { String::new() };
        Some(match self.mark {
            Some((step, value)) => {
                format!("{key} has not improved{by} in {evaluations} evaluations since step {step} ({value})")
            }
            None => format!("{key} has been no finite number in {evaluations} evaluations"),
        })
    }

    /// As [`Self::stopped`], if it is because of the evaluation after `step`.
    pub(super) fn stopped_after(&self, settings: &Settings, step: u64) -> Option<String> {
        self.stopped(settings).filter(|_| self.newest == step)
    }

    /// As a checkpoint keeps them; `of` is what they can be compared by.
    fn to_json(&self, of: &[String]) -> Value {
        json!({"of": of, "best": self.best, "mark": self.mark, "since": self.since, "newest": self.newest})
    }

    /// From a checkpoint; anew where what was evaluated then cannot be compared with what is now.
    fn from_json(value: &Value, of: &[String]) -> Evaluations {
        let at = |name: &str| {
            let pair = value.get(name)?.as_array()?;
            Some((pair.first()?.as_u64()?, pair.get(1)?.as_f64()?))
        };
        let number = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
        if value.get("of") != Some(&json!(of)) {
            if value.get("best").is_some_and(|best| !best.is_null()) {
                log::warn!("evaluations were of other data, or by another measure: the best is looked for anew");
            }
            return Evaluations::default();
        }
        Evaluations { best: at("best"), mark: at("mark"), since: number("since"), newest: number("newest") }
    }
}

impl Run {
    /// The step of the best evaluation so far and its number, by `eval_metric`; `None` before there was one.
    pub fn best(&self) -> Option<(u64, f64)> {
        self.evaluations.best()
    }

    /// Why the run ended before its last step, if it did: for want of an improvement, see the setting `patience`.
    pub fn stopped_early(&self) -> Option<String> {
        self.evaluations.stopped(&self.settings).filter(|_| self.step() < self.total())
    }

    /// What numbers of evaluations depend on besides the model.
    fn evaluated(&self) -> Vec<String> {
        let (samples, s) = (self.held_out.as_ref().map_or(0, |held_out| held_out.samples().len()), &self.settings);
        let counts = [samples, s.eval_generate, if s.eval_generate > 0 { s.eval_max_tokens } else { 0 }];
        std::iter::once(s.eval_metric.name().to_owned()).chain(counts.map(|n| n.to_string())).collect()
    }

    /// What a checkpoint keeps of the evaluations.
    pub(super) fn evaluations_to_json(&self) -> Value {
        self.evaluations.to_json(&self.evaluated())
    }

    /// Goes on from what a checkpoint kept, on all ranks as rank 0 does: it alone knows what is evaluated, and an early end must be one for all.
    ///
    /// # Errors
    /// That of another rank.
    pub(super) fn restore_evaluations(&mut self, kept: Option<&Value>) -> Result<()> {
        let ranks = self.ranks.clone();
        let told = ranks.broadcast((Mail::Evaluations, 0), "at the start", || {
            self.restore_own_evaluations(kept);
            Ok(self.evaluations.to_json(&[]).to_string().into_bytes())
        })?;
        if !ranks.is_root() {
            self.evaluations = Evaluations::from_json(&serde_json::from_slice(&told).unwrap_or_default(), &[]);
        }
        Ok(())
    }

    fn restore_own_evaluations(&mut self, kept: Option<&Value>) {
        self.evaluations =
            kept.map_or_else(Evaluations::default, |kept| Evaluations::from_json(kept, &self.evaluated()));
        if self.settings.keep_best && self.best().is_some() && !self.settings.out.join(BEST).is_dir() {
            log::warn!("the best evaluation so far was not kept: the best is looked for anew");
            self.evaluations.forget_best();
        }
    }

    /// Begins to write what the evaluation of `record` saw as the best: a tensor each time that the device has been polled. It takes the place
    /// of the one before when it is whole.
    pub(super) fn keep_best(&self, record: &LogRecord) -> Pending<()> {
        let (device, model, settings) = (self.device.clone(), self.trainer.model.clone(), self.settings.clone());
        let numbers = record.more.iter().filter(|(name, _)| name.starts_with("eval_"));
        let numbers: Map<String, Value> = numbers.map(|(name, x)| ((*name).to_owned(), json!(x))).collect();
        let value = self.best().map(|(_, value)| value);
        let state =
            json!({"step": record.step, "metric": settings.eval_metric.key(), "value": value, "evaluation": numbers});
        Pending::new(async move {
            let folder = FolderWriter::create(&settings.out.join(BEST), true)?;
            results::write(&device, &model, &settings, folder.place()).await?;
            folder.write(STATE, format!("{state:#}\n").as_bytes())?;
            folder.publish()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::{EvalMetric, Stage};
    use super::*;

    fn settings(metric: EvalMetric, patience: u64, min_delta: f64) -> Settings {
        Settings::new(Stage::Two).eval_metric(metric).patience(patience).min_delta(min_delta)
    }

    /// The steps that were better than all before, and the one after which it was enough.
    fn course(settings: &Settings, values: &[f64]) -> (Vec<u64>, Option<u64>) {
        let (mut evaluations, mut better, mut end) = (Evaluations::default(), Vec::new(), None);
        for (step, value) in (1..).zip(values) {
            if evaluations.observe(settings, step, *value) {
                better.push(step);
            }
            if end.is_none() && evaluations.stopped_after(settings, step).is_some() {
                end = Some(step);
            }
        }
        (better, end)
    }

    #[test]
    fn losses_fall_and_answers_rise() {
        let values = [3.0, 2.0, 2.5, 2.0, 1.9, 2.2, 2.1];
        let negative = values.map(|x| -x);
        let (loss, f1) = (settings(EvalMetric::Loss, 2, 0.0), settings(EvalMetric::F1, 2, 0.0));
        assert_eq!(course(&loss, &values), (vec![1, 2, 5], Some(4)));
        assert_eq!(course(&f1, &negative), (vec![1, 2, 5], Some(4)));
        assert_eq!(course(&f1, &values), (vec![1], Some(3)));
        assert_eq!(course(&settings(EvalMetric::Loss, 0, 0.0), &values).1, None);
        assert_eq!(course(&settings(EvalMetric::Loss, 3, 0.0), &values).1, None);
    }

    /// Small steps add up to one that counts; each is better than the one before all the same.
    #[test]
    fn small_improvements_count_together() {
        let creeping: Vec<f64> = (0..12).map(|i| 2.0 - 0.04 * f64::from(i)).collect();
        let (better, end) = course(&settings(EvalMetric::Loss, 3, 0.1), &creeping);
        assert_eq!((better.len(), end), (12, None));
        assert_eq!(course(&settings(EvalMetric::Loss, 2, 0.1), &creeping).1, Some(3));
        let nan = [f64::NAN, f64::NAN, 1.0];
        assert_eq!(course(&settings(EvalMetric::Loss, 2, 0.0), &nan), (vec![3], Some(2)));
        assert_eq!(course(&settings(EvalMetric::Loss, 2, 0.0), &[1.0, f64::NAN, f64::NAN]), (vec![1], Some(3)));
    }

    #[test]
    fn what_is_kept_comes_back_unless_it_is_of_something_else() {
        let settings = settings(EvalMetric::Loss, 9, 0.1);
        let mut evaluations = Evaluations::default();
        for (x, step) in [0.3, 0.1 + 0.2, 0.25].into_iter().zip(1..) {
            evaluations.observe(&settings, step, x);
        }
        let of = ["loss".to_owned()];
        let text = evaluations.to_json(&of).to_string();
        let kept: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(Evaluations::from_json(&kept, &of), evaluations);
        assert_eq!((evaluations.best, evaluations.mark, evaluations.since), (Some((3, 0.25)), Some((1, 0.3)), 2));
        assert_eq!(Evaluations::from_json(&kept, &["f1".to_owned()]), Evaluations::default());
    }
}
