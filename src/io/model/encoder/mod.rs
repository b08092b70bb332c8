//! `config.json` of encoders, image and text towers, as a table of features: a kind of model is a row of names, features and defaults, see
//! `table.rs`.

mod image;
mod keys;
mod sentence;
mod table;
mod text;

use std::path::Path;

use super::config::knows;
use super::fields::{Fields, read_object};
use crate::io::Weights;
use crate::{Error, Result};

pub(crate) use image::{ImageConfig, ImageHead};
pub use sentence::Pool;
pub(crate) use sentence::{Module, SentenceFolder};
pub(crate) use text::{BUCKETS, EndRule, MAX_DISTANCE, Projection, TextConfig, TextPooling, bucket_of};

/// What a tower's MLP passes its inner rows through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TowerActivation {
    /// x σ(x).
    Silu,
    /// x Φ(x), exactly.
    Gelu,
    /// GELU by tanh.
    GeluTanh,
    /// x σ(1.702 x).
    QuickGelu,
    /// The larger of x and 0.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
}

/// The transformer's blocks of a tower.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct BlocksConfig {
    /// Width of the residual stream.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Heads of attention; they divide the width.
    pub heads: usize,
    /// Width inside the MLP.
    pub inner: usize,
    pub activation: TowerActivation,
    /// ε of LayerNorm, inside the root.
    pub norm_eps: f64,
    /// Whether norms follow on attention and MLP, behind the residual (BERT), instead of coming before them.
    pub norms_after: bool,
    pub names: &'static LayerNames,
}

/// What files call the parts of a block.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct LayerNames {
    /// The list of blocks.
    pub list: &'static str,
    pub q: &'static str,
    pub k: &'static str,
    pub v: &'static str,
    pub o: &'static str,
    pub attention_norm: &'static str,
    pub inner: &'static str,
    pub outer: &'static str,
    pub mlp_norm: &'static str,
}

impl BlocksConfig {
    /// Checks what the blocks must be to be computed; `fields` is where they come from.
    fn check(&self, fields: &Fields) -> Result<()> {
        if !self.width.is_multiple_of(self.heads) {
            let problem = format!("is {}, which {} heads do not divide", self.width, self.heads);
            return Err(fields.error("hidden_size", &problem));
        }
        if self.width / self.heads > 256 {
            let problem = format!("makes heads {} wide; towers have heads of up to 256", self.width / self.heads);
            return Err(fields.error("hidden_size", &problem));
        }
        Ok(())
    }
}

/// The activation that a name stands for.
fn activation(fields: &Fields, name: &str, default: &str) -> Result<TowerActivation> {
    match fields.text(name)?.unwrap_or(default) {
        "silu" | "swish" => Ok(TowerActivation::Silu),
        "gelu" | "gelu_python" => Ok(TowerActivation::Gelu),
        "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_new" | "gelu_fast" | "gelu_accurate" => {
            Ok(TowerActivation::GeluTanh)
        }
        "quick_gelu" => Ok(TowerActivation::QuickGelu),
        "relu" => Ok(TowerActivation::Relu),
        "tanh" => Ok(TowerActivation::Tanh),
        other => {
            let known = "towers know \"gelu\", \"gelu_pytorch_tanh\", \"quick_gelu\", \"relu\", \"silu\", \"tanh\" and their other names";
            Err(fields.error(name, &format!("is {other:?}; {known}")))
        }
    }
}

/// The beginning of the names of a tower's tensors: the first of some under which `probe` is there.
///
/// # Errors
/// None of them.
pub(crate) fn prefix_of(weights: &Weights, prefixes: &[&'static str], probe: &str) -> Result<&'static str> {
    let found = prefixes.iter().find(|prefix| weights.contains(&format!("{prefix}{probe}")));
    found.copied().ok_or_else(|| {
        let wanted = format!("{}{probe}", prefixes.first().copied().unwrap_or_default());
        let problem = format!("the model has no tensor {wanted:?}, which its config.json calls for; is it complete?");
        Error::format(weights.folder(), problem)
    })
}

/// Whether a path is a decoder's: a GGUF file, or a folder of one of the families that decoders know.
pub(crate) fn is_decoder(path: &Path) -> Result<bool> {
    crate::io::check_local(path)?;
    if path.is_file() {
        return Ok(true);
    }
    let path = path.join("config.json");
    let object = read_object(&path)?;
    Ok(knows(&Fields::new(&path, &object)))
}

/// The object of `config.json` in a folder, for as long as it takes.
fn with_config<T>(folder: &Path, read: impl FnOnce(&Fields) -> Result<T>) -> Result<T> {
    crate::io::check_local(folder)?;
    let path = folder.join("config.json");
    if folder.is_file() {
        return Err(Error::format(folder, "is a file; name the folder of an encoder in Hugging Face's layout"));
    }
    let object = read_object(&path)?;
    read(&Fields::new(&path, &object))
}
