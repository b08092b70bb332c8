//! Writing a model folder that Hugging Face's libraries load.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::source::ModelFiles;
use crate::io::atomic_folder::FolderWriter;
use crate::io::tensor_writer::{TensorWriter, notes};
use crate::io::{DecoderConfig, TensorSpec};
use crate::{ElementType, Error, Result};

/// Hugging Face's limit for a shard, in bytes of tensors.
pub const MAX_SHARD_BYTES: u64 = 5_000_000_000;

/// Files of a model folder that pass through unchanged.
const COPIED: [&str; 11] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "LICENSE",
];

/// Writes a decoder's tensors, piece by piece in any order, into a folder that appears whole or not at all.
#[derive(Debug)]
pub struct ModelWriter {
    folder: FolderWriter,
    shards: Vec<TensorWriter>,
    places: BTreeMap<String, usize>,
    /// The file's name of tensors that are parts of one there.
    parts: BTreeMap<String, String>,
}

impl ModelWriter {
    /// Prepares the model folder `out`: `config.json` of the model folder or GGUF file `source` with its type set to `element`
    /// (f32, f16 or bf16), its tokenizer's files, and shards of at most `max_shard_bytes` (a larger tensor gets one to
    /// itself) for the tensors of `config`.
    ///
    /// # Errors
    /// `out` exists and `force` is off, `source` has no `config.json`, or the disk refuses.
    pub fn create(
        out: &Path,
        force: bool,
        source: &Path,
        config: &DecoderConfig,
        element: ElementType,
        max_shard_bytes: u64,
    ) -> Result<ModelWriter> {
        let folder = FolderWriter::create(out, force)?;
        let files = ModelFiles::open(source)?;
        folder.write("config.json", &config_for(files.config()?, config, element)?)?;
        #[cfg(feature = "train")]
        for (name, text) in files.generated_tokenizer()?.into_iter().flatten() {
            folder.write(name, text.as_bytes())?;
        }
        for name in COPIED {
            let from = source.join(name);
            if from.is_file() {
                folder.copy(&from, name)?;
            }
        }
        let specs =
            config.file_tensors().into_iter().map(|(name, shape)| TensorSpec::new(name, &shape, element)).collect();
        let plan = plan_shards(specs, max_shard_bytes, out)?;
        let part = |(name, shape): (String, Vec<usize>)| (config.stored(&name, &shape).name, name);
        let parts = config.tensors().into_iter().map(part).filter(|(file, name)| file != name);
        let parts = parts.map(|(file, name)| (name, file)).collect();
        let mut writer = ModelWriter { folder, shards: Vec::new(), places: BTreeMap::new(), parts };
        let single = plan.len() == 1;
        let mut map = serde_json::Map::new();
        let mut total = 0;
        for (i, shard) in plan.iter().enumerate() {
            let name = match single {
                true => "model.safetensors".to_string(),
                false => format!("model-{:05}-of-{:05}.safetensors", i + 1, plan.len()),
            };
            let file = writer.folder.file(&name)?;
            writer.shards.push(TensorWriter::start(file, &out.join(&name), shard, notes(&[]))?);
            for spec in shard {
                writer.places.insert(spec.name.clone(), i);
                map.insert(spec.name.clone(), Value::String(name.clone()));
                total += spec.bytes().unwrap_or(0);
            }
        }
        if !single {
            let index = json!({"metadata": {"total_size": total}, "weight_map": map});
            writer.folder.write("model.safetensors.index.json", format!("{index:#}\n").as_bytes())?;
        }
        Ok(writer)
    }

    /// Appends numbers to a tensor, row after row. Tensors that files have as one, such as Phi-3's queries, keys and values, come in the order
    /// of [`DecoderConfig::tensors`].
    ///
    /// # Errors
    /// No such tensor in the model, more numbers than it has, one that is not finite in the chosen type, a full disk.
    pub fn write(&mut self, name: &str, numbers: &[f32]) -> Result<()> {
        let name = self.parts.get(name).map_or(name, String::as_str);
        let shard = self.places.get(name).and_then(|i| self.shards.get_mut(*i));
        let unknown = || Error::argument("tensor", format!("{name:?} is not one of the model's"));
        shard.ok_or_else(unknown)?.write(name, numbers)
    }

    /// Adds a file to the folder, such as the adapter beside the model.
    ///
    /// # Errors
    /// The name is taken, or the disk refuses.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.folder.write(name, bytes)
    }

    /// Gives the folder its name.
    ///
    /// # Errors
    /// A tensor is incomplete, or the disk refuses; then nothing appears.
    pub fn commit(self) -> Result<PathBuf> {
        let path = self.folder.path().to_path_buf();
        self.shards.into_iter().try_for_each(TensorWriter::finish)?;
        self.folder.publish()?;
        Ok(path)
    }
}

fn plan_shards(specs: Vec<TensorSpec>, max: u64, out: &Path) -> Result<Vec<Vec<TensorSpec>>> {
    let mut shards: Vec<Vec<TensorSpec>> = Vec::new();
    let mut filled = 0u64;
    for spec in specs {
        let bytes = spec.bytes().ok_or_else(|| Error::format(out, format!("tensor {:?} is too large", spec.name)))?;
        match shards.last_mut().filter(|_| filled.saturating_add(bytes) <= max) {
            Some(shard) => shard.push(spec),
            None => {
                shards.push(vec![spec]);
                filled = 0;
            }
        }
        filled = filled.saturating_add(bytes);
    }
    Ok(shards)
}

/// The source's `config.json` with the type of the new weights, under the old name and, if it is there, the new one; as the model is, where
/// it says otherwise: of a causal language model, whose output matrix is tied or not.
fn config_for(
    (path, mut object): (PathBuf, serde_json::Map<String, Value>),
    config: &DecoderConfig,
    element: ElementType,
) -> Result<Vec<u8>> {
    let name = match element {
        ElementType::F32 => "float32",
        ElementType::F16 => "float16",
        ElementType::BF16 => "bfloat16",
        other => {
            return Err(Error::argument("element", format!("models are written as f32, f16 or bf16, not {other}")));
        }
    };
    if DecoderConfig::from_object(&object, &path)?.tied_embeddings != config.tied_embeddings {
        object.insert("tie_word_embeddings".to_string(), Value::Bool(config.tied_embeddings));
    }
    let class = object.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str);
    if let Some(bare) = class.and_then(|class| class.strip_suffix("Model")) {
        object.insert("architectures".to_string(), json!([format!("{bare}ForCausalLM")]));
    }
    let key = if object.contains_key("dtype") { "dtype" } else { "torch_dtype" };
    object.insert(key.to_string(), Value::String(name.to_string()));
    Ok(format!("{:#}\n", Value::Object(object)).into_bytes())
}
