//! Decoders from and to model folders in Hugging Face's layout.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{Decoder, Layer};
use crate::device::{Device, Tensor};
use crate::io::tensor_writer::{TensorWriter, notes};
use crate::io::{
    DecoderConfig, MAX_SHARD_BYTES, ModelWriter, Stored, TensorSpec, Weights, atomic_folder::FolderWriter,
};
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::nn::linear::Linear;
use crate::nn::parameters::{Parameter, Slot};
use crate::nn::{Precision, ShardedMatrix};
use crate::{ElementType, Error, Result};

impl Decoder {
    /// Reads a model folder: `config.json` and one or many safetensors files, of any float type. Matrices are stored as
    /// `storage` (f32, f16 or bf16), by default each as in the files; a decoder that is to train must be f32.
    ///
    /// # Errors
    /// No such folder; a family or a field that the decoder does not know; a tensor that is missing or has another shape; a number that
    /// f16 cannot hold; no memory.
    pub fn open(device: &Device, folder: &Path, storage: Option<ElementType>) -> Result<Self> {
        let (config, weights) = Weights::with_config(folder)?;
        let load = |name: &str, shape: &[usize]| config.load(&weights, name, shape);
        match storage {
            Some(storage) => Decoder::with_storage(device, &config, storage, load),
            None => {
                let stored = |name: &str, shape: &[usize]| {
                    let stored = config.stored(name, shape);
                    Ok(match weights.expect(&stored.name, &stored.shape)?.element {
                        Some(half @ (ElementType::F16 | ElementType::BF16)) => half,
                        _ => ElementType::F32,
                    })
                };
                Decoder::stored_as(device, &config, &stored, load)
            }
        }
    }

    /// As [`Self::open`], for a decoder that stays frozen and computes in [`Precision::Mixed`]: matrices are stored as `storage`, f16 or
    /// bf16, by default f16, or bf16 where one has numbers beyond f16.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_mixed(device: &Device, folder: &Path, storage: Option<ElementType>) -> Result<Self> {
        let config = DecoderConfig::read(folder)?;
        let weights = Weights::open(folder)?;
        expect_tensors(&config, &weights)?;
        let load = |name: &str, shape: &[usize]| config.load(&weights, name, shape);
        let mut decoder = match storage {
            Some(storage) => Decoder::with_storage(device, &config, storage, load)?,
            None => Decoder::stored_in_halves(device, &config, load)?,
        };
        decoder.compute_in(device, Precision::Mixed)?;
        Ok(decoder)
    }

    /// Writes the model into `writer` tensor by tensor, low-rank additions merged into the matrices that they add to.
    ///
    /// # Errors
    /// A number that is not finite; a full disk; the device was lost.
    pub fn write_blocking(&self, device: &Device, writer: &mut ModelWriter) -> Result<()> {
        let additions = self.additions();
        for (slot, parameter) in self.parameters.iter().enumerate() {
            if is_low_rank(&parameter.name) {
                continue;
            }
            let merged = additions.iter().find(|linear| linear.weight == slot);
            let merged = merged.map(|linear| self.merged(device, linear)).transpose()?.map(ShardedMatrix::from);
            for (_, shard) in merged.as_ref().unwrap_or(&parameter.value).shards() {
                writer.write(&parameter.name, &shard.to_f32_blocking(device)?)?;
            }
        }
        Ok(())
    }

    /// Writes the model as the folder `out`, in f32, f16 or bf16 (rounded to nearest), with the configuration and the tokenizer of the
    /// folder `source`.
    ///
    /// # Errors
    /// As [`Self::write_blocking`]; another type, or a number that f16 cannot hold; `out` exists and `force` is off.
    pub fn save_blocking(
        &self,
        device: &Device,
        (out, force): (&Path, bool),
        source: &Path,
        element: ElementType,
    ) -> Result<PathBuf> {
        let mut writer = ModelWriter::create(out, force, source, &self.config, element, MAX_SHARD_BYTES)?;
        self.write_blocking(device, &mut writer)?;
        writer.commit()
    }

    /// Writes the low-rank additions as PEFT names and lays them out: a folder of `adapter_model.safetensors` and
    /// `adapter_config.json`.
    ///
    /// # Errors
    /// There are none; `out` exists and `force` is off; a full disk; the device was lost.
    pub fn save_low_rank_blocking(&self, device: &Device, out: &Path, base: &Path, force: bool) -> Result<PathBuf> {
        const FILE: &str = "adapter_model.safetensors";
        let list: Vec<_> = self.parameters.iter().filter(|p| is_low_rank(&p.name)).collect();
        let scale = self.additions().first().and_then(|l| l.low_rank.as_ref()).map(|l| l.scale);
        let Some(scale) = scale else {
            return Err(Error::argument("model", "has no low-rank additions to write"));
        };
        let name = |name: &str| format!("base_model.model.{name}");
        let stored = |p: &Parameter| match p.name.ends_with(".lora_B.weight") {
            true => self.config.stored(&p.name, &p.shape),
            false => Stored { name: p.name.clone(), shape: p.shape.clone(), first_row: 0 },
        };
        let folder = FolderWriter::create(out, force)?;
        let whole = list.iter().map(|p| stored(p)).filter(|stored| stored.first_row == 0);
        let specs: Vec<_> = whole.map(|s| TensorSpec::new(name(&s.name), &s.shape, ElementType::F32)).collect();
        let mut writer = TensorWriter::start(folder.file(FILE)?, &out.join(FILE), &specs, notes(&[]))?;
        for parameter in list {
            writer.write(&name(&stored(parameter).name), &parameter.value.to_f32_blocking(device)?)?;
        }
        writer.finish()?;
        let config = serde_json::json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base.display().to_string(),
            "r": self.rank, "lora_alpha": f64::from(scale) * self.rank as f64, "lora_dropout": 0.0, "bias": "none",
            "inference_mode": true,
            "target_modules": match self.config.fused {
                true => &["qkv_proj", "o_proj", "gate_up_proj", "down_proj"][..],
                false => &["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
            },
        });
        folder.write("adapter_config.json", format!("{config:#}\n").as_bytes())?;
        folder.publish()?;
        Ok(out.to_path_buf())
    }

    /// The linear layers that have low-rank additions.
    fn additions(&self) -> Vec<&Linear> {
        self.layers.iter().flat_map(linears).filter(|linear| linear.low_rank.is_some()).collect()
    }

    /// W + scale B A, in f32.
    fn merged(&self, device: &Device, linear: &Linear) -> Result<Tensor> {
        let value = |slot: Slot| self.parameters.tensor(slot);
        let weight = value(linear.weight)?;
        // By way of the host, which widens what has 16 bits.
        let sum = Tensor::from_f32(device, &weight.to_f32_blocking(device)?, weight.width())?;
        let mut recorder = device.recorder();
        if let Some(low_rank) = &linear.low_rank {
            let product = Product { alpha: low_rank.scale, accumulate: true, upper: false };
            let operands = (Operand::new(value(low_rank.b)?), Operand::new(value(low_rank.a)?));
            matmul::record(&mut recorder, product, operands, (&sum, 0))?;
        }
        recorder.submit()?;
        Ok(sum)
    }
}

/// Checks that the files hold what the configuration calls for, and nothing more in its layers: a norm or a bias that it does not name would
/// be left out in silence.
fn expect_tensors(config: &DecoderConfig, weights: &Weights) -> Result<()> {
    let known = config.file_tensors();
    weights.expect_all(&known)?;
    let known: HashSet<String> = known.into_iter().map(|(name, _)| name).collect();
    let of_layer = |name: &str| {
        let rest = name.strip_prefix("model.layers.")?;
        rest.split('.').next()?.parse::<usize>().ok().filter(|layer| *layer < config.layers)
    };
    let unknown =
        |name: &&str| of_layer(name).is_some() && !known.contains(*name) && !name.ends_with("rotary_emb.inv_freq");
    match weights.names().filter(unknown).min() {
        None => Ok(()),
        Some(name) => {
            let problem = format!("holds tensor {name:?}, which its config.json does not call for");
            Err(Error::format(weights.folder(), format!("{problem}; is this the model's own config.json?")))
        }
    }
}

fn linears(layer: &Layer) -> [&Linear; 7] {
    let Layer { q, k, v, o, gate, up, down, .. } = layer;
    [q, k, v, o, gate, up, down]
}

fn is_low_rank(name: &str) -> bool {
    name.contains(".lora_")
}
