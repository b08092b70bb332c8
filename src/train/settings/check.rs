//! What settings may be, and which of them have no effect beside others.

use std::path::Path;

use super::{NoiseShape, Settings, Stage, Trained};
use crate::align::Method;
use crate::error::{Problem, Remedy};
use crate::{ElementType, Error, Result};

impl Settings {
    /// The error of a setting that has no value.
    pub(in crate::train) fn missing(key: &'static str) -> Error {
        Error::argument("setting", Problem::new(format!("{key} is missing")).remedy(Remedy::SetKey { key }))
    }

    /// What is set and has no effect: texts, a line each.
    pub fn ignored(&self) -> Vec<String> {
        let (two, plain) = (self.stage == Stage::Two, Settings::new(self.stage));
        let lora = self.train == Trained::Lora;
        let stage_two = "stage 2 takes image embeddings as they are";
        let list = [
            ("stats", two && self.stats.is_some(), stage_two),
            ("aligner", two && self.aligner.is_some(), stage_two),
            ("images_root", self.vision_model.is_none() && self.images_root.is_some(), "there is no vision_model"),
            ("cache", self.encoder().is_none() && self.cache.is_some(), "embeddings are given, and none is computed"),
            (
                "noise_images",
                self.noise_shape != NoiseShape::Covariance && !self.noise_images.is_empty(),
                "only noise of noise_shape = \"covariance\" has a use for it",
            ),
            ("eval_embeddings", self.eval_data.is_none() && !self.eval_embeddings.is_empty(), "there is no eval_data"),
            (
                "master_weights",
                self.train != Trained::All && self.master_weights != ElementType::F32,
                "the decoder is frozen, and weights says how it is kept",
            ),
            (
                "export_dtype",
                (self.train == Trained::Adapter || (self.train == Trained::Lora && !self.merge_lora))
                    && self.export_dtype.is_some(),
                "a frozen decoder is not written, unless low-rank additions are merged into it (merge_lora)",
            ),
            (
                "batch_size",
                self.batch_tokens.is_some() && self.batch_size != plain.batch_size,
                "batch_tokens says what a batch holds",
            ),
            ("merge_lora", self.merge_lora && self.train != Trained::Lora, "there are no low-rank additions"),
            (
                "lora_rank and lora_alpha",
                self.init_lora.is_some() && (self.lora_rank, self.lora_alpha) != (plain.lora_rank, plain.lora_alpha),
                "init_lora brings its own",
            ),
            ("lora_targets", self.init_lora.is_some() && !self.lora_targets.is_empty(), "init_lora brings its own"),
            ("lora_targets", !lora && !self.lora_targets.is_empty(), "there are no low-rank additions"),
            ("lora_dropout", !lora && self.lora_dropout.is_some(), "there are no low-rank additions"),
            ("init_lora", self.init_lora.is_some() && self.train != Trained::Lora, "there are no low-rank additions"),
        ];
        let told = list.into_iter().chain(self.ignored_of_evaluation()).filter(|(_, ignored, _)| *ignored);
        told.map(|(key, _, why)| format!("{key} is ignored: {why}")).collect()
    }

    /// What is possible and rarely meant: texts, a line each.
    pub fn hints(&self) -> Vec<String> {
        let slow = self.train == Trained::Lora && self.lr <= Settings::new(self.stage).lr;
        let text = format!(
            "lr is {}, a rate for all parameters; low-rank additions are mostly trained at 1e-4 to 2e-4",
            self.lr
        );
        slow.then_some(text).into_iter().collect()
    }

    /// Checks that values are possible and the files that the stage needs are named.
    ///
    /// # Errors
    /// The first that is not, by its key.
    pub fn validate(&self) -> Result<()> {
        self.check_sources()?;
        let needed = [
            ("model", self.model.as_os_str().is_empty()),
            ("data", self.data.as_os_str().is_empty()),
            ("embeddings", self.embeddings.is_empty() && self.encoder().is_none()),
            ("out", self.out.as_os_str().is_empty()),
        ];
        if let Some((key, _)) = needed.into_iter().find(|(_, missing)| *missing) {
            return Err(Settings::missing(key));
        }
        self.check_values()?;
        let aligned = self.stage == Stage::One && self.aligner != Some(Method::None);
        if aligned && self.stats.is_none() {
            let problem = "stage 1 aligns text embeddings; name the statistics or set aligner = \"none\"";
            return Err(Error::argument("setting", format!("stats: {problem}")));
        }
        Ok(())
    }

    /// The encoder that makes the embeddings, where they are not given.
    pub(in crate::train) fn encoder(&self) -> Option<&Path> {
        match self.stage {
            Stage::One => self.text_model.as_deref(),
            Stage::Two => self.vision_model.as_deref(),
        }
    }

    /// Checks that embeddings come from one place.
    fn check_sources(&self) -> Result<()> {
        let problem = match (self.stage, &self.vision_model, &self.text_model) {
            (Stage::One, Some(_), _) => "vision_model: stage 1 learns from texts; name their encoder, text_model",
            (Stage::Two, _, Some(_)) => "text_model: stage 2 learns from pictures; name their encoder, vision_model",
            _ if self.encoder().is_some() && !self.embeddings.is_empty() => {
                "embeddings: an encoder is named, which makes them; leave out one of both"
            }
            _ if self.encoder().is_some() => {
                let places = [
                    ("ids", self.ids.is_some()),
                    ("key", self.key.is_some()),
                    ("column", self.column.is_some()),
                    ("id_column", self.id_column.is_some()),
                ];
                return match places.into_iter().find(|(_, set)| *set) {
                    None => Ok(()),
                    Some((key, _)) => {
                        let problem = "says where embeddings are, and an encoder makes them; leave out one of both";
                        Err(Error::argument("setting", format!("{key}: {problem}")))
                    }
                };
            }
            _ => return Ok(()),
        };
        Err(Error::argument("setting", problem))
    }

    /// Checks that values are possible, whatever files are named.
    ///
    /// # Errors
    /// The first that is not, by its key.
    pub(in crate::train) fn check_values(&self) -> Result<()> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let at_least_0 = |x: f64| x.is_finite() && x >= 0.0;
        let checks = [
            ("adapter_tokens", self.adapter_tokens >= 1, "at least 1 is needed"),
            (
                "visual_tokens",
                self.visual_tokens >= self.adapter_tokens.max(1),
                "at least 1 is needed, and as many as the adapter makes (adapter_tokens)",
            ),
            (
                "max_length",
                self.max_length >= self.visual_tokens.saturating_add(2),
                "leaves no room for text beside the visual tokens",
            ),
            ("epochs", positive(self.epochs), "a number above 0 is needed"),
            ("max_steps", self.max_steps != Some(0), "at least 1 is needed"),
            ("batch_size", self.batch_size >= 1, "at least 1 is needed"),
            ("batch_tokens", self.batch_tokens != Some(0), "at least 1 is needed"),
            ("accumulate", self.accumulate >= 1, "at least 1 is needed"),
            ("ranks", self.ranks != Some(0), "at least 1 is needed"),
            ("window", self.window >= 1, "at least 1 is needed"),
            ("lr", positive(self.lr), "a number above 0 is needed"),
            ("projector_lr", self.projector_lr.is_none_or(positive), "a number above 0 is needed"),
            ("warmup_ratio", (0.0..=1.0).contains(&self.warmup_ratio), "a number from 0 to 1 is needed"),
            ("weight_decay", at_least_0(self.weight_decay), "a number of at least 0 is needed"),
            ("beta1", (0.0..1.0).contains(&self.beta1), "a number from 0 to below 1 is needed"),
            ("beta2", (0.0..1.0).contains(&self.beta2), "a number from 0 to below 1 is needed"),
            ("eps", positive(self.eps), "a number above 0 is needed"),
            ("clip", at_least_0(self.clip), "a number of at least 0 is needed"),
            ("noise", at_least_0(self.noise), "a number of at least 0 is needed"),
            (
                "noise_shape",
                self.noise == 0.0 || self.noise_shape == NoiseShape::Isotropic || !self.noise_images.is_empty(),
                "the covariance is that of image embeddings; name them with noise_images",
            ),
            ("train", self.stage == Stage::Two || self.train == Trained::Adapter, "stage 1 trains the adapter alone"),
            ("lora_rank", self.lora_rank >= 1, "at least 1 is needed"),
            ("lora_alpha", positive(self.lora_alpha), "a number above 0 is needed"),
            (
                "lora_dropout",
                self.lora_dropout.is_none_or(|p| (0.0..1.0).contains(&p)),
                "a number from 0 to below 1 is needed",
            ),
            (
                "weights",
                self.train != Trained::All || matches!(self.weights, None | Some(ElementType::F32)),
                "is for a frozen decoder; leave it out (master_weights says how one that trains is kept), or train the adapter or \
                 low-rank additions",
            ),
            (
                "master_weights",
                matches!(self.master_weights, ElementType::F32 | ElementType::BF16),
                "f32 or bf16 is needed",
            ),
            (
                "export_dtype",
                matches!(self.export_dtype, None | Some(ElementType::F32 | ElementType::F16 | ElementType::BF16)),
                "f32, f16 or bf16 is needed",
            ),
            ("log_every", self.log_every >= 1, "at least 1 is needed"),
            ("keep", self.keep >= 1, "at least 1 is needed"),
        ];
        match checks.iter().chain(&self.checks_of_evaluation()).find(|(_, holds, _)| !holds) {
            None => Ok(()),
            Some((key, _, problem)) => Err(Error::argument("setting", format!("{key}: {problem}"))),
        }
    }
}
