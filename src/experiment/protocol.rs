//! The experiment from beginning to end: dual encoder, statistics, stage 1 for each aligner, what it says of real images,
//! stage 2 on few and on many of them [spec 6, 7; paper sections 5 and 6].

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::arm::{Arm, Domain, Texts};
use super::attributes::Attributes;
use super::digits::{Digits, Parts};
use super::encoder::{EncoderSettings, EncoderStep, train_dual_encoder};
use super::files::{FileOptions, text_id, write_digits, write_embeddings};
use super::language_model::{TinyDecoder, warm_up_samples};
use super::monitor::{Monitor, MonitorOptions};
use super::pairs::DigitPairs;
use super::random::{Random, Stream};
use super::record::Record;
use super::vocabulary::Vocabulary;
use super::words::Length;
use super::{evaluation, words};
use crate::align::fit;
use crate::device::Device;
use crate::io::write_atomically;
use crate::stats::MemoryRows;
use crate::train::{PretrainOptions, pretrain};
use crate::{Error, Result};

/// Captions of each image for the row that trains on pairs.
const CAPTIONS_PER_IMAGE: usize = 12;

/// Sizes and rates. The default is the demo's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProtocolSettings {
    /// What everything depends on.
    pub seed: u64,
    /// How the images are dealt.
    pub parts: Parts,
    /// Texts of the unpaired pool.
    pub texts: usize,
    /// Whether they have filler, and with them all captions and what the language model learns from.
    pub length: Length,
    /// The dual encoder.
    pub encoder: EncoderSettings,
    /// The language model.
    pub decoder: TinyDecoder,
    /// Its own training.
    pub pretrain: PretrainOptions,
    /// Steps, batch size and rate of stage 1.
    pub stage1: Training,
    /// Of stage 2.
    pub stage2: Training,
    /// Held-out images that are asked about.
    pub asked: usize,
}

/// One stage's training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Training {
    /// Optimiser steps.
    pub steps: u64,
    /// Samples of a step.
    pub batch_size: usize,
    /// Learning rate after the warm-up.
    pub lr: f64,
}

impl Default for ProtocolSettings {
    fn default() -> Self {
        ProtocolSettings {
            seed: 0,
            parts: Parts::default(),
            texts: 20_000,
            length: Length::Short,
            encoder: EncoderSettings::default(),
            decoder: TinyDecoder::default(),
            pretrain: PretrainOptions::default(),
            stage1: Training { steps: 600, batch_size: 64, lr: 2e-3 },
            stage2: Training { steps: 120, batch_size: 16, lr: 5e-4 },
            asked: 200,
        }
    }
}

impl ProtocolSettings {
    /// The default for a seed.
    pub fn of_seed(seed: u64) -> Self {
        ProtocolSettings { seed, ..Default::default() }
    }

    /// A tenth of the steps for a seed: a try-out whose numbers mean little.
    pub fn quick(seed: u64) -> Self {
        let mut settings = Self::of_seed(seed);
        settings.encoder.steps /= 10;
        settings.pretrain.steps /= 10;
        settings.stage1.steps /= 10;
        settings.stage2.steps /= 10;
        (settings.texts, settings.asked) = (2_000, 20);
        settings
    }
}

/// Where an experiment is, for a progress line. Returning an error stops it.
pub type Watch<'a> = dyn FnMut(Progress<'_>) -> Result<()> + 'a;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress<'a> {
    /// In words.
    pub task: &'a str,
    /// Units done.
    pub done: u64,
    /// Of so many.
    pub total: u64,
    /// The loss, where something trains.
    pub loss: Option<f64>,
    /// What the monitor just measured, if it did.
    pub record: Option<&'a Record>,
}

/// What all rows of an experiment share: files in its folder, and the monitor's records.
#[derive(Debug)]
pub struct Materials {
    /// The folder.
    pub folder: PathBuf,
    /// The settings.
    pub settings: ProtocolSettings,
    /// The images and their parts.
    pub digits: Digits,
    /// What the monitor saw.
    pub records: Vec<Record>,
    /// Embeddings of all images, `[n, width]`.
    pub images: Vec<f32>,
    /// The unpaired texts, and what they say.
    pub said: Vec<(String, Attributes)>,
    /// Embeddings of the unpaired texts, `[m, width]`.
    pub texts: Vec<f32>,
    /// Share of held-out images whose own caption is the nearest of all.
    pub retrieval: f64,
    /// Loss of the language model's last steps.
    pub language_loss: f64,
    /// Held while a file is made that several rows share: rows may run side by side.
    pub(super) shared_file: Mutex<()>,
}

impl Materials {
    /// Makes everything that the rows share, in the folder `out`.
    ///
    /// # Errors
    /// The folder exists and is not empty; settings out of range; what `watch`, the disk or the device say.
    pub fn prepare(device: &Device, out: &Path, settings: ProtocolSettings, watch: &mut Watch<'_>) -> Result<Self> {
        crate::io::url::create_folders(out)?;
        let mut entries = std::fs::read_dir(out).map_err(Error::io("list", out))?;
        if entries.next().is_some() {
            return Err(Error::OutputExists(out.to_path_buf()));
        }
        let digits = Digits::new(settings.parts, settings.seed)?;
        let files = FileOptions { texts: settings.texts, length: settings.length, force: false };
        write_digits(&out.join("data"), &digits, files)?;
        let said = digits.texts(settings.texts, settings.length);
        let mut materials = Materials {
            folder: out.to_path_buf(),
            settings,
            digits,
            records: Vec::new(),
            images: Vec::new(),
            said,
            texts: Vec::new(),
            retrieval: 0.0,
            language_loss: f64::NAN,
            shared_file: Mutex::new(()),
        };
        materials.encode(device, watch)?;
        materials.write_paired()?;
        evaluation::write(&materials)?;
        materials.teach(device, watch)?;
        Ok(materials)
    }

    /// A file of the folder.
    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Width of the embeddings.
    pub fn width(&self) -> usize {
        self.settings.encoder.width
    }

    /// Embeddings of some images, `[n, width]`.
    pub fn images_of(&self, images: &[usize]) -> Vec<f32> {
        let width = self.width();
        let rows = images.iter().filter_map(|&i| self.images.get(i * width..(i + 1) * width));
        rows.flatten().copied().collect()
    }

    /// Trains the dual encoder and embeds everything.
    fn encode(&mut self, device: &Device, watch: &mut Watch<'_>) -> Result<()> {
        let settings = EncoderSettings { seed: self.settings.seed, ..self.settings.encoder };
        let pairs = DigitPairs::new(&self.digits, self.settings.length);
        let probe = pairs.probe();
        let freeze_at = settings.steps / 2;
        let options = MonitorOptions { freeze_at, ..Default::default() };
        let mut monitor = Monitor::new(settings.width, options)?.on(device);
        monitor = monitor.logged(&self.folder.join("monitor.jsonl"), false)?;
        let mut on_step = |s: EncoderStep<'_>| {
            let (done, total, loss, record) = (s.step, s.steps, Some(s.loss), s.record);
            watch(Progress { task: "dual encoder", done, total, loss, record })
        };
        let trained = train_dual_encoder(device, &pairs, Some((&probe, &mut monitor)), &settings, &mut on_step)?;
        let vocabulary = Vocabulary::of_digits();
        self.images = trained.images(self.digits.pixels())?;
        let ids: Vec<Vec<u32>> = self.said.iter().map(|(text, _)| vocabulary.encode(text)).collect();
        self.texts = trained.texts(&ids)?;
        let test = self.digits.split().test.clone();
        let captions = test.iter().map(|&i| vocabulary.encode(&self.digits.caption(i, self.settings.length)));
        let captions = trained.texts(&captions.collect::<Vec<_>>())?;
        self.retrieval = retrieval(&self.images_of(&test), &captions, settings.width);
        self.records = monitor.records().to_vec();
        let all: Vec<String> = (0..self.digits.len()).map(Digits::id).collect();
        write_embeddings(&self.at("images"), &self.images, &all, false)?;
        let names: Vec<String> = (0..self.said.len()).map(text_id).collect();
        write_embeddings(&self.at("texts"), &self.texts, &names, false)
    }

    /// Captions of the dual encoder's images, several of each, under the images' ids: what paired training reads.
    fn write_paired(&self) -> Result<()> {
        let mut random = Random::of(self.settings.seed, Stream::Paired);
        let mut lines = String::new();
        for &image in &self.digits.split().pairs {
            for _ in 0..CAPTIONS_PER_IMAGE {
                let text = words::caption(&self.digits.attributes()[image], self.settings.length, &mut random);
                let record = serde_json::json!({"id": Digits::id(image), "text": text});
                lines.push_str(&format!("{record}\n"));
            }
        }
        write_atomically(&self.at("paired.jsonl"), false, lines.as_bytes())
    }

    /// Trains the language model on texts.
    fn teach(&mut self, device: &Device, watch: &mut Watch<'_>) -> Result<()> {
        let vocabulary = Vocabulary::of_digits();
        let seed = self.settings.seed;
        let initial = self.at("initial");
        TinyDecoder { seed, ..self.settings.decoder }.write(&initial, &vocabulary, false)?;
        let options = PretrainOptions { seed, ..self.settings.pretrain };
        let samples =
            warm_up_samples(&vocabulary, options.steps as usize * options.batch_size, self.settings.length, seed);
        // Single steps say less than the last tenth's mean.
        let mut recent = Vec::new();
        let mut on_step = |done, loss| {
            recent.push(loss);
            watch(Progress { task: "language model", done, total: options.steps, loss: Some(loss), record: None })
        };
        pretrain(device, (&initial, &self.at("language-model")), &samples, &options, &mut on_step)?;
        let tail = &recent[recent.len() - (recent.len() / 10).max(1).min(recent.len())..];
        self.language_loss = tail.iter().sum::<f64>() / tail.len() as f64;
        std::fs::remove_dir_all(&initial).map_err(Error::io("remove", &initial))
    }

    /// Fits a row's aligner from the texts to the images' pool, which have no pairs, and writes its statistics.
    ///
    /// # Errors
    /// A row without an aligner; what the fit or the disk say.
    pub fn statistics(&self, device: &Device, arm: &Arm) -> Result<PathBuf> {
        let Some(options) = arm.fit_options(self.settings.seed) else {
            return Err(Error::argument("statistics", format!("{} has no aligner", arm.name())));
        };
        let path = self.at(&format!("statistics-{}.safetensors", arm.noisy(0.0).slug()));
        let _making = self.shared_file.lock().unwrap_or_else(PoisonError::into_inner);
        if path.exists() {
            return Ok(path);
        }
        let (texts, images) = (self.texts_of(arm), self.pool_of(arm.domain));
        let mut source = MemoryRows::f32("texts", &texts, self.width())?;
        let mut target = MemoryRows::f32("images", &images, self.width())?;
        fit(device, &mut source, &mut target, &options)?.save(&path, false)?;
        Ok(path)
    }

    /// Which of the unpaired texts a row's stage 1 reads.
    fn uses(&self, texts: Texts) -> impl Iterator<Item = usize> + '_ {
        let count = self.said.len();
        self.said.iter().enumerate().filter(move |(i, (text, _))| texts.has((*i, count), text)).map(|(i, _)| i)
    }

    /// The file with the texts that a row's stage 1 reads: `{id, text}`.
    pub(super) fn texts_file(&self, texts: Texts) -> Result<PathBuf> {
        if texts == Texts::All {
            return Ok(self.at("data/texts.jsonl"));
        }
        let path = self.at(&format!("{}.jsonl", texts.name().replace(' ', "-")));
        let _making = self.shared_file.lock().unwrap_or_else(PoisonError::into_inner);
        if !path.exists() {
            let line = |i: usize| format!("{}\n", json!({"id": text_id(i), "text": self.said[i].0}));
            write_atomically(&path, false, self.uses(texts).map(line).collect::<String>().as_bytes())?;
        }
        Ok(path)
    }

    /// Embeddings of the unpaired texts that a row's statistics come from, `[n, width]`.
    pub fn texts_of(&self, arm: &Arm) -> Vec<f32> {
        let own = self.uses(arm.texts).filter(|&i| arm.domain.has(&self.said[i].1));
        own.flat_map(|i| &self.texts[i * self.width()..(i + 1) * self.width()]).copied().collect()
    }

    /// Embeddings of the images' pool of a domain, `[n, width]`.
    pub fn pool_of(&self, domain: Domain) -> Vec<f32> {
        let attributes = self.digits.attributes();
        let own: Vec<usize> =
            self.digits.split().pool.iter().copied().filter(|&i| domain.has(&attributes[i])).collect();
        self.images_of(&own)
    }

    /// What the rows share, for results files: the gap, the clouds' traces, how well the encoder and the language model learnt,
    /// the monitor's last record.
    pub fn json(&self) -> Value {
        let last = self.records.last();
        let frozen = self.records.iter().find(|r| r.frozen).map(|r| r.step);
        json!({
            "seed": self.settings.seed, "retrieval": self.retrieval, "language_model_loss": self.language_loss,
            "gap": last.map(|r| r.gap), "trace_image": last.map(|r| r.trace_image),
            "trace_text": last.map(|r| r.trace_text), "frame_frozen_at": frozen, "monitor": last.map(Record::json),
        })
    }
}

/// Share of rows of `a` whose partner in `b` has the largest cosine; rows of unit length.
pub(super) fn retrieval(a: &[f32], b: &[f32], width: usize) -> f64 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
    let nearest = |x: &[f32]| {
        let all = b.chunks_exact(width).map(|y| dot(x, y)).enumerate();
        all.max_by(|x, y| x.1.total_cmp(&y.1)).map(|(i, _)| i)
    };
    let right = a.chunks_exact(width).enumerate().filter(|(i, x)| nearest(x) == Some(*i)).count();
    right as f64 / (a.len() / width).max(1) as f64
}
