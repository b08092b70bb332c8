//! `score`, `generate` and `evaluate`.

pub mod args;

use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};
use realign::align::Method;
use realign::device::Device;
use realign::encode::ImageEncoder;
use realign::inference::{self, Accuracy, Assistant, Evaluation, Judged};
use realign::io::{
    AdapterWeights, Dataset, DecoderConfig, EmbeddingRows, Extent, IMAGE, OpenOptions, Question, QuestionOptions,
    Questions, Role, SampleOptions, Turn, check_local, check_writable,
};
use realign::nn::{Adapter, Decoder, Precision};
use realign::train::{Form, Model, VisualInputs, data, visual};
use serde_json::{Value, json};

use crate::inference::args::{DataArgs, EvaluateArgs, GenerateArgs, ModelArgs, Opened, ScoreArgs};
use crate::shared::device::DeviceArgs;
use crate::shared::show;

fn request(args: &DeviceArgs, precision: Precision) -> Result<Device> {
    match precision {
        Precision::F32 => args.request(),
        Precision::Mixed => args.request_for_halves(),
    }
}

/// The model, and the visual tokens of an image.
fn open_model(device: &Device, args: &ModelArgs) -> Result<(Model, usize)> {
    let adapter = args.adapter()?;
    let weights = AdapterWeights::load(adapter)?;
    let hidden = DecoderConfig::read(&args.model)?.hidden_size;
    weights.check_fits(weights.inputs(), hidden, adapter)?;
    let visual_tokens = weights.visual_tokens_or(args.visual_tokens(), hidden, adapter)?;
    let decoder = Decoder::open_with(device, &args.model, args.decoder())?;
    Ok((Model { adapter: Adapter::new(device, &weights)?, decoder }, visual_tokens))
}

/// Fails before the work where embeddings are of another width than the adapter takes.
fn check_width(adapter: &Path, takes: usize, width: usize) -> Result<()> {
    if takes != width {
        bail!("{}: takes embeddings of width {takes}, but these have {width}", adapter.display());
    }
    Ok(())
}

/// Embeddings as they are, or aligned.
fn inputs(
    device: &Device,
    rows: EmbeddingRows,
    (stats, method): (Option<&Path>, Option<Method>),
    (any_encoder, learnt, made): (bool, Option<bool>, bool),
) -> Result<VisualInputs> {
    let aligner = match stats {
        Some(path) => visual::aligner(path, method, (rows.encoders(), any_encoder))?,
        None => None,
    };
    Ok(VisualInputs::new(device, rows, aligner.as_deref())?.suited_to(learnt, made))
}

pub fn score(args: &ScoreArgs) -> Result<()> {
    args.json.check()?;
    let device = request(&args.device, args.model.precision)?;
    let Opened { embeddings, skip_missing } = args.data.open(&device, &args.model, Extent::All)?;
    let (model, visual_tokens) = open_model(&device, &args.model)?;
    check_width(args.model.adapter()?, model.adapter.input(), embeddings.rows.width())?;
    let options = SampleOptions {
        visual_tokens,
        max_length: args.max_length,
        skip_missing,
        join: args.data.join,
        date: args.model.date,
        skip_bad: args.data.skip_bad,
    };
    let form = Form::of(&args.data.data)?;
    let samples = data::samples(&args.model.model, &args.data.data, &embeddings, &options, form)?;
    let how = (args.json.force, model.adapter.unit_rows(), args.data.makes_embeddings());
    let mut inputs = inputs(&device, embeddings.rows, (args.stats.as_deref(), args.aligner), how)?;
    let start = Instant::now();
    let bar = show::progress(samples.len() as u64, "scoring");
    let batch = args.batch_size as usize;
    let scores = inference::score(&device, &model, (&samples, &mut inputs), batch, |n| bar.inc(n as u64))?;
    bar.finish_and_clear();
    let targets: u64 = scores.iter().map(|s| u64::from(s.targets)).sum();
    let total: f64 = scores.iter().map(|s| s.nll * f64::from(s.targets)).sum();
    let (mean, per_token) = (scores.iter().map(|s| s.nll).sum::<f64>() / scores.len() as f64, total / targets as f64);
    let id = |i: usize| samples.get(i).map_or("", |sample| sample.id);
    let list: Vec<Value> =
        scores.iter().enumerate().map(|(i, s)| json!({ "id": id(i), "nll": s.nll, "tokens": s.targets })).collect();
    let value = json!({
        "count": scores.len(), "tokens": targets, "mean_nll": mean, "token_nll": per_token, "perplexity": per_token.exp(),
        "skipped": samples.missing() + samples.without_target(), "skipped_bad": samples.skipped_bad(),
        "truncated": samples.cut(), "device": device.name(),
        "precision": args.model.precision.name(),
        "seconds": start.elapsed().as_secs_f64(), "samples": list,
    });
    args.json.finish(&value, || {
        format!(
            "{} samples, {targets} target tokens on {}\nmean NLL per sample  {}\nNLL per token        {}\nperplexity           {}",
            scores.len(),
            device.name(),
            show::number(mean),
            show::number(per_token),
            show::number(per_token.exp()),
        )
    })
}

/// The embedding that `generate` is asked about.
fn embedding(device: &Device, args: &GenerateArgs) -> Result<Option<Vec<f32>>> {
    if let (Some(picture), Some(model)) = (&args.image, &args.vision_model) {
        let unit = AdapterWeights::load(args.model.adapter()?)?.unit_rows();
        let encoder = ImageEncoder::load_in(device, model, args.model.precision)?;
        let encoder = if unit == Some(true) { encoder.unit_rows()? } else { encoder };
        return Ok(Some(encoder.encode_file_blocking(picture)?));
    }
    let Some(path) = &args.image_embedding else { return Ok(None) };
    let options = OpenOptions { key: args.key.clone(), column: args.column.clone(), vector: true };
    let dataset = Dataset::open(std::slice::from_ref(path), &options)?;
    let row = match (args.row, dataset.rows()) {
        (Some(row), n) if u64::from(row) >= n => bail!("{}: has {n} rows, so no row {row}", path.display()),
        (Some(row), _) => row,
        (None, 1) => 0,
        (None, n) => bail!("{}: has {n} rows; choose one with --row, from 0", path.display()),
    };
    let mut rows = EmbeddingRows::open(&dataset)?;
    let mut numbers = vec![0.0; rows.width()];
    rows.read(&[row], &mut numbers)?;
    Ok(Some(numbers))
}

pub fn generate(args: &GenerateArgs) -> Result<()> {
    let device = request(&args.device, args.model.precision)?;
    let embedding = embedding(&device, args)?;
    let (model, visual_tokens) = (&args.model, args.model.visual_tokens());
    let assistant = match model.adapter_if_given() {
        Some(adapter) => Assistant::open_in(&device, &model.model, adapter, visual_tokens, model.decoder())?,
        None => Assistant::open_text(&device, &model.model, model.decoder())?,
    };
    let assistant = model.date.into_iter().fold(assistant, Assistant::at);
    if let Some(numbers) = &embedding {
        let learnt = assistant.model.adapter.unit_rows();
        visual::warn_of_lengths(numbers, numbers.len(), (learnt, args.image.is_some()));
        check_width(model.adapter()?, assistant.model.adapter.input(), numbers.len())?;
    }
    let prompt = args.prompt.as_deref().unwrap_or_default();
    let image = embedding.is_some();
    if prompt.contains(IMAGE) && (!image || args.plain || prompt.matches(IMAGE).count() > 1) {
        bail!("--prompt: {IMAGE} stands once for the image of --image or --image-embedding, and not with --plain");
    }
    let entries = if args.plain {
        assistant.plain(prompt, image)?
    } else {
        let text = if image && !prompt.contains(IMAGE) { format!("{IMAGE}\n{prompt}") } else { prompt.to_owned() };
        let system = args.system.iter().map(|text| Turn { role: Role::System, text: text.clone() });
        assistant.chat(&system.chain([Turn { role: Role::User, text }]).collect::<Vec<_>>())?
    };
    let start = Instant::now();
    let mut broken = false;
    let say = |text: &str| {
        if args.json {
            return ControlFlow::Continue(());
        }
        let mut stdout = std::io::stdout().lock();
        broken = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err();
        if broken { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let answer = assistant.answer((&entries, embedding.as_deref()), &args.sampling.options(args.plain), say)?;
    if !args.json {
        return if broken { Ok(()) } else { show::print("") };
    }
    let seconds = start.elapsed().as_secs_f64();
    let value = json!({
        "text": answer.text, "tokens": answer.tokens, "end": answer.end.name(), "prompt_tokens": entries.len(),
        "device": device.name(), "precision": model.precision.name(), "seconds": seconds,
    });
    show::result(true, &value)
}

pub fn evaluate(args: &EvaluateArgs) -> Result<()> {
    args.json.check()?;
    args.predictions.iter().try_for_each(|path| check_writable(path, args.json.force))?;
    let device = request(&args.device, args.model.precision)?;
    let most = args.limit.map(|limit| limit as usize);
    let extent = match (most, args.plain) {
        (None, _) => Extent::All,
        (Some(most), true) => Extent::Captions(most),
        (Some(most), false) => Extent::Questions(most),
    };
    let Opened { embeddings, skip_missing } = args.data.open(&device, &args.model, extent)?;
    let DataArgs { join, skip_bad, .. } = args.data;
    let options = QuestionOptions { join, skip_missing, skip_bad, most };
    let read = if args.plain { Questions::captions } else { Questions::read };
    let Questions { questions, missing, skipped_bad } = read(&args.data.data, &embeddings.index, options)?;
    let (model, visual_tokens) = (&args.model, args.model.visual_tokens());
    let adapter = model.adapter()?;
    let assistant = Assistant::open_in(&device, &model.model, adapter, visual_tokens, model.decoder())?;
    let assistant = model.date.into_iter().fold(assistant, Assistant::at);
    check_width(adapter, assistant.model.adapter.input(), embeddings.rows.width())?;
    let how = (args.json.force, assistant.model.adapter.unit_rows(), args.data.makes_embeddings());
    let mut inputs = inputs(&device, embeddings.rows, (args.stats.as_deref(), args.aligner), how)?;
    let start = Instant::now();
    let bar = show::progress(questions.len() as u64, "asking");
    let how = (&args.sampling.options(args.plain), args.lenient);
    let mut predictions =
        args.predictions.as_deref().map(|path| Predictions::create(path, args.json.force)).transpose()?;
    let judged = |question: &Question, judged: &Judged| {
        bar.inc(1);
        predictions.as_mut().map_or(Ok(()), |predictions| predictions.write(question, judged))
    };
    let evaluation = inference::evaluate(&assistant, (&questions, &mut inputs), how, judged)?;
    bar.finish_and_clear();
    let types: serde_json::Map<String, Value> =
        evaluation.types.iter().map(|(name, accuracy)| (name.clone(), accuracy_json(*accuracy))).collect();
    let mut value = accuracy_json(evaluation.overall);
    value["f1"] = json!(evaluation.f1());
    value["types"] = Value::Object(types);
    value["skipped"] = json!(missing);
    value["skipped_bad"] = json!(skipped_bad);
    value["device"] = json!(device.name());
    value["precision"] = json!(model.precision.name());
    value["seconds"] = json!(start.elapsed().as_secs_f64());
    args.json.finish(&value, || table(&evaluation))
}

/// The interval is Wilson's, 95%.
fn accuracy_json(accuracy: Accuracy) -> Value {
    let (low, high) = accuracy.interval();
    json!({
        "accuracy": accuracy.share(), "ci_low": low, "ci_high": high, "correct": accuracy.correct, "count": accuracy.count,
    })
}

/// A file of predictions, written line by line: an evaluation of hours that ends early leaves what it has found.
struct Predictions {
    file: File,
    path: PathBuf,
}

impl Predictions {
    fn create(path: &Path, force: bool) -> Result<Self, realign::Error> {
        check_local(path)?;
        check_writable(path, force)?;
        let file = File::create(path).map_err(realign::Error::io("create", path))?;
        Ok(Predictions { file, path: path.to_path_buf() })
    }

    fn write(&mut self, question: &Question, judged: &Judged) -> Result<(), realign::Error> {
        let value = json!({
            "id": question.id, "type": question.kind, "question": question.turns.last().map(|turn| &turn.text),
            "answers": question.answers, "prediction": judged.answer, "correct": judged.correct, "f1": judged.f1,
        });
        writeln!(self.file, "{value}").map_err(realign::Error::io("write", &self.path))
    }
}

fn table(evaluation: &Evaluation) -> String {
    let all = evaluation.types.iter().map(|(name, accuracy)| (&name[..], *accuracy));
    let mut rows: Vec<(&str, Accuracy)> = all.collect();
    if rows.len() > 1 {
        rows.push(("overall", evaluation.overall));
    }
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(4);
    let mut lines = vec![format!("{:<width$}  accuracy  95% interval    right / all", "type")];
    lines.extend(rows.iter().map(|(name, accuracy)| {
        let (low, high) = accuracy.interval();
        let share = accuracy.share();
        format!("{name:<width$}  {share:>8.3}  {low:.3} to {high:.3}  {:>6} / {}", accuracy.correct, accuracy.count)
    }));
    lines.push(format!("F1 of words  {:.3}", evaluation.f1()));
    lines.join("\n")
}
