//! One row of the experiment: an adapter trained in one way, and what it is worth on held-out real images.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Instant;

use serde_json::{Value, json};

use super::arm::{Arm, Domain, Source};
use super::attributes::{ATTRIBUTES, Attributes};
use super::clustered::Clustered;
use super::digits::Digits;
use super::distances;
use super::files::questions;
use super::protocol::{Materials, Progress, Training, Watch};
use super::words::{Length, read};
use crate::align::{Method, Statistics};
use crate::device::Device;
use crate::geometry::Frechet;
use crate::inference::{AnswerOptions, Assistant, Evaluation, evaluate, score};
use crate::io::{AdapterKind, AdapterWeights, QuestionOptions, Questions, SampleOptions, write_atomically};
use crate::train::{EmbeddingFiles, Finished, Form, Run, Settings, Stage, Start, VisualInputs, data};
use crate::{Error, Result};

/// Names of the attributes, as types of questions.
pub const ATTRIBUTE_NAMES: [&str; ATTRIBUTES] = ["digit", "strokes", "slant", "width", "height"];
/// Different visual tokens of an image: a decoder as small as this one cannot read all attributes from one.
const VISUAL_TOKENS: usize = 4;
/// Held-out images that are described after each stage 2, to be looked at.
const SHOWN: usize = 12;
/// Most tokens of an answer.
const ANSWER_TOKENS: usize = 4;

/// A caption that was made for a held-out image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The image's number.
    pub image: usize,
    /// What the model said.
    pub caption: String,
    /// Which attributes it got right.
    pub right: [bool; ATTRIBUTES],
}

/// Answers after stage 2 on so many images.
#[derive(Clone, Debug, PartialEq)]
pub struct Instructed {
    /// Real images in stage 2; 0 before it.
    pub images: usize,
    /// The outcome, by attribute; an image's questions stand together, in the order of the held-out images.
    pub evaluation: Evaluation,
    /// Captions of the first few held-out images.
    pub described: Vec<Described>,
}

impl Instructed {
    /// Right answers of all, those about an image taken together.
    pub fn overall(&self) -> Clustered {
        let right: Vec<bool> = self.evaluation.judged.iter().map(|j| j.correct).collect();
        Clustered::of(&right, ATTRIBUTES)
    }
}

/// What a row's aligner was fitted to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fitted {
    /// Trace of the texts' unit rows.
    pub trace_text: f64,
    /// Of the images'.
    pub trace_image: f64,
    /// The scale s that was applied; 1 for methods without it.
    pub scale: f64,
    /// C3's σ.
    pub sigma: Option<f64>,
    /// Distance of the means before.
    pub gap: f64,
    /// Rows of the texts and of the images.
    pub rows: (u64, u64),
}

/// What a row came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The row.
    pub arm: Arm,
    /// What its aligner was fitted to; `None` without one.
    pub fitted: Option<Fitted>,
    /// The squared Fréchet distance of stage 1's clean inputs to the held-out images; `None` without stage 1.
    pub frechet: Option<Frechet>,
    /// Stage 1's last loss; `None` without stage 1.
    pub stage1_loss: Option<f64>,
    /// Mean negative log-likelihood per token of the held-out images' own captions.
    pub caption_nll: f64,
    /// Attributes that captions of held-out images have right, over all attributes.
    pub captions: Clustered,
    /// The captions.
    pub described: Vec<Described>,
    /// Answers before stage 2 and after it, on more and more images.
    pub instructed: Vec<Instructed>,
    /// How long it took.
    pub seconds: f64,
}

impl Outcome {
    /// Share of right answers after stage 2 on `images` images, 0 for those before it; `None` if that was not done.
    pub fn answers(&self, images: usize) -> Option<Clustered> {
        self.instructed.iter().find(|i| i.images == images).map(Instructed::overall)
    }

    /// Attributes right in the captions of the held-out images of one domain; `attributes` are all images', in their order.
    pub fn captions_of(&self, domain: Domain, attributes: &[Attributes]) -> Clustered {
        let own = self.described.iter().filter(|d| attributes.get(d.image).is_some_and(|a| domain.has(a)));
        Clustered::of(&own.flat_map(|d| d.right).collect::<Vec<_>>(), ATTRIBUTES)
    }

    /// For results files.
    pub fn json(&self) -> Value {
        let accuracy = |a: Clustered| json!({"accuracy": a.share(), "ci_low": a.interval().0, "ci_high": a.interval().1, "count": a.count});
        let instructed = self.instructed.iter().map(|i| {
            let mut value = accuracy(i.overall());
            value["images"] = json!(i.images);
            let types = i.evaluation.types.iter().map(|(name, a)| (name.clone(), json!(a.share())));
            value["types"] = Value::Object(types.collect());
            value
        });
        json!({
            "name": self.arm.name(), "noise": self.arm.noise, "statistics": self.fitted.map(Fitted::json),
            "frechet_mean": self.frechet.map(|f| f.mean), "frechet_covariance": self.frechet.map(|f| f.covariance),
            "stage1_loss": self.stage1_loss, "caption_nll": self.caption_nll,
            "captions": accuracy(self.captions), "answers": instructed.collect::<Vec<_>>(), "seconds": self.seconds,
        })
    }
}

impl Fitted {
    pub(super) fn load(path: &Path) -> Result<Self> {
        let s = Statistics::load(path)?;
        let (trace_text, trace_image) = (s.trace_source, s.trace_target);
        let sigma = s.noise.map(|n| n.sigma);
        Ok(Fitted { trace_text, trace_image, scale: s.scale, sigma, gap: s.gap(), rows: s.rows })
    }

    pub(super) fn json(self) -> Value {
        json!({
            "trace_text": self.trace_text, "trace_image": self.trace_image, "scale": self.scale, "sigma": self.sigma,
            "gap": self.gap, "rows_text": self.rows.0, "rows_image": self.rows.1,
        })
    }
}

/// Writes the questions about the held-out images, one per record.
pub(super) fn write(materials: &Materials) -> Result<()> {
    let digits = &materials.digits;
    let asked = digits.split().test.iter().take(materials.settings.asked);
    let records = asked.flat_map(|&image| {
        questions(digits, image).into_iter().map(move |q| {
            json!({
                "id": format!("{}-{}", Digits::id(image), ATTRIBUTE_NAMES[q.attribute]), "image": Digits::id(image),
                "question": q.question, "answer": q.answer, "type": ATTRIBUTE_NAMES[q.attribute],
            })
        })
    });
    let text = Value::Array(records.collect()).to_string();
    write_atomically(&materials.at("questions.json"), false, text.as_bytes())
}

/// Trains and examines a row; `images` are sizes of stage 2's data.
///
/// # Errors
/// More images than the instruction part has; what `watch`, the disk or the device say.
pub fn run_arm(
    device: &Device,
    materials: &Materials,
    arm: Arm,
    images: &[usize],
    watch: &mut Watch<'_>,
) -> Result<Outcome> {
    let start = Instant::now();
    let folder = materials.at("rows").join(arm.slug());
    let fitted = match arm.source {
        Source::Aligned(..) => Some(Fitted::load(&materials.statistics(device, &arm)?)?),
        _ => None,
    };
    let frechet = distances::frechet(device, materials, &arm)?;
    let (adapter, stage1_loss) = stage1(device, materials, (arm, &folder), watch)?;
    let model = materials.at("language-model");
    let assistant = Assistant::open(device, &model, &adapter, VISUAL_TOKENS)?;
    let described = describe(materials, (&assistant, &arm, materials.settings.asked), watch)?;
    let captions = Clustered::of(&described.iter().flat_map(|d| d.right).collect::<Vec<_>>(), ATTRIBUTES);
    let caption_nll = likelihood(device, materials, &assistant)?;
    let first = described.iter().take(SHOWN).cloned().collect();
    let mut instructed =
        vec![Instructed { images: 0, evaluation: ask(device, materials, &assistant)?, described: first }];
    drop(assistant);
    for &count in images {
        let out = folder.join(format!("stage2-{count}"));
        stage2(device, materials, (&adapter, &out, count, &arm), watch)?;
        let trained = Assistant::open(device, &out.join("model"), &out.join("adapter.safetensors"), VISUAL_TOKENS)?;
        let described = describe(materials, (&trained, &arm, SHOWN.min(materials.settings.asked)), watch)?;
        instructed.push(Instructed { images: count, evaluation: ask(device, materials, &trained)?, described });
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(Outcome { arm, fitted, frechet, stage1_loss, caption_nll, captions, described, instructed, seconds })
}

/// What both stages have in common.
fn settings(materials: &Materials, stage: Stage, training: Training, out: &Path) -> Settings {
    let mut settings = Settings::new(stage);
    settings.model = materials.at("language-model");
    settings.out = out.to_path_buf();
    (settings.max_steps, settings.accumulate) = (Some(training.steps), 1);
    (settings.batch_size, settings.lr) = (training.batch_size, training.lr);
    (settings.checkpoint_every, settings.keep, settings.seed) = (0, 1, materials.settings.seed);
    (settings.adapter_tokens, settings.visual_tokens) = (VISUAL_TOKENS, VISUAL_TOKENS);
    settings.max_length = 256;
    settings
}

fn stage1(
    device: &Device,
    materials: &Materials,
    (arm, folder): (Arm, &Path),
    watch: &mut Watch<'_>,
) -> Result<(PathBuf, Option<f64>)> {
    let out = folder.join("stage1");
    let mut settings = settings(materials, Stage::One, materials.settings.stage1, &out);
    settings.noise = arm.noise;
    let (data, embeddings) = match arm.source {
        Source::Aligned(..) => {
            settings.stats = Some(materials.statistics(device, &arm)?);
            (materials.texts_file(arm.texts)?, "texts")
        }
        Source::Paired => (materials.at("paired.jsonl"), "images"),
        Source::Untrained => return fresh_adapter(materials, folder).map(|path| (path, None)),
    };
    if arm.source == Source::Paired {
        settings.aligner = Some(Method::None);
    }
    settings.data = data;
    settings.embeddings = vec![materials.at(&format!("{embeddings}.npy"))];
    settings.ids = Some(materials.at(&format!("{embeddings}.txt")));
    let task = format!("{}: stage 1", arm.name());
    let (finished, loss) = run(device, settings, &task, watch)?;
    Ok((finished.adapter, Some(loss)))
}

fn fresh_adapter(materials: &Materials, folder: &Path) -> Result<PathBuf> {
    let config = crate::io::DecoderConfig::read(&materials.at("language-model"))?;
    let seed = materials.settings.seed;
    let mut weights: AdapterWeights =
        crate::nn::adapter::fresh(AdapterKind::Mlp(2), materials.width(), VISUAL_TOKENS * config.hidden_size, seed);
    weights.set_unit_rows(true);
    crate::io::url::create_folders(folder)?;
    let path = folder.join("adapter.safetensors");
    weights.save(&path, crate::ElementType::F32, false)?;
    Ok(path)
}

fn stage2(
    device: &Device,
    materials: &Materials,
    (adapter, out, count, arm): (&Path, &Path, usize, &Arm),
    watch: &mut Watch<'_>,
) -> Result<()> {
    let mut settings = settings(materials, Stage::Two, materials.settings.stage2, out);
    settings.batch_size = settings.batch_size.min(count);
    settings.init_adapter = Some(adapter.to_path_buf());
    settings.data = instruction(materials, count)?;
    settings.embeddings = vec![materials.at("images.npy")];
    settings.ids = Some(materials.at("images.txt"));
    let task = format!("{}: stage 2 on {count} images", arm.name());
    run(device, settings, &task, watch).map(drop)
}

/// The conversations about the first `count` images of the instruction part.
fn instruction(materials: &Materials, count: usize) -> Result<PathBuf> {
    let path = materials.at(&format!("instruction-{count}.json"));
    let _making = materials.shared_file.lock().unwrap_or_else(PoisonError::into_inner);
    if path.exists() {
        return Ok(path);
    }
    let all = materials.at("data/instruction.json");
    let text = std::fs::read(&all).map_err(Error::io("read", &all))?;
    let list: Vec<Value> = serde_json::from_slice(&text).map_err(|e| Error::format(&all, e.to_string()))?;
    if count == 0 || count > list.len() {
        return Err(Error::argument("images", format!("{count} for stage 2; there are {}", list.len())));
    }
    write_atomically(&path, false, Value::Array(list[..count].to_vec()).to_string().as_bytes())?;
    Ok(path)
}

/// Runs a stage; what it left, and its last loss.
pub(super) fn run(device: &Device, settings: Settings, task: &str, watch: &mut Watch<'_>) -> Result<(Finished, f64)> {
    let out = settings.out.clone();
    let mut run = Run::start(device, settings, Start::New)?;
    let (total, mut loss) = (run.total(), f64::NAN);
    while !run.is_done() {
        let Some(record) = run.advance_ahead()? else { continue };
        loss = record.loss;
        watch(Progress { task, done: record.step, total, loss: Some(loss), record: None })?;
    }
    let (finished, checkpoints) = (run.finish()?, out.join("checkpoints"));
    // Nothing goes on from here: the optimiser's state would be most of an experiment's folder.
    std::fs::remove_dir_all(&checkpoints).map_err(Error::io("remove", &checkpoints))?;
    Ok((finished, loss))
}

fn images(materials: &Materials) -> (PathBuf, PathBuf) {
    (materials.at("images.npy"), materials.at("images.txt"))
}

/// Most tokens of a caption, beyond the longest of its kind.
fn caption_tokens(length: Length) -> usize {
    match length {
        Length::Short => 24,
        Length::Long | Length::Mixed => 80,
    }
}

/// Captions of the first `count` held-out images.
fn describe(
    materials: &Materials,
    (assistant, arm, count): (&Assistant, &Arm, usize),
    watch: &mut Watch<'_>,
) -> Result<Vec<Described>> {
    let entries = assistant.plain("", true)?;
    let options =
        AnswerOptions { max_tokens: caption_tokens(materials.settings.length), one_line: true, ..Default::default() };
    let test = &materials.digits.split().test;
    let asked = &test[..count.min(test.len())];
    let task = format!("{}: captions", arm.name());
    let mut described = Vec::with_capacity(asked.len());
    for (i, &image) in asked.iter().enumerate() {
        let embedding = materials.images_of(&[image]);
        let answer = assistant.answer((&entries, Some(&embedding)), &options, |_| ControlFlow::Continue(()))?;
        let (said, truth): (_, &Attributes) = (read(&answer.text), &materials.digits.attributes()[image]);
        let right = std::array::from_fn(|k| said[k] == Some(truth[k]));
        described.push(Described { image, caption: answer.text, right });
        watch(Progress { task: &task, done: i as u64 + 1, total: asked.len() as u64, loss: None, record: None })?;
    }
    Ok(described)
}

/// Mean negative log-likelihood per token of the held-out images' captions.
fn likelihood(device: &Device, materials: &Materials, assistant: &Assistant) -> Result<f64> {
    let (rows, ids) = images(materials);
    let inputs = [rows];
    let files = EmbeddingFiles { inputs: &inputs, ids: Some(&ids), key: None, column: None, id_column: None };
    let embeddings = files.open()?;
    let options = SampleOptions { visual_tokens: VISUAL_TOKENS, ..Default::default() };
    let model = materials.at("language-model");
    let samples = data::samples(&model, &materials.at("data/test.jsonl"), &embeddings, &options, Form::Captions)?;
    let mut inputs = VisualInputs::new(device, embeddings.rows, None)?;
    let scores = score(device, &assistant.model, (&samples, &mut inputs), 64, |_| ())?;
    let (sum, count) = scores.iter().fold((0.0, 0.0), |(sum, count), s| {
        let targets = f64::from(s.targets);
        (sum + s.nll * targets, count + targets)
    });
    Ok(sum / count)
}

fn ask(device: &Device, materials: &Materials, assistant: &Assistant) -> Result<Evaluation> {
    let (rows, ids) = images(materials);
    let inputs = [rows];
    let files = EmbeddingFiles { inputs: &inputs, ids: Some(&ids), key: None, column: None, id_column: None };
    let embeddings = files.open()?;
    let options = QuestionOptions { join: crate::io::Join::Image, ..Default::default() };
    let questions = Questions::read(&materials.at("questions.json"), &embeddings.index, options)?.questions;
    let options = AnswerOptions { max_tokens: ANSWER_TOKENS, ..Default::default() };
    let mut inputs = VisualInputs::new(device, embeddings.rows, None)?;
    evaluate(assistant, (&questions, &mut inputs), (&options, false), |_, _| Ok(()))
}
