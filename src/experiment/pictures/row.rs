//! One row: an adapter trained in one way, and what it is worth on held-out pictures.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::materials::PictureMaterials;
use super::outcome::{Answered, CaptionScores, PictureOutcome, Said};
use super::rows::Kind;
use crate::Result;
use crate::align::{Method, Statistics, apply_rows};
use crate::device::Device;
use crate::experiment::arm::{Arm, Source};
use crate::experiment::demo::moments;
use crate::experiment::evaluation::{Fitted, run};
use crate::experiment::protocol::{Progress, Training, Watch};
use crate::inference::{AnswerOptions, Assistant, Evaluation, evaluate, score};
use crate::io::{AdapterKind, AdapterWeights, DecoderConfig, Join, Question, SampleOptions};
use crate::nn::decoder::OpenDecoder;
use crate::train::{Form, Settings, Stage, Trained, VisualInputs, data};

/// Captions that results keep.
const SHOWN: usize = 12;
/// Most tokens of a caption, and of an answer.
const TOKENS: (usize, usize) = (48, 24);
/// Captions whose likelihoods are computed together.
const SCORED: usize = 16;
/// Longest sample, where the model has no shorter context.
const LONGEST: usize = 2048;

/// Where a row's model stands: the adapter, and the low-rank additions of stage 2.
struct Trainee {
    adapter: PathBuf,
    additions: Option<PathBuf>,
}

/// Trains and examines a row.
///
/// # Errors
/// What training, asking, the disk, the device or `watch` say.
pub(super) fn run_row(
    device: &Device,
    materials: &PictureMaterials<'_>,
    arm: Arm,
    watch: &mut Watch<'_>,
) -> Result<PictureOutcome> {
    let start = Instant::now();
    let folder = materials.at("rows").join(arm.slug());
    let statistics = match arm.source {
        Source::Aligned(..) => Some(materials.statistics(device, &arm)?),
        _ => None,
    };
    let fitted = statistics.as_deref().map(Fitted::load).transpose()?;
    let aligned = statistics.as_deref().map(|path| aligned(device, materials, path)).transpose()?;
    let (adapter, stage1_loss) = stage1(device, materials, (&arm, &folder, statistics.as_deref()), watch)?;
    let mut trainee = Trainee { adapter, additions: None };
    let assistant = open(device, materials, &trainee)?;
    let (captions, said) = describe(device, materials, (&assistant, &arm), watch)?;
    let mut answers = Vec::new();
    if materials.collection.asks() {
        let evaluation = ask(device, materials, (&assistant, &arm), watch)?;
        drop(assistant);
        answers.push(Answered { conversations: 0, evaluation });
        let conversations = stage2(device, materials, (&arm, &folder), &mut trainee, watch)?;
        let assistant = open(device, materials, &trainee)?;
        answers.push(Answered { conversations, evaluation: ask(device, materials, (&assistant, &arm), watch)? });
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(PictureOutcome { arm, fitted, aligned, stage1_loss, captions, said, answers, seconds })
}

/// Distance of the aligned captions' mean from that of the held-out pictures, and their trace.
fn aligned(device: &Device, materials: &PictureMaterials<'_>, statistics: &Path) -> Result<(f64, f64)> {
    let width = materials.rows.width;
    let rows = apply_rows(device, &Statistics::load(statistics)?, &materials.texts(), width)?;
    let (text, image) =
        (moments(device, &rows, width)?, moments(device, &materials.rows.of_pictures(&materials.parts.test), width)?);
    let gap = text.mean().iter().zip(image.mean()).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    Ok((gap, text.trace()))
}

fn open(device: &Device, materials: &PictureMaterials<'_>, trainee: &Trainee) -> Result<Assistant> {
    let options = OpenDecoder { low_rank: trainee.additions.as_deref(), ..Default::default() };
    let tokens = Some(materials.settings.visual_tokens);
    Assistant::open_in(device, materials.model, &trainee.adapter, tokens, options)
}

/// The longest sample that the model takes.
fn longest(config: &DecoderConfig) -> usize {
    config.max_positions.map_or(LONGEST, |most| most.min(LONGEST))
}

/// What both stages have in common.
fn settings(materials: &PictureMaterials<'_>, stage: Stage, training: Training, out: PathBuf) -> Result<Settings> {
    let config = DecoderConfig::read(materials.model)?;
    let own = &materials.settings;
    let mut settings = Settings::new(stage);
    settings.model = materials.model.to_path_buf();
    settings.out = out;
    (settings.max_steps, settings.accumulate) = (Some(training.steps), 1);
    (settings.batch_size, settings.lr) = (training.batch_size, training.lr);
    (settings.checkpoint_every, settings.keep, settings.seed) = (0, 1, own.seed);
    (settings.adapter_tokens, settings.visual_tokens) = (own.visual_tokens, own.visual_tokens);
    settings.max_length = longest(&config);
    settings.lora_rank = own.lora_rank.min(config.hidden_size);
    settings.lora_alpha = 2.0 * settings.lora_rank as f64;
    Ok(settings)
}

fn stage1(
    device: &Device,
    materials: &PictureMaterials<'_>,
    (arm, folder, statistics): (&Arm, &Path, Option<&Path>),
    watch: &mut Watch<'_>,
) -> Result<(PathBuf, Option<f64>)> {
    let (data, kind) = match arm.source {
        Source::Aligned(..) => ("texts.jsonl", Kind::Captions),
        Source::Paired => ("paired.jsonl", Kind::Pictures),
        Source::Untrained => return Ok((fresh_adapter(materials, folder)?, None)),
    };
    let mut settings = settings(materials, Stage::One, materials.settings.stage1, folder.join("stage1"))?;
    let (rows, ids) = materials.embeddings(kind);
    (settings.data, settings.embeddings, settings.ids) = (materials.at(data), vec![rows], Some(ids));
    settings.noise = arm.noise;
    settings.stats = statistics.map(Path::to_path_buf);
    if arm.source == Source::Paired {
        settings.aligner = Some(Method::None);
    }
    let (finished, loss) = run(device, settings, &format!("{}: stage 1", arm.name()), watch)?;
    Ok((finished.adapter, Some(loss)))
}

fn fresh_adapter(materials: &PictureMaterials<'_>, folder: &Path) -> Result<PathBuf> {
    let config = DecoderConfig::read(materials.model)?;
    let (own, width) = (&materials.settings, materials.rows.width);
    let outputs = own.visual_tokens * config.hidden_size;
    let mut weights: AdapterWeights = crate::nn::adapter::fresh(AdapterKind::Mlp(2), width, outputs, own.seed);
    weights.set_unit_rows(true);
    crate::io::url::create_folders(folder)?;
    let path = folder.join("adapter.safetensors");
    weights.save(&path, crate::ElementType::F32, true)?;
    Ok(path)
}

/// Trains the adapter and low-rank additions on the conversations; how many there are.
fn stage2(
    device: &Device,
    materials: &PictureMaterials<'_>,
    (arm, folder): (&Arm, &Path),
    trainee: &mut Trainee,
    watch: &mut Watch<'_>,
) -> Result<usize> {
    let about = &materials.parts.instruction;
    let conversations = about.iter().map(|i| materials.collection.conversations(*i).len()).sum();
    let mut settings = settings(materials, Stage::Two, materials.settings.stage2, folder.join("stage2"))?;
    settings.batch_size = settings.batch_size.min(conversations);
    settings.train = Trained::Lora;
    settings.init_adapter = Some(trainee.adapter.clone());
    settings.join = Join::Image;
    let (rows, ids) = materials.embeddings(Kind::Pictures);
    settings.data = materials.at("instruction.jsonl");
    (settings.embeddings, settings.ids) = (vec![rows], Some(ids));
    let (finished, _) = run(device, settings, &format!("{}: stage 2", arm.name()), watch)?;
    *trainee = Trainee { adapter: finished.adapter, additions: finished.low_rank };
    Ok(conversations)
}

/// Captions of the held-out pictures, and how likely the model finds their own.
fn describe(
    device: &Device,
    materials: &PictureMaterials<'_>,
    (assistant, arm): (&Assistant, &Arm),
    watch: &mut Watch<'_>,
) -> Result<(CaptionScores, Vec<Said>)> {
    let questions = materials.to_describe();
    let options = AnswerOptions { max_tokens: TOKENS.0, one_line: true, ..Default::default() };
    let made =
        answer(device, materials, (assistant, &questions, options), &format!("{}: captions", arm.name()), watch)?;
    let said = questions.iter().zip(&made.judged).take(SHOWN).map(|(question, judged)| Said {
        picture: question.id.clone(),
        caption: judged.answer.clone(),
        own: question.answers.first().cloned().unwrap_or_default(),
    });
    let said = said.collect();
    let nll = likelihood(device, materials, assistant)?;
    Ok((CaptionScores { nll, right: made.overall, f1: made.f1() }, said))
}

/// Mean negative log-likelihood per token of the held-out pictures' captions.
fn likelihood(device: &Device, materials: &PictureMaterials<'_>, assistant: &Assistant) -> Result<f64> {
    let embeddings = materials.open_pictures()?;
    let max_length = longest(&DecoderConfig::read(materials.model)?);
    let options = SampleOptions { visual_tokens: materials.settings.visual_tokens, max_length, ..Default::default() };
    let samples = data::samples(materials.model, &materials.at("test.jsonl"), &embeddings, &options, Form::Captions)?;
    let mut inputs = VisualInputs::new(device, embeddings.rows, None)?;
    let scores = score(device, &assistant.model, (&samples, &mut inputs), SCORED, |_| ())?;
    let (sum, count) = scores.iter().fold((0.0, 0.0), |(sum, count), s| {
        let targets = f64::from(s.targets);
        (sum + s.nll * targets, count + targets)
    });
    Ok(sum / count)
}

fn ask(
    device: &Device,
    materials: &PictureMaterials<'_>,
    (assistant, arm): (&Assistant, &Arm),
    watch: &mut Watch<'_>,
) -> Result<Evaluation> {
    let questions = materials.questions("questions.jsonl", &materials.open_pictures()?)?;
    let options = AnswerOptions { max_tokens: TOKENS.1, ..Default::default() };
    answer(device, materials, (assistant, &questions, options), &format!("{}: answers", arm.name()), watch)
}

/// Asks questions about pictures.
fn answer(
    device: &Device,
    materials: &PictureMaterials<'_>,
    (assistant, questions, options): (&Assistant, &[Question], AnswerOptions),
    task: &str,
    watch: &mut Watch<'_>,
) -> Result<Evaluation> {
    let mut inputs = VisualInputs::new(device, materials.open_pictures()?.rows, None)?;
    let (mut done, total) = (0, questions.len() as u64);
    evaluate(assistant, (questions, &mut inputs), (&options, true), |_, _| {
        done += 1;
        watch(Progress { task, done, total, loss: None, record: None })
    })
}
