//! A tiny Llama in Hugging Face's layout, to be trained from nothing on texts about digits.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::attributes::{Attributes, VALUES};
use super::random::{Random, Stream};
use super::vocabulary::Vocabulary;
use super::words::{Length, document};
use crate::io::{DecoderConfig, ModelWriter, Samples, TARGET, write_atomically};
use crate::{ElementType, Error, Result, host};

/// Longest text, in tokens.
const POSITIONS: usize = 256;

/// Texts without images that a tiny decoder learns the language from, before it is frozen: see [`document`]. Attributes are
/// drawn evenly, captions are of that length, and every token is a target.
pub fn warm_up_samples(vocabulary: &Vocabulary, count: usize, length: Length, seed: u64) -> Samples {
    let (mut random, mut samples) = (Random::of(seed, Stream::Documents), Samples::default());
    for _ in 0..count {
        let attributes: Attributes = VALUES.map(|values| random.below(values) as u8);
        let text = document(&attributes, length, Vocabulary::marks(), &mut random);
        let entries: Vec<u32> = vocabulary.encode(&text).into_iter().map(|id| id | TARGET).collect();
        samples.push("", &entries, None, POSITIONS);
    }
    samples
}

/// The shape of a tiny decoder; the default has some 190,000 parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TinyDecoder {
    /// Width of the residual stream, a multiple of twice the heads.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside the gated MLP.
    pub intermediate: usize,
    /// What the initial weights depend on.
    pub seed: u64,
}

impl Default for TinyDecoder {
    fn default() -> Self {
        TinyDecoder { hidden: 96, layers: 2, heads: 4, intermediate: 192, seed: 0 }
    }
}

impl TinyDecoder {
    /// Writes the model folder `out`: `config.json`, `tokenizer.json`, `tokenizer_config.json` and initial f32 weights (the
    /// embedding normal with deviation 0.1, norms 1, matrices uniform within 1 / √columns, as PyTorch starts them).
    ///
    /// # Errors
    /// Heads that do not divide the width into even parts; the folder exists and `force` is off; the disk refuses.
    pub fn write(&self, out: &Path, vocabulary: &Vocabulary, force: bool) -> Result<PathBuf> {
        if self.heads == 0 || self.layers == 0 || !self.hidden.is_multiple_of(2 * self.heads.max(1)) || self.hidden == 0
        {
            let problem = format!("{} with {} heads; wants a multiple of twice the heads", self.hidden, self.heads);
            return Err(Error::argument("hidden", problem));
        }
        let source = tempfile::tempdir().map_err(Error::io("create a temporary folder for", out))?;
        let put = |name: &str, value: serde_json::Value| {
            write_atomically(&source.path().join(name), false, format!("{value:#}\n").as_bytes())
        };
        put("config.json", self.config(vocabulary))?;
        put("tokenizer.json", vocabulary.tokenizer_json())?;
        put("tokenizer_config.json", vocabulary.tokenizer_config_json())?;
        let config = DecoderConfig::read(source.path())?;
        let limit = crate::io::MAX_SHARD_BYTES;
        let mut writer = ModelWriter::create(out, force, source.path(), &config, ElementType::F32, limit)?;
        for (stream, (name, shape)) in config.tensors().into_iter().enumerate() {
            writer.write(&name, &self.initial(&name, &shape, stream as u64))?;
        }
        writer.commit()
    }

    fn config(&self, vocabulary: &Vocabulary) -> serde_json::Value {
        let marks = Vocabulary::marks();
        let id = |mark: &str| vocabulary.encode(mark).first().copied();
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float32",
            "hidden_size": self.hidden, "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads, "intermediate_size": self.intermediate, "hidden_act": "silu",
            "vocab_size": vocabulary.len(), "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
            "max_position_embeddings": POSITIONS, "tie_word_embeddings": false,
            "bos_token_id": id(marks.bos), "eos_token_id": id(marks.eos),
        })
    }

    fn initial(&self, name: &str, shape: &[usize], stream: u64) -> Vec<f32> {
        let count = shape.iter().product();
        match shape {
            [_] => vec![1.0; count],
            _ if name.ends_with("embed_tokens.weight") => {
                host::gaussian::normals(count, self.seed, stream).iter().map(|g| 0.1 * g).collect()
            }
            _ => {
                let bound = 1.0 / (shape[shape.len() - 1] as f32).sqrt();
                let numbers = host::gaussian::uniforms(count, self.seed, stream);
                numbers.iter().map(|u| bound * (2.0 * u - 1.0)).collect()
            }
        }
    }
}
