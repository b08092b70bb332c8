//! Image towers.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::blocks::{BlockSpace, Blocks, Chosen};
use super::load::{Linear, Loader, Norm, Then, busy_tokens};
use super::pooling::{AttentionPooling, PoolingRows};
use crate::device::{Buffer, Device, Purpose, Recorder, Tensor};
use crate::io::Weights;
use crate::io::encoder::{ImageConfig, ImageHead, prefix_of};
use crate::kernels::nn::attention::{Mask, Sequence, Sequences};
use crate::kernels::nn::patches::{self, Cut};
use crate::kernels::nn::{add_rows, embedding, unit_rows};
use crate::nn::Precision;
use crate::{ElementType, Error, Result};

/// The image tower of a model folder (CLIP or SigLIP, a whole model or the tower alone), on a device. It computes in f32, where matrices that are
/// stored as f16 or bf16 stay so on a GPU, or in mixed precision ([`ImageEncoder::load_in`]).
#[derive(Debug)]
pub struct ImageEncoder {
    device: Device,
    config: ImageConfig,
    patch: Linear,
    /// Of the class token, which is added to its row, and of the patches.
    positions: Tensor,
    norm_before: Option<Norm>,
    blocks: Blocks,
    last_norm: Norm,
    head: Head,
    /// What divides rows by their norms, if that was asked for.
    unit: Option<Tensor>,
    /// What [`ImageEncoder::encode`] and [`ImageEncoder::encode_blocking`] used last.
    kept: Mutex<Option<ImageSpace>>,
    /// The folder's preprocessor.
    #[cfg(feature = "pictures")]
    pub(super) pictures: super::rgb::Pictures,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one to an encoder")]
enum Head {
    Class(Linear),
    Attention(AttentionPooling),
}

/// Work space for a number of images: see [`ImageEncoder::record`].
#[derive(Clone, Debug)]
pub struct ImageSpace {
    images: usize,
    patches: Tensor,
    /// Patches through their layer, where a class token comes between them, and which of them is which token.
    projected: Option<(Tensor, Buffer)>,
    /// What the norm before the blocks reads.
    embedded: Option<Tensor>,
    /// Each token's position.
    places: Buffer,
    sequences: Sequences,
    all: BlockSpace,
    few: BlockSpace,
    rows: HeadRows,
    /// Rows divided by their norms.
    unit: Option<Tensor>,
}

/// What the head reads and writes.
#[derive(Clone, Debug)]
enum HeadRows {
    Class { chosen: Chosen, normed: Tensor, out: Tensor },
    Attention(PoolingRows),
}

impl ImageEncoder {
    /// Reads the image tower of a model folder in Hugging Face's layout.
    ///
    /// # Errors
    /// No such folder; a model of another kind; a field that is not known; a tensor that is missing, has another shape or is one more than the
    /// tower has; NaN or infinity among its numbers; no memory.
    pub fn load(device: &Device, folder: &Path) -> Result<ImageEncoder> {
        ImageEncoder::load_in(device, folder, Precision::F32)
    }

    /// As [`ImageEncoder::load`], computing in `precision`: [`Precision::Mixed`] has f16 for matrices and for what products and attention read, f32 for
    /// the residual stream, sums, norms and rows. Every device can; those with tensor cores are faster for it, the host engine slower.
    ///
    /// # Errors
    /// As [`ImageEncoder::load`].
    pub fn load_in(device: &Device, folder: &Path, precision: Precision) -> Result<ImageEncoder> {
        let config = ImageConfig::read(folder)?;
        let weights = Weights::open(folder)?;
        let prefix = prefix_of(&weights, config.prefixes, "embeddings.patch_embedding.weight")?;
        let mut loader = Loader::new(device, &weights).computing_in(precision);
        let encoder = ImageEncoder::build(&mut loader, config, prefix)?;
        #[cfg(feature = "pictures")]
        let encoder = ImageEncoder { pictures: super::rgb::Pictures::load(folder), ..encoder };
        let others = |name: &str| prefix.is_empty() && name.starts_with("text_model.");
        loader.finish(prefix, others)?;
        Ok(encoder)
    }

    /// A tower of this shape whose numbers are made up.
    #[cfg(feature = "bench")]
    pub(crate) fn random(device: &Device, config: ImageConfig) -> Result<ImageEncoder> {
        ImageEncoder::build(&mut Loader::random(device), config, "")
    }

    fn build(loader: &mut Loader<'_>, config: ImageConfig, prefix: &str) -> Result<ImageEncoder> {
        let (width, eps) = (config.blocks.width, config.blocks.norm_eps);
        let name = |part: &str| format!("{prefix}{part}");
        let patch = name("embeddings.patch_embedding");
        let shape = [width, config.channels, config.patch, config.patch];
        let numbers = loader.numbers(&format!("{patch}.weight"), &shape)?;
        let columns = config.channels * config.patch * config.patch;
        let weight = loader.made(&format!("{patch}.weight"), &shape, (&numbers, columns))?;
        let bias = config.patch_bias.then(|| loader.row(&format!("{patch}.bias"), width)).transpose()?;
        let mut positions = loader.numbers(&name("embeddings.position_embedding.weight"), &[config.tokens(), width])?;
        if config.class_token {
            let class = loader.numbers(&name("embeddings.class_embedding"), &[width])?;
            positions.iter_mut().zip(class).for_each(|(position, x)| *position += x);
        }
        // The name is the files' own.
        let norm_before = config.norm_before.then(|| loader.norm(&name("pre_layrnorm"), width, eps)).transpose()?;
        let blocks = Blocks::load(loader, &config.blocks, prefix)?;
        let last_norm = loader.norm(&name("post_layernorm"), width, eps)?;
        let head = match config.head {
            ImageHead::Class(out) => Head::Class(loader.linear("visual_projection", [out, width], false)?),
            ImageHead::AttentionPooling => {
                Head::Attention(AttentionPooling::load(loader, &config.blocks, &name("head"))?)
            }
        };
        Ok(ImageEncoder {
            device: loader.device.clone(),
            patch: Linear { weight, bias },
            positions: Tensor::from_f32(loader.device, &positions, width)?,
            norm_before,
            blocks,
            last_norm,
            head,
            unit: None,
            config,
            kept: Mutex::new(None),
            #[cfg(feature = "pictures")]
            pictures: super::rgb::Pictures::default(),
        })
    }

    /// The same encoder with rows divided by their norms, as adapters are often trained on them. Spaces that were made before are of no more use.
    ///
    /// # Errors
    /// No memory.
    pub fn unit_rows(mut self) -> Result<Self> {
        self.unit = Some(unit_rows::weight(&self.device, self.width())?);
        self.kept = Mutex::new(None);
        Ok(self)
    }

    /// Numbers of an embedding.
    pub fn width(&self) -> usize {
        self.config.width()
    }

    /// Height and width of the images that it takes, in pixels.
    pub fn image_size(&self) -> (usize, usize) {
        (self.config.image, self.config.image)
    }

    /// The device that it is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How many images at a time keep its device busy, within what the device binds at once: more in one batch are no faster.
    pub fn batch(&self) -> usize {
        let (tokens, caps) = (self.config.tokens(), self.device.capabilities());
        let busy = busy_tokens(&self.device).div_ceil(tokens);
        let widest = self.config.blocks.inner.max(self.cut().width()).max(self.config.blocks.width);
        let bytes = 4 * (tokens * widest.next_multiple_of(4)).max(self.cut().elements().next_multiple_of(4));
        busy.min(usize::try_from(caps.max_binding).unwrap_or(usize::MAX) / bytes).max(1)
    }

    fn cut(&self) -> Cut {
        let ImageConfig { channels, image, patch, .. } = self.config;
        Cut { channels, lines: image, pixels: image, side: patch }
    }

    /// The embeddings `[n, width]` of images, whose pixels are normalised already: `[n, 3, height, width]`, channel by channel and line by line.
    /// More images than [`ImageEncoder::batch`] are taken in parts.
    ///
    /// # Errors
    /// Pixels that are no whole number of images; no memory; the device was lost.
    pub fn encode_blocking(&self, pixels: &[f32]) -> Result<Vec<f32>> {
        let elements = self.check_pixels(pixels)?;
        let mut rows = Vec::with_capacity(pixels.len() / elements * self.width());
        for part in pixels.chunks(self.batch() * elements) {
            rows.extend(self.encode(part)?.to_f32_blocking(&self.device)?);
        }
        Ok(rows)
    }

    /// As [`ImageEncoder::encode_blocking`], without waiting: the work is submitted, and the rows, which are the caller's own, lie on the device. For
    /// kernels and submissions that come later they are there; [`Tensor::to_f32`] and [`Device::begin_read`] bring them to the host.
    ///
    /// # Errors
    /// As there.
    pub fn encode(&self, pixels: &[f32]) -> Result<Tensor> {
        let elements = self.check_pixels(pixels)?;
        let out = self.rows(pixels.len() / elements)?;
        for (first, part) in (0..).step_by(self.batch()).zip(pixels.chunks(self.batch() * elements)) {
            let images = Tensor::from_f32(&self.device, part, elements)?;
            self.submit_with((&out, first), images.rows(), |_| Ok(images))?;
        }
        Ok(out)
    }

    fn check_pixels(&self, pixels: &[f32]) -> Result<usize> {
        let elements = self.cut().elements();
        if !pixels.len().is_multiple_of(elements) {
            let (height, width) = self.image_size();
            let want = format!("whole images of [3, {height}, {width}]");
            return Err(Error::shape("encode images", "pixels", want, format!("{} numbers", pixels.len())));
        }
        Ok(elements)
    }

    /// Room for embeddings.
    pub(super) fn rows(&self, images: usize) -> Result<Tensor> {
        Tensor::labelled(&self.device, (Purpose::Activations, "embeddings"), (images, self.width()), ElementType::F32)
    }

    /// Submits the embeddings of images whose pixels `prepare` gives, and records what they need before: to rows of `out` from a row on. The space that
    /// was used last serves again: what the device runs later comes later.
    pub(super) fn submit_with(
        &self,
        (out, first): (&Tensor, usize),
        images: usize,
        prepare: impl FnOnce(&mut Recorder) -> Result<Tensor>,
    ) -> Result<()> {
        let space = self.space(images)?;
        let mut recorder = self.device.recorder();
        let pixels = prepare(&mut recorder)?;
        let rows = self.record(&mut recorder, &pixels, &space)?;
        recorder.copy_rows((&rows, 0), (out, first), images)?;
        recorder.submit()?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(space);
        Ok(())
    }

    /// The space that was used last, if it is for so many images, or a new one.
    fn space(&self, images: usize) -> Result<ImageSpace> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        match kept.filter(|space| space.images == images) {
            Some(space) => Ok(space),
            None => ImageSpace::new(self, images),
        }
    }

    /// Records the embeddings of images: `pixels` `[images, 3 · height · width]` in f32 on the encoder's device, normalised already, as many as
    /// `space` was made for; the result `[images, width]` lies in the space and is written anew by the next recording. Nothing waits: for apps
    /// that submit by themselves and go on.
    ///
    /// # Errors
    /// Shapes that do not fit; another device's tensors.
    pub fn record(&self, recorder: &mut Recorder, pixels: &Tensor, space: &ImageSpace) -> Result<Tensor> {
        if pixels.rows() != space.images {
            return Err(Error::shape("encode images", "pixels", format!("{} images", space.images), pixels.rows()));
        }
        let rows = self.record_rows(recorder, pixels, space)?;
        match (&self.unit, &space.unit) {
            (None, None) => Ok(rows),
            (Some(weight), Some(unit)) => {
                unit_rows::forward(recorder, &rows, weight, unit)?;
                Ok(unit.clone())
            }
            _ => Err(other_space()),
        }
    }

    fn record_rows(&self, recorder: &mut Recorder, pixels: &Tensor, s: &ImageSpace) -> Result<Tensor> {
        patches::record(recorder, self.cut(), pixels, &s.patches)?;
        let embedded = s.embedded.as_ref().unwrap_or(&s.all.stream);
        match &s.projected {
            Some((projected, tokens)) => {
                self.patch.forward(recorder, &s.patches, (projected, Then::Nothing))?;
                embedding::gather(recorder, projected, None, tokens, embedded)?;
            }
            None => self.patch.forward(recorder, &s.patches, (embedded, Then::Nothing))?,
        }
        add_rows::record(recorder, &self.positions, &s.places, embedded)?;
        if let Some(norm) = &self.norm_before {
            norm.forward(recorder, embedded, &s.all.stream)?;
        }
        let spaces = (&s.all, Some(&s.few));
        match (&self.head, &s.rows) {
            (Head::Class(projection), HeadRows::Class { chosen, normed, out }) => {
                let rows = self.blocks.forward(recorder, (&s.sequences, Some(chosen)), spaces)?;
                self.last_norm.forward(recorder, rows, normed)?;
                projection.forward(recorder, normed, (out, Then::Nothing))?;
                Ok(out.clone())
            }
            (Head::Attention(head), HeadRows::Attention(rows)) => {
                let stream = self.blocks.forward(recorder, (&s.sequences, None), spaces)?;
                self.last_norm.forward(recorder, stream, &s.all.normed)?;
                head.forward(recorder, rows, (&s.all, &s.few))
            }
            _ => Err(other_space()),
        }
    }
}

fn other_space() -> Error {
    Error::argument("space", "was made for another encoder")
}

impl ImageSpace {
    /// Room for so many images of an encoder's, and on its device.
    ///
    /// # Errors
    /// No image; no memory; a tensor above the device's largest binding, where [`ImageEncoder::batch`] is not heeded.
    pub fn new(encoder: &ImageEncoder, images: usize) -> Result<ImageSpace> {
        let (device, config, cut) = (&encoder.device, &encoder.config, encoder.cut());
        let (tokens, width) = (config.tokens(), config.blocks.width);
        let all = images.checked_mul(tokens).filter(|all| (1..1 << 31).contains(all));
        let all = all.ok_or_else(|| Error::argument("images", format!("{images}; from 1 to 2^31 tokens can be")))?;
        let typed =
            |name, rows, width, element| Tensor::labelled(device, (Purpose::Activations, name), (rows, width), element);
        let make = |name, rows, width| typed(name, rows, width, ElementType::F32);
        let words = |name, words: &[u32]| device.buffer_from(name, bytemuck::cast_slice(words));
        let places: Vec<u32> = (0..all).map(|row| (row % tokens) as u32).collect();
        let projected = config.class_token.then(|| {
            // Of each token its patch; the class token has none.
            let patch = |row: usize| match row % tokens {
                0 => embedding::VISUAL,
                place => (row / tokens * (tokens - 1) + place - 1) as u32,
            };
            let ids: Vec<u32> = (0..all).map(patch).collect();
            let rows = make("projected patches", images * cut.patches(), width)?;
            Ok::<_, Error>((rows, words("patches of tokens", &ids)?))
        });
        // One query of each image, which sees all of its tokens.
        let whole = |image: usize| Sequence {
            q_first: image as u32,
            q_count: 1,
            k_first: (image * tokens) as u32,
            k_count: tokens as u32,
        };
        let single = Sequences::masked(device, Mask::Full, &(0..images).map(whole).collect::<Vec<_>>())?;
        let few = BlockSpace::new(device, &encoder.blocks, images)?;
        let rows = match &encoder.head {
            Head::Class(_) => {
                let first: Vec<u32> = (0..images).map(|image| (image * tokens) as u32).collect();
                let chosen = Chosen { rows: words("class tokens", &first)?, sequences: single };
                let normed = make("norm of class tokens", images, width)?;
                HeadRows::Class { chosen, normed, out: make("embeddings", images, config.width())? }
            }
            Head::Attention(_) => HeadRows::Attention(PoolingRows::new(device, &few.q, single)?),
        };
        Ok(ImageSpace {
            images,
            patches: typed("patches", images * cut.patches(), cut.width(), encoder.blocks.reads())?,
            projected: projected.transpose()?,
            embedded: config.norm_before.then(|| make("embedded patches", all, width)).transpose()?,
            places: words("places of tokens", &places)?,
            sequences: Sequences::packed_masked(device, Mask::Full, &vec![tokens as u32; images])?,
            all: BlockSpace::new(device, &encoder.blocks, all)?,
            few,
            rows,
            unit: encoder.unit.as_ref().map(|_| make("unit embeddings", images, config.width())).transpose()?,
        })
    }

    /// The images that it is for.
    pub fn images(&self) -> usize {
        self.images
    }
}
