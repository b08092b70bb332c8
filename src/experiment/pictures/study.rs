//! The study of a folder of pictures: rows by seeds, kept as they come.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use super::collection::Collection;
use super::encoders::{Embedder, Towers};
use super::materials::PictureMaterials;
use super::outcome::PictureOutcome;
use super::parts::PictureParts;
use super::results::{PictureResults, fingerprint_of};
use super::row::run_row;
use crate::align::{Method, Stages};
use crate::device::Device;
use crate::experiment::arm::{Arm, Source};
use crate::experiment::encoder::EncoderSettings;
use crate::experiment::plan::NOISE;
use crate::experiment::protocol::{Progress, Training};
use crate::experiment::results::claim_folder;
use crate::io::{ChatTemplate, DecoderConfig, EncoderId, Tokenizer};
use crate::train::Start;
use crate::{Error, Result};

/// C3's σ, besides the one that the traces give.
const SIGMA: f64 = 0.05;

/// Sizes and rates of a seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PicturesSettings {
    /// What everything depends on.
    pub seed: u64,
    /// Pixels of a side, as towers that are trained here see pictures.
    pub side: usize,
    /// Training of such towers.
    pub encoder: EncoderSettings,
    /// Steps, batch size and rate of stage 1.
    pub stage1: Training,
    /// Of stage 2.
    pub stage2: Training,
    /// Held-out pictures that are described, and questions that are asked, at the most.
    pub asked: usize,
    /// Different visual tokens of a picture.
    pub visual_tokens: usize,
    /// Rank of stage 2's low-rank additions.
    pub lora_rank: usize,
}

impl Default for PicturesSettings {
    fn default() -> Self {
        PicturesSettings {
            seed: 0,
            side: 32,
            encoder: EncoderSettings::default(),
            stage1: Training { steps: 600, batch_size: 32, lr: 1e-3 },
            stage2: Training { steps: 120, batch_size: 16, lr: 2e-4 },
            asked: 200,
            visual_tokens: 4,
            lora_rank: 16,
        }
    }
}

/// What a study of pictures runs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PicturesOptions {
    /// The folder of pictures: see [`Collection::open`].
    pub images: PathBuf,
    /// The language model's folder or GGUF file.
    pub model: PathBuf,
    /// The folder of the image tower; without it one is trained here.
    pub vision_model: Option<PathBuf>,
    /// The folder of the text encoder; by default that of the image tower, and without both one is trained here.
    pub text_model: Option<PathBuf>,
    /// Seeds 0 to below this.
    pub seeds: u64,
    /// Every aligner, and noise.
    pub full: bool,
    /// A tenth of the steps: a try-out whose numbers mean little.
    pub quick: bool,
    /// Optimiser steps of stage 1, where they are others than the default; stage 2 takes a fifth of them.
    pub steps: Option<u64>,
    /// Held-out pictures that are described, and questions that are asked, where they are others than the default.
    pub asked: Option<usize>,
    /// The folder that keeps what encoders make of pictures and captions; by default `embeddings` in the study's own.
    pub cache: Option<PathBuf>,
    /// What to do about an earlier study in the folder; to resume, its rows are not run again.
    pub start: Start,
}

impl PicturesOptions {
    /// Three seeds of the rows that say most, with towers that are trained here.
    pub fn new(images: impl Into<PathBuf>, model: impl Into<PathBuf>) -> Self {
        PicturesOptions {
            images: images.into(),
            model: model.into(),
            vision_model: None,
            text_model: None,
            seeds: 3,
            full: false,
            quick: false,
            steps: None,
            asked: None,
            cache: None,
            start: Start::New,
        }
    }

    /// The settings of a seed.
    pub fn settings(&self, seed: u64) -> PicturesSettings {
        let mut settings = PicturesSettings { seed, ..Default::default() };
        if self.quick {
            settings.encoder.steps /= 10;
            settings.stage1.steps /= 10;
            settings.stage2.steps /= 10;
            settings.asked = 20;
        }
        if let Some(steps) = self.steps {
            (settings.stage1.steps, settings.stage2.steps) = (steps, (steps / 5).max(1));
        }
        settings.asked = self.asked.unwrap_or(settings.asked);
        settings
    }

    /// What results say was asked for.
    fn head(&self, device: &Device, collection: &Collection, towers: &Towers) -> Result<Value> {
        let settings = self.settings(0);
        let encoder = |path: &Option<PathBuf>| {
            path.as_deref().map(|path| EncoderId::of_model(path).map(|encoder| encoder.hash)).transpose()
        };
        let shown = |path: &Path| path.display().to_string();
        let training = |t: Training| json!({"steps": t.steps, "batch_size": t.batch_size, "lr": t.lr});
        Ok(json!({
            "device": device.name(), "seeds": self.seeds, "full": self.full, "quick": self.quick,
            "images": shown(&self.images), "model": shown(&self.model),
            "vision_model": self.vision_model.as_deref().map(shown),
            "text_model": self.text_model.as_deref().map(shown), "encoders": towers.json(),
            "settings": {
                "stage1": training(settings.stage1), "stage2": training(settings.stage2), "asked": settings.asked,
                "encoder_steps": settings.encoder.steps, "side": settings.side,
                "visual_tokens": settings.visual_tokens, "lora_rank": settings.lora_rank,
            },
            "inputs": {
                "images": collection.fingerprint()?, "model": fingerprint_of(&self.model)?,
                "vision_model": encoder(&self.vision_model)?, "text_model": encoder(&self.text_model)?,
            },
            "asks": collection.asks(),
        }))
    }
}

/// The rows of a study: those that say most, or with `full` every aligner, and some with noise on the adapter's input.
pub fn pictures_plan(full: bool) -> Vec<Arm> {
    let [untrained, paired] = [Source::Untrained, Source::Paired].map(Arm::new);
    let [none, realign, c3] = [Method::None, Method::ReAlign, Method::C3].map(Arm::aligned);
    if !full {
        return vec![untrained, none, realign, paired];
    }
    let mut arms = vec![untrained, none];
    arms.extend([Method::MeanShift, Method::AnchorTrace].map(Arm::aligned));
    arms.extend([
        realign,
        Arm::aligned(Method::Blockwise),
        Arm::aligned(Method::OptimalTransport),
        Arm::aligned(Method::AnisoAlign),
        Arm::aligned(Method::AnisoAlign).stages(Stages::Full),
        c3,
        c3.sigma(SIGMA),
        paired,
    ]);
    arms.extend([none, realign, paired].map(|arm| arm.noisy(NOISE)));
    arms
}

/// What a study of pictures reports, one at a time.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum PicturesEvent<'a> {
    /// It begins; in the end there will be so many rows.
    Begins {
        /// Rows of all seeds, those of an earlier study included.
        rows: u64,
    },
    /// What a seed's rows share is made.
    Prepared {
        /// The seed.
        seed: u64,
        /// Rows done so far.
        done: u64,
        /// What results keep of it: `gap`, `retrieval` and more.
        shared: &'a Value,
    },
    /// A row is done.
    Row {
        /// The seed.
        seed: u64,
        /// Rows done so far.
        done: u64,
        /// What the row came to.
        outcome: &'a PictureOutcome,
    },
    /// Something goes on.
    Progress(Progress<'a>),
}

/// Called with what a study reports. Returning an error stops it.
pub type PicturesWatch<'a> = dyn FnMut(PicturesEvent<'_>) -> Result<()> + 'a;

/// Runs a study of pictures in a folder of its own, and keeps its results there as they come. Returns what the results file holds.
///
/// # Errors
/// A folder that is no collection's; models that cannot be read or do not fit each other; as [`claim_folder`]; an earlier study of other
/// inputs or settings; what a row, the disk or `watch` say.
pub fn pictures_study(
    device: &Device,
    out: &Path,
    options: &PicturesOptions,
    watch: &mut PicturesWatch<'_>,
) -> Result<Value> {
    if options.settings(0).asked == 0 {
        return Err(Error::argument("asked", "0; give at least 1"));
    }
    let collection = Collection::open(&options.images)?;
    for seed in 0..options.seeds {
        PictureParts::deal(&collection, seed)?;
    }
    check_model(&options.model, &collection)?;
    let towers = Towers::open(options.vision_model.as_deref(), options.text_model.as_deref())?;
    let arms = pictures_plan(options.full);
    let mut results = PictureResults::new(out, &arms, options.head(device, &collection, &towers)?);
    if options.start == Start::Resume {
        results.check_resumes()?;
    }
    let (earlier, _lock) = claim_folder(out, options.start)?;
    if earlier {
        results = results.resume()?;
    }
    // What rows are made of is known before there are any.
    results.save(false, 0.0)?;
    watch(PicturesEvent::Begins { rows: options.seeds * arms.len() as u64 })?;
    let folder = out.join("embeddings");
    let cache = options.cache.clone().unwrap_or_else(|| folder.clone());
    let embedder = Embedder::new(device, &collection, towers, (folder, cache));
    let mut study = Study { device, out, options, arms: &arms, results, embedder, start: Instant::now() };
    for seed in 0..options.seeds {
        study.seed(seed, watch)?;
    }
    study.results.save(true, study.start.elapsed().as_secs_f64())
}

/// Whether the language model can be read, and has what conversations need.
fn check_model(model: &Path, collection: &Collection) -> Result<()> {
    let config = DecoderConfig::read(model)?;
    let tokenizer = Tokenizer::open(model)?.fitted_to(config.vocab_size)?;
    if collection.asks() {
        ChatTemplate::open(model, &tokenizer)?;
    }
    Ok(())
}

struct Study<'a> {
    device: &'a Device,
    out: &'a Path,
    options: &'a PicturesOptions,
    arms: &'a [Arm],
    results: PictureResults<'a>,
    embedder: Embedder<'a>,
    start: Instant,
}

impl Study<'_> {
    /// Runs the rows of a seed that have no result yet.
    fn seed(&mut self, seed: u64, watch: &mut PicturesWatch<'_>) -> Result<()> {
        let missing: Vec<usize> = (0..self.arms.len()).filter(|row| !self.results.has(*row, seed)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let (settings, folder) = (self.options.settings(seed), self.out.join(format!("seed-{seed}")));
        // What an earlier, stopped study left is made again: it may be half done.
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(Error::io("remove", &folder))?;
        }
        let mut progress = |p: Progress<'_>| watch(PicturesEvent::Progress(p));
        let collection = self.embedder.collection;
        let parts = PictureParts::deal(collection, seed)?;
        let rows = self.embedder.rows((&parts, &folder), &settings, &mut progress)?;
        let options = self.options;
        let materials = PictureMaterials { folder, model: &options.model, collection, parts, rows, settings };
        materials.write()?;
        let shared = materials.json(self.device)?;
        self.results.prepared(seed, shared.clone());
        self.save()?;
        watch(PicturesEvent::Prepared { seed, done: self.results.len() as u64, shared: &shared })?;
        for row in missing {
            let mut progress = |p: Progress<'_>| watch(PicturesEvent::Progress(p));
            let outcome = run_row(self.device, &materials, self.arms[row], &mut progress)?;
            self.results.add((row, seed), &outcome);
            self.save()?;
            watch(PicturesEvent::Row { seed, done: self.results.len() as u64, outcome: &outcome })?;
        }
        Ok(())
    }

    fn save(&self) -> Result<()> {
        self.results.save(false, self.start.elapsed().as_secs_f64()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rows_of_a_plan_have_names_of_their_own() {
        for full in [false, true] {
            let names: BTreeSet<String> = pictures_plan(full).iter().map(Arm::name).collect();
            let slugs: BTreeSet<String> = pictures_plan(full).iter().map(Arm::slug).collect();
            assert_eq!((names.len(), slugs.len()), (if full { 15 } else { 4 }, if full { 15 } else { 4 }));
        }
    }

    #[test]
    fn sizes_that_are_given_win() {
        let mut options = PicturesOptions::new("pictures", "model");
        assert_eq!(options.settings(3), PicturesSettings { seed: 3, ..Default::default() });
        (options.quick, options.steps, options.asked) = (true, Some(50), Some(7));
        let settings = options.settings(0);
        assert_eq!((settings.stage1.steps, settings.stage2.steps, settings.asked), (50, 10, 7));
        assert_eq!(settings.encoder.steps, 30);
    }
}
