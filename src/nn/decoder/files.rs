//! Decoders from and to model folders in Hugging Face's layout.

use std::path::{Path, PathBuf};

use super::{Decoder, Layer};
use crate::device::{Device, Tensor, block_on, yield_now};
use crate::io::{DecoderConfig, MAX_SHARD_BYTES, ModelWriter, Weights};
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::nn::linear::Linear;
use crate::nn::parameters::Slot;
use crate::nn::{Parameter, Precision, ShardedMatrix};
use crate::{ElementType, Result};

/// How a decoder is opened; by default in f32, its matrices as in the files.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenDecoder<'a> {
    /// What it computes in.
    pub precision: Precision,
    /// What its matrices are stored as: f32, f16, bf16 or Q8_0.
    pub weights: Option<ElementType>,
    /// A folder of low-rank additions in PEFT's layout, which stay apart from the matrices.
    pub low_rank: Option<&'a Path>,
}

impl Decoder {
    /// Reads a model folder: `config.json` and one or many safetensors files, of any float type. Matrices are stored as
    /// `storage` (f32, f16, bf16 or Q8_0), by default each as in the files; a decoder that is to train must be f32.
    ///
    /// # Errors
    /// No such folder; a family or a field that the decoder does not know; a tensor that is missing or has another shape; a number that
    /// f16 cannot hold; no memory.
    pub fn open(device: &Device, folder: &Path, storage: Option<ElementType>) -> Result<Self> {
        let (config, weights) = Weights::with_config(folder)?;
        Decoder::read(device, (&config, &weights), storage)
    }

    /// As [`Self::open`], for one whose output matrix nobody reads: files may lack it, as those of a model without its head do.
    ///
    /// # Errors
    /// As [`Self::open`].
    #[cfg(feature = "encode")]
    pub(crate) fn open_without_head(device: &Device, folder: &Path) -> Result<Self> {
        let (config, weights) = Weights::without_head(folder)?;
        Decoder::read(device, (&config, &weights), None)
    }

    fn read(
        device: &Device,
        (config, weights): (&DecoderConfig, &Weights),
        storage: Option<ElementType>,
    ) -> Result<Self> {
        let load = |name: &str, shape: &[usize]| config.load(weights, name, shape);
        match storage {
            Some(storage) => Decoder::with_storage(device, config, storage, load),
            None => {
                let stored = |name: &str, shape: &[usize]| {
                    let stored = config.stored(name, shape);
                    Ok(match weights.expect(&stored.name, &stored.shape)?.element {
                        Some(half @ (ElementType::F16 | ElementType::BF16)) => half,
                        _ => ElementType::F32,
                    })
                };
                Decoder::stored_as(device, config, &stored, load)
            }
        }
    }

    /// As [`Self::open`], with more choices; for inference, or for training an adapter or low-rank additions.
    ///
    /// # Errors
    /// As [`Self::open`], [`Self::open_mixed`] and [`Self::open_low_rank`].
    pub fn open_with(device: &Device, folder: &Path, options: OpenDecoder<'_>) -> Result<Self> {
        let mut decoder = match options.precision {
            Precision::F32 => Decoder::open(device, folder, options.weights)?,
            Precision::Mixed => Decoder::open_mixed(device, folder, options.weights)?,
        };
        if let Some(additions) = options.low_rank {
            decoder.open_low_rank(device, additions)?;
            decoder.compute_in(device, options.precision)?;
        }
        Ok(decoder)
    }

    /// As [`Self::open`], for a decoder that stays frozen and computes in [`Precision::Mixed`]: matrices are stored as `storage`, f16,
    /// bf16 or Q8_0, by default f16, or bf16 where one has numbers beyond f16.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_mixed(device: &Device, folder: &Path, storage: Option<ElementType>) -> Result<Self> {
        let (config, weights) = Weights::with_config(folder)?;
        let load = |name: &str, shape: &[usize]| config.load(&weights, name, shape);
        let mut decoder = match storage {
            Some(storage) => Decoder::with_storage(device, &config, storage, load)?,
            None => Decoder::stored_in_halves(device, &config, load)?,
        };
        decoder.compute_in(device, Precision::Mixed)?;
        Ok(decoder)
    }

    /// Writes the model into `writer` tensor by tensor, low-rank additions merged into the matrices that they add to; of matrices in Q8_0, the
    /// numbers that they stand for.
    ///
    /// # Errors
    /// A number that is not finite; a full disk; the device was lost.
    pub fn write_blocking(&self, device: &Device, writer: &mut ModelWriter) -> Result<()> {
        block_on(device, self.write(device, writer))
    }

    /// As [`Self::write_blocking`], without waiting: see [`Device::read`].
    ///
    /// # Errors
    /// As there.
    pub async fn write(&self, device: &Device, writer: &mut ModelWriter) -> Result<()> {
        self.write_from(device, writer, None).await
    }

    /// As [`Self::write`]; matrices in Q8_0 have the numbers of these files.
    async fn write_from(
        &self,
        device: &Device,
        writer: &mut ModelWriter,
        files: Option<&(DecoderConfig, Weights)>,
    ) -> Result<()> {
        let additions = self.additions();
        for (slot, parameter) in self.parameters.iter().enumerate() {
            if is_low_rank(&parameter.name) {
                continue;
            }
            let exact = match files {
                Some((config, weights)) if is_in_blocks(parameter) => {
                    Some(config.load(weights, &parameter.name, &parameter.shape)?)
                }
                _ => None,
            };
            let merged = additions.iter().find(|linear| linear.weight == slot);
            if let (None, Some(numbers)) = (merged, &exact) {
                writer.write(&parameter.name, numbers)?;
                continue;
            }
            let merged = match merged {
                Some(linear) => Some(ShardedMatrix::from(self.merged(device, linear, exact).await?)),
                None => None,
            };
            for (_, shard) in merged.as_ref().unwrap_or(&parameter.value).shards() {
                writer.write(&parameter.name, &shard.to_f32(device).await?)?;
                yield_now().await;
            }
        }
        Ok(())
    }

    /// Writes the model as the folder `out`, in f32, f16 or bf16 (rounded to nearest), with the configuration and the tokenizer of the
    /// folder `source`. Matrices in Q8_0 are written as they are in `source`, which the decoder was opened from.
    ///
    /// # Errors
    /// As [`Self::write_blocking`]; another type, or a number that f16 cannot hold; `out` exists and `force` is off; `source` cannot be read.
    pub fn save_blocking(
        &self,
        device: &Device,
        (out, force): (&Path, bool),
        source: &Path,
        element: ElementType,
    ) -> Result<PathBuf> {
        block_on(device, self.save(device, (out, force), source, element))
    }

    /// As [`Self::save_blocking`], without waiting: see [`Device::read`].
    ///
    /// # Errors
    /// As there.
    pub async fn save(
        &self,
        device: &Device,
        (out, force): (&Path, bool),
        source: &Path,
        element: ElementType,
    ) -> Result<PathBuf> {
        let mut writer = ModelWriter::create(out, force, source, &self.config, element, MAX_SHARD_BYTES)?;
        let files = self.parameters.iter().any(is_in_blocks).then(|| Weights::with_config(source)).transpose()?;
        self.write_from(device, &mut writer, files.as_ref()).await?;
        writer.commit()
    }

    /// The linear layers that have low-rank additions.
    pub(super) fn additions(&self) -> Vec<&Linear> {
        self.layers.iter().flat_map(linears).filter(|linear| linear.low_rank.is_some()).collect()
    }

    /// W + scale B A, in f32; W as it is on the device, or as these numbers say.
    async fn merged(&self, device: &Device, linear: &Linear, exact: Option<Vec<f32>>) -> Result<Tensor> {
        let value = |slot: Slot| self.parameters.tensor(slot);
        let weight = value(linear.weight)?;
        // By way of the host, which widens what has 16 bits.
        let numbers = match exact {
            Some(numbers) => numbers,
            None => weight.to_f32(device).await?,
        };
        let sum = Tensor::from_f32(device, &numbers, weight.width())?;
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

fn is_in_blocks(parameter: &Parameter) -> bool {
    parameter.value.element_type() == ElementType::Q8_0
}

fn linears(layer: &Layer) -> [&Linear; 7] {
    let Layer { q, k, v, o, gate, up, down, .. } = layer;
    [q, k, v, o, gate, up, down]
}

pub(super) fn is_low_rank(name: &str) -> bool {
    name.contains(".lora_")
}
