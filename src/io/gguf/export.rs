//! A model's folder as one GGUF file that llama.cpp and what builds on it load.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::{Map, Value};

use super::architecture::{ARCHITECTURES, Architecture};
use super::kind::Kind;
use super::names::{Change, stored_name, stored_row};
use super::rope;
use super::vocabulary::Source;
use super::write::{Entries, GgufWriter, Planned, file_type, kind_for};
use crate::io::model::{ModelFiles, read_object, read_object_if_there};
use crate::io::{ChatTemplate, DecoderConfig, Tokenizer, Weights, atomic};
use crate::{ElementType, Error, Result};

/// Numbers are converted in parts of about so many.
const PART: usize = 1 << 20;

/// What matrices are stored as in a GGUF file that is written; vectors are f32.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GgufType {
    /// 32 bits.
    F32,
    /// 16 bits; numbers beyond 65504 are refused.
    #[default]
    F16,
    /// 16 bits with the range of f32.
    BF16,
    /// 8 bits and a scale for each 32 numbers of a row (8.5 bits); rows that are no multiple of 32 are f16.
    Q8_0,
}

impl FromStr for GgufType {
    type Err = Error;

    fn from_str(name: &str) -> Result<GgufType> {
        match name {
            "f32" => Ok(GgufType::F32),
            "f16" => Ok(GgufType::F16),
            "bf16" => Ok(GgufType::BF16),
            "q8_0" => Ok(GgufType::Q8_0),
            other => Err(Error::argument("type", format!("{other:?} is unknown; choose f32, f16, bf16 or q8_0"))),
        }
    }
}

impl GgufType {
    fn kind(self) -> Kind {
        match self {
            GgufType::F32 => Kind::F32,
            GgufType::F16 => Kind::F16,
            GgufType::BF16 => Kind::BF16,
            GgufType::Q8_0 => Kind::Q8_0,
        }
    }
}

/// Writes the model of the folder `source` as the GGUF file `out`, which appears whole or not at all: weights, tokenizer and chat template,
/// named and laid out as llama.cpp's own converter does. `on_tensor` hears of each tensor's bytes once they are written. Takes some 10 MB
/// of memory beside the tokenizer's.
///
/// # Errors
/// A folder that is no model's or a family or tokenizer that GGUF has no name for; a number that the type cannot hold; `out` exists and
/// `force` is off; a full disk.
pub fn write_gguf(
    source: &Path,
    (out, force): (&Path, bool),
    stored: GgufType,
    mut on_tensor: impl FnMut(u64),
) -> Result<()> {
    atomic::check_target(out, force)?;
    let files = ModelFiles::open(source)?;
    if let ModelFiles::Gguf(file) = &files {
        return Err(Error::format(file.path(), "is a GGUF file already; name a model's folder"));
    }
    let (path, object) = files.config()?;
    let config = DecoderConfig::read(source)?;
    let architecture = architecture(&object, &path)?;
    let weights = Weights::open(source)?;
    weights.expect_all(&config.tensors())?;
    let kind = stored.kind();
    let mut entries = Entries::default();
    general(&mut entries, architecture, source, kind);
    shape(&mut entries, architecture, &config, &object, &path)?;
    tokenizer(&mut entries, source, &config)?;
    let factors = llama3_factors(&config);
    let (mut plan, mut sources) = (Vec::new(), Vec::new());
    if let Some(factors) = &factors {
        plan.push(Planned { name: "rope_freqs.weight".to_owned(), shape: vec![factors.len()], kind: Kind::F32 });
    }
    for (name, shape) in config.tensors() {
        let place = stored_name(architecture, &name, (config.heads, config.kv_heads));
        let (theirs, change) = place.ok_or_else(|| {
            Error::format(&path, format!("tensor {name:?} has no name in GGUF for {:?}", architecture.name))
        })?;
        plan.push(Planned { name: theirs.clone(), kind: kind_for(&shape, kind), shape: shape.clone() });
        sources.push((name, theirs, shape, change));
    }
    let (file, temporary) = atomic::create_beside(out)?;
    let writer = GgufWriter::start(file, out, &entries, plan)?;
    if let Some(factors) = &factors {
        writer.write("rope_freqs.weight", 0, factors)?;
    }
    for (name, theirs, shape, change) in sources {
        copy(&weights, (&name, &shape), &writer, (&theirs, change))?;
        on_tensor(shape.iter().product::<usize>() as u64);
    }
    writer.finish()?;
    atomic::publish(temporary, out, force)
}

/// One tensor, some rows at a time.
fn copy(
    weights: &Weights,
    (name, shape): (&str, &[usize]),
    writer: &GgufWriter,
    (theirs, change): (&str, Change),
) -> Result<()> {
    let width = if shape.len() < 2 { 1 } else { shape[1..].iter().product::<usize>().max(1) };
    let rows = shape.iter().product::<usize>() / width;
    // A vector in one part: its numbers are its rows.
    let step = if shape.len() < 2 { rows.max(1) } else { (PART / width).max(1) };
    let mut numbers = vec![0f32; step.min(rows) * width];
    for row in (0..rows).step_by(step) {
        let count = step.min(rows - row);
        let numbers = &mut numbers[..count * width];
        weights.read(name, shape, row * width, ElementType::F32, bytemuck::cast_slice_mut(numbers))?;
        match change {
            Change::None => writer.write(theirs, row * width, numbers)?,
            Change::PlusOne => {
                numbers.iter_mut().for_each(|x| *x += 1.0);
                writer.write(theirs, row * width, numbers)?;
            }
            Change::Pairs { heads } => {
                for (i, numbers) in numbers.chunks(width).enumerate() {
                    writer.write(theirs, stored_row(row + i, rows, heads) * width, numbers)?;
                }
            }
        }
    }
    Ok(())
}

fn architecture(object: &Map<String, Value>, path: &Path) -> Result<&'static Architecture> {
    let named = object.get("model_type").and_then(Value::as_str);
    let class = object.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str);
    let same = |one: &&Architecture| match named {
        // The same tensors and the same computation, but for the window.
        Some("mistral") => one.name == "llama",
        Some(name) => one.model_type == name,
        None => Some(one.class) == class,
    };
    ARCHITECTURES.iter().find(same).ok_or_else(|| {
        let known: Vec<&str> = ARCHITECTURES.iter().map(|one| one.model_type).collect();
        let found = named.or(class).unwrap_or("nothing");
        Error::format(path, format!("names {found:?}, for which GGUF is not written; known are {}", known.join(", ")))
    })
}

fn general(entries: &mut Entries, architecture: &Architecture, source: &Path, kind: Kind) {
    let name = source.canonicalize().unwrap_or_else(|_| source.to_path_buf());
    let name = name.file_name().map_or("model".to_owned(), |name| name.to_string_lossy().into_owned());
    entries.text("general.architecture", architecture.name);
    entries.text("general.type", "model");
    entries.text("general.name", &name);
    entries.u32("general.file_type", file_type(kind));
    entries.u32("general.quantization_version", 2);
}

/// Sizes and constants.
fn shape(
    entries: &mut Entries,
    architecture: &Architecture,
    config: &DecoderConfig,
    object: &Map<String, Value>,
    path: &Path,
) -> Result<()> {
    refuse_what_is_not_written(architecture, config, object, path)?;
    let key = |name: &str| format!("{}.{name}", architecture.name);
    let sizes = [
        ("block_count", config.layers),
        ("context_length", config.max_positions.unwrap_or(2048)),
        ("embedding_length", config.hidden_size),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("rope.dimension_count", config.head_dim),
        ("vocab_size", config.vocab_size),
    ];
    for (name, size) in sizes {
        entries.u32(&key(name), size as u32);
    }
    entries.f32(&key("attention.layer_norm_rms_epsilon"), config.norm_eps as f32);
    entries.f32(&key("rope.freq_base"), config.rope_theta as f32);
    let number = |name: &str| object.get(name).and_then(Value::as_f64);
    if architecture.name == "granite" {
        let scales = [
            ("attention.scale", "attention_multiplier"),
            ("embedding_scale", "embedding_multiplier"),
            ("residual_scale", "residual_multiplier"),
            ("logit_scale", "logits_scaling"),
        ];
        for (ours, theirs) in scales {
            if let Some(scale) = number(theirs) {
                entries.f32(&key(ours), scale as f32);
            }
        }
    }
    scaling(entries, &key, config, object, path)
}

/// What llama.cpp's architecture does not compute, or what is not written of it.
fn refuse_what_is_not_written(
    architecture: &Architecture,
    config: &DecoderConfig,
    object: &Map<String, Value>,
    path: &Path,
) -> Result<()> {
    let refuse = |problem: String| Err(Error::format(path, problem));
    // These have more keys than are written here.
    if matches!(architecture.name, "gemma3" | "phi3") {
        return refuse(format!("is a {:?} model, which is read from GGUF and not written", architecture.model_type));
    }
    if let Some(other) =
        object.get("hidden_act").and_then(Value::as_str).filter(|name| !["silu", "swish"].contains(name))
    {
        return refuse(format!(
            "field \"hidden_act\" is {other:?}; llama.cpp's {:?} has silu alone",
            architecture.name
        ));
    }
    let rotates = |layer: usize| u64::from(!(layer + 1).is_multiple_of(4));
    if let Some(layers) = object.get("no_rope_layers").and_then(Value::as_array)
        && (0..config.layers).any(|layer| layers.get(layer).and_then(Value::as_u64) != Some(rotates(layer)))
    {
        return refuse("field \"no_rope_layers\" is not every fourth layer, which llama.cpp takes it to be".to_owned());
    }
    let switched_on = object.get("use_sliding_window").and_then(Value::as_bool);
    let mistral = object.get("model_type").and_then(Value::as_str) == Some("mistral");
    if object.get("sliding_window").is_some_and(Value::is_number) && switched_on.unwrap_or(mistral) {
        let problem = "attends within a sliding window, which llama.cpp's architecture does not";
        log::warn!("{}: the model {problem}: beyond it, texts are read in another way", path.display());
    }
    Ok(())
}

/// What stretches the rotary embedding; Llama 3's way is a tensor.
fn scaling(
    entries: &mut Entries,
    key: &dyn Fn(&str) -> String,
    config: &DecoderConfig,
    object: &Map<String, Value>,
    path: &Path,
) -> Result<()> {
    let given = ["rope_parameters", "rope_scaling"].iter().find_map(|name| object.get(*name)?.as_object());
    let Some(given) = given else { return Ok(()) };
    let text = |name: &str| given.get(name).and_then(Value::as_str);
    let number = |name: &str| given.get(name).and_then(Value::as_f64);
    match text("rope_type").or(text("type")) {
        None | Some("default") => Ok(()),
        Some("llama3") if config.rope_scaling.is_some() => Ok(()),
        Some(kind @ ("linear" | "yarn")) => {
            entries.text(&key("rope.scaling.type"), kind);
            entries.f32(&key("rope.scaling.factor"), number("factor").unwrap_or(1.0) as f32);
            if let Some(original) = number("original_max_position_embeddings") {
                entries.u32(&key("rope.scaling.original_context_length"), original as u32);
            }
            if kind == "yarn"
                && ["attention_factor", "beta_fast", "beta_slow", "mscale"].iter().any(|n| number(n).is_some())
            {
                return Err(Error::format(
                    path,
                    "has YaRN scaling with factors of its own, which is not written as GGUF",
                ));
            }
            Ok(())
        }
        Some(other) => Err(Error::format(path, format!("has {other:?} scaling, which is not written as GGUF"))),
    }
}

/// By what each frequency is divided, where the model stretches them as Llama 3.
fn llama3_factors(config: &DecoderConfig) -> Option<Vec<f32>> {
    let scaling = config.rope_scaling?;
    let bounds = (scaling.low_frequency_factor, scaling.high_frequency_factor, scaling.original_positions as f64);
    let each = |i| rope::llama3(i, (config.head_dim, config.rope_theta), scaling.factor, bounds) as f32;
    Some((0..config.head_dim / 2).map(each).collect())
}

fn tokenizer(entries: &mut Entries, source: &Path, config: &DecoderConfig) -> Result<()> {
    let path = source.join("tokenizer.json");
    let tokenizer = Tokenizer::open(source)?;
    let json = read_object(&path)?;
    let mut named = Vec::new();
    for (name, key) in [("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")]
    {
        let id = tokenizer.named_token(name).and_then(|token| tokenizer.token_id(&token));
        named.extend(id.map(|id| (key, id)));
    }
    let has = |named: &[(&str, u32)], key: &str| named.iter().any(|(other, _)| *other == key);
    let bos = tokenizer.bos();
    if let Some(id) = bos.or(config.bos).filter(|_| !has(&named, "bos")) {
        named.push(("bos", id));
    }
    if let Some(id) = config.eos.first().filter(|_| !has(&named, "eos")) {
        named.push(("eos", *id));
    }
    // The other tokens that end a generation; llama.cpp has room for one of them.
    let eos = named.iter().find(|(key, _)| *key == "eos").map(|(_, id)| *id);
    if let Some(id) = config.eos.iter().find(|id| Some(**id) != eos) {
        named.push(("eot", *id));
    }
    let template = chat_template(source, &tokenizer)?;
    Source {
        path: &path,
        json: &json,
        rows: config.vocab_size,
        named: &named,
        adds_bos: bos.is_some(),
        template: template.as_deref(),
    }
    .write(entries)
}

/// The text of the folder's chat template, if it brings one.
fn chat_template(source: &Path, tokenizer: &Tokenizer) -> Result<Option<String>> {
    let file = source.join("chat_template.jinja");
    if file.is_file() {
        return std::fs::read_to_string(&file).map(Some).map_err(Error::io("read", &file));
    }
    if let Some(text) = tokenizer.settings().get("chat_template").and_then(ChatTemplate::choose) {
        return Ok(Some(text));
    }
    let older: PathBuf = source.join("chat_template.json");
    let object = read_object_if_there(older)?;
    Ok(object.and_then(|object| object.get("chat_template").and_then(ChatTemplate::choose)))
}
