//! A small dual encoder: two towers without interaction before the shared space, outputs of norm 1, a learned temperature
//! [paper, appendix H.1]. For experiments of minutes; encoders of one's own come in as files of embeddings.
//!
//! The text tower averages its words' embeddings: a text is a row of shares of the vocabulary, and the average a product
//! with the table, which for vocabularies of thousands costs less than it takes to gather the words.

mod head;
mod image;

pub use image::ImageShape;

use head::{Head, HeadSpace};
use image::{FIRST, ImageSpace, ImageTower, SECOND};

use super::contrastive::{PairGradients, PairLoss, PairSpace};
use super::linear::Linear;
use super::parameters::{Gradients, Parameters};
use crate::device::{Device, Recorder, Tensor};
use crate::kernels::nn::info_nce::Temperature;
use crate::kernels::nn::unit_rows;
use crate::{ElementType, Error, Result, host};

/// Width of a word's embedding.
const WORD: usize = 64;

/// Width of the layer before the last.
const HIDDEN: usize = 128;

/// What a dual encoder is made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DualEncoderConfig {
    /// Size of the images; height × width is at most 2¹⁶.
    pub image: ImageShape,
    /// Words that texts are made of.
    pub vocabulary: usize,
    /// Width of the shared space, d.
    pub width: usize,
    /// The first temperature, above 0: similarities are divided by it.
    pub temperature: f32,
    /// The smallest temperature that training may reach; CLIP's is 0.01.
    pub least_temperature: f32,
    /// The first bias; SigLIP starts at -10. InfoNCE has none.
    pub bias: f32,
    /// What the first numbers depend on.
    pub seed: u64,
}

/// Two towers and a temperature.
#[derive(Clone, Debug)]
pub struct DualEncoder {
    config: DualEncoderConfig,
    image: ImageTower,
    words: Linear,
    text_head: Head,
    /// The towers' parameters.
    pub parameters: Parameters,
    /// `logit_scale_and_bias` `[1, 2]`, by itself because it does not decay.
    pub temperature: Parameters,
}

/// Work space for batches of one size.
#[derive(Clone, Debug)]
pub struct EncoderSpace {
    image: ImageSpace,
    bags: Tensor,
    mean: Tensor,
    d_mean: Tensor,
    text_head: HeadSpace,
    d_image: Tensor,
    d_text: Tensor,
}

/// Fresh numbers, tensor by tensor.
struct Fresh<'a> {
    device: &'a Device,
    parameters: Parameters,
    seed: u64,
}

impl Fresh<'_> {
    /// Uniform within 1 / √inputs, as PyTorch starts linear layers and convolutions.
    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let bound = 1.0 / (inputs as f32).sqrt();
        let mut add = |part: &str, shape: &[usize]| {
            let stream = self.parameters.len() as u64;
            let numbers = host::gaussian::uniforms(shape.iter().product(), self.seed, stream);
            let numbers: Vec<f32> = numbers.iter().map(|u| bound * (2.0 * u - 1.0)).collect();
            self.parameters.add(self.device, &format!("{name}.{part}"), shape, &numbers)
        };
        let weight = add("weight", &[outputs, inputs])?;
        Ok(Linear { weight, bias: Some(add("bias", &[outputs])?), low_rank: None, input_factor: 1.0 })
    }

    fn head(&mut self, name: &str, inputs: usize, width: usize) -> Result<Head> {
        Ok(Head {
            first: self.linear(&format!("{name}.first"), inputs, HIDDEN)?,
            last: self.linear(&format!("{name}.last"), HIDDEN, width)?,
            unit: unit_rows::weight(self.device, width)?,
        })
    }
}

impl DualEncoderConfig {
    fn check(&self) -> Result<()> {
        let wrong = |argument, problem: String| Err(Error::argument(argument, problem));
        let (image, most) = (self.image, 1 << 16);
        if image.elements() == 0 || image.height * image.width > most || image.channels > 4 {
            return wrong("image", format!("{image:?}; give 1 to {most} pixels of 1 to 4 channels"));
        }
        if self.vocabulary == 0 || self.width == 0 {
            return wrong("dual encoder", "vocabulary and width must be above 0".to_owned());
        }
        for (name, t) in [("temperature", self.temperature), ("least temperature", self.least_temperature)] {
            // e^±80 is the range of the kernels.
            if !(t.is_finite() && t > 1e-30 && t < 1e30) {
                return wrong(name, format!("{t}; give a number above 0, such as 0.07"));
            }
        }
        match self.bias.is_finite() {
            true => Ok(()),
            false => wrong("bias", format!("{}; give a finite number", self.bias)),
        }
    }
}

impl DualEncoder {
    /// An encoder of fresh numbers.
    ///
    /// # Errors
    /// Sizes or temperatures out of range; no memory.
    pub fn new(device: &Device, config: DualEncoderConfig) -> Result<Self> {
        config.check()?;
        let mut fresh = Fresh { device, parameters: Parameters::default(), seed: config.seed };
        let image = ImageTower {
            first: fresh.linear("image.convolution1", 9 * config.image.channels, FIRST)?,
            second: fresh.linear("image.convolution2", 9 * FIRST, SECOND)?,
            head: fresh.head("image", config.image.places() * SECOND, config.width)?,
        };
        let stream = fresh.parameters.len() as u64;
        let table = host::gaussian::normals(WORD * config.vocabulary, config.seed, stream);
        let weight = fresh.parameters.add(device, "text.words.weight", &[WORD, config.vocabulary], &table)?;
        let words = Linear { weight, bias: None, low_rank: None, input_factor: 1.0 };
        let text_head = fresh.head("text", WORD, config.width)?;
        let mut temperature = Parameters::default();
        let first = [-config.temperature.ln(), config.bias];
        temperature.add(device, "logit_scale_and_bias", &[1, 2], &first)?;
        Ok(DualEncoder { config, image, words, text_head, parameters: fresh.parameters, temperature })
    }

    /// What it was made from.
    pub fn config(&self) -> &DualEncoderConfig {
        &self.config
    }

    /// Images as the space takes them: `[n pixels, 9 channels]` from `[n, height width channels]`.
    fn patches(&self, images: &[f32], count: usize) -> Result<Vec<f32>> {
        if images.len() != count * self.config.image.elements() {
            let want = format!("{count} images of {:?}", self.config.image);
            return Err(Error::shape("dual encoder", "images", want, format!("{} numbers", images.len())));
        }
        if let Some(p) = images.iter().find(|p| !p.is_finite()) {
            return Err(Error::shape("dual encoder", "images", "finite numbers", p));
        }
        Ok(self.config.image.patches(images))
    }

    /// Shares of the vocabulary, `[n, vocabulary]`. A text without words is a row of zeros.
    fn bags<T: AsRef<[u32]>>(&self, texts: &[T]) -> Result<Vec<f32>> {
        let words = self.config.vocabulary;
        let mut bags = vec![0.0; texts.len() * words];
        for (text, bag) in texts.iter().map(AsRef::as_ref).zip(bags.chunks_exact_mut(words)) {
            for &id in text {
                let share = bag.get_mut(id as usize);
                *share.ok_or_else(|| Error::shape("dual encoder", "word", format!("below {words}"), id))? +=
                    1.0 / text.len() as f32;
            }
        }
        Ok(bags)
    }

    /// Fills the space with a batch: `images` `[n, height width channels]`, and the words of n texts.
    ///
    /// # Errors
    /// Other numbers than the space has room for; a word beyond the vocabulary; pixels that are not finite.
    pub fn load<T: AsRef<[u32]>>(
        &self,
        device: &Device,
        space: &EncoderSpace,
        images: &[f32],
        texts: &[T],
    ) -> Result<()> {
        let count = space.bags.rows();
        if texts.len() != count {
            return Err(Error::shape("dual encoder", "texts", count, texts.len()));
        }
        write_rows(device, &space.image.patches, &self.patches(images, count)?)?;
        write_rows(device, &space.bags, &self.bags(texts)?)
    }

    /// Records both towers' forward pass over what was loaded.
    ///
    /// # Errors
    /// A space of another encoder.
    pub fn forward(&self, recorder: &mut Recorder, space: &EncoderSpace) -> Result<()> {
        self.image.forward(recorder, &self.parameters, &space.image)?;
        self.words.forward(recorder, &self.parameters, &space.bags, &space.mean, None)?;
        self.text_head.forward(recorder, &self.parameters, &space.mean, &space.text_head)
    }

    /// Records the loss after [`Self::forward`], and the gradients: those of the embeddings stay in the space, those of the
    /// parameters are added to `gradients`, the towers' and the temperature's.
    ///
    /// # Errors
    /// Spaces of other sizes.
    pub fn loss(
        &self,
        recorder: &mut Recorder,
        loss: PairLoss,
        (space, pairs): (&EncoderSpace, &PairSpace),
        gradients: Option<(&Gradients, &Gradients)>,
    ) -> Result<()> {
        let (x, y) = (space.images(), space.texts());
        let most = -self.config.least_temperature.ln();
        let temperature = Temperature { value: self.temperature.tensor(0)?, most };
        let Some((towers, scale)) = gradients else { return loss.record(recorder, pairs, (x, y), temperature, None) };
        let Some(d_temperature) = scale.tensor(0)? else {
            return Err(Error::argument("gradients", "the temperature's are missing"));
        };
        let into = PairGradients { temperature: d_temperature, x: &space.d_image, y: &space.d_text };
        loss.record(recorder, pairs, (x, y), temperature, Some(into))?;
        let both = (&self.parameters, towers);
        self.image.backward(recorder, both, &space.d_image, &space.image)?;
        let heads = (&space.mean, &space.d_text, &space.d_mean);
        self.text_head.backward(recorder, both, heads, &space.text_head)?;
        self.words.backward(recorder, both, (&space.bags, &space.d_mean), None, None)
    }

    /// Fills the space's images alone, `[n, height width channels]`: what [`Self::loss_against`] reads.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_images(&self, device: &Device, space: &EncoderSpace, images: &[f32]) -> Result<()> {
        write_rows(device, &space.image.patches, &self.patches(images, space.bags.rows())?)
    }

    /// Records the image tower's forward pass over the images that were loaded, the loss of its rows against `texts`, and the gradients:
    /// those of the image tower and of the temperature are added to `gradients`. `texts` `[n, d]` are rows of norm 1 that another encoder
    /// made and that stay as they are; the text tower has no part in it.
    ///
    /// # Errors
    /// Spaces or texts of other sizes.
    pub fn loss_against(
        &self,
        recorder: &mut Recorder,
        loss: PairLoss,
        (space, pairs): (&EncoderSpace, &PairSpace),
        texts: &Tensor,
        (towers, scale): (&Gradients, &Gradients),
    ) -> Result<()> {
        self.image.forward(recorder, &self.parameters, &space.image)?;
        let most = -self.config.least_temperature.ln();
        let temperature = Temperature { value: self.temperature.tensor(0)?, most };
        let Some(d_temperature) = scale.tensor(0)? else {
            return Err(Error::argument("gradients", "the temperature's are missing"));
        };
        let into = PairGradients { temperature: d_temperature, x: &space.d_image, y: &space.d_text };
        loss.record(recorder, pairs, (space.images(), texts), temperature, Some(into))?;
        self.image.backward(recorder, (&self.parameters, towers), &space.d_image, &space.image)
    }

    /// Embeddings of any number of images, `[n, d]`, in batches of `batch`, waiting for the device.
    ///
    /// # Errors
    /// No whole images; pixels that are not finite; no memory; the device was lost.
    pub fn embed_images_blocking(&self, device: &Device, images: &[f32], batch: usize) -> Result<Vec<f32>> {
        let (elements, mut out) = (self.config.image.elements(), Vec::new());
        let widths = (HIDDEN, self.config.width);
        for part in images.chunks(elements * batch.max(1)) {
            let space = ImageSpace::new(device, self.config.image, part.len() / elements, widths)?;
            write_rows(device, &space.patches, &self.patches(part, part.len() / elements)?)?;
            let mut recorder = device.recorder();
            self.image.forward(&mut recorder, &self.parameters, &space)?;
            recorder.submit()?;
            out.extend(space.head.unit.to_f32_blocking(device)?);
        }
        Ok(out)
    }

    /// Embeddings of any number of texts, each the ids of its words: `[n, d]`, in batches of `batch`, waiting for the device.
    ///
    /// # Errors
    /// A word beyond the vocabulary; no memory; the device was lost.
    pub fn embed_texts_blocking<T: AsRef<[u32]>>(
        &self,
        device: &Device,
        texts: &[T],
        batch: usize,
    ) -> Result<Vec<f32>> {
        let mut out = Vec::new();
        for part in texts.chunks(batch.max(1)) {
            let bags = Tensor::from_f32(device, &self.bags(part)?, self.config.vocabulary)?;
            let mean = Tensor::new(device, part.len(), WORD, ElementType::F32)?;
            let space = HeadSpace::new(device, part.len(), HIDDEN, self.config.width)?;
            let mut recorder = device.recorder();
            self.words.forward(&mut recorder, &self.parameters, &bags, &mean, None)?;
            self.text_head.forward(&mut recorder, &self.parameters, &mean, &space)?;
            recorder.submit()?;
            out.extend(space.unit.to_f32_blocking(device)?);
        }
        Ok(out)
    }

    /// The present temperature and bias, waiting for the device.
    ///
    /// # Errors
    /// The device was lost.
    pub fn temperature_blocking(&self, device: &Device) -> Result<(f32, f32)> {
        let values = self.temperature.get(0).value.to_f32_blocking(device)?;
        let (temperature, least) = ((-values[0]).exp(), self.config.least_temperature);
        // A temperature that became a NaN stays one.
        Ok((if temperature < least { least } else { temperature }, values[1]))
    }
}

impl EncoderSpace {
    /// Room for batches of `pairs` pairs.
    ///
    /// # Errors
    /// No pairs; no memory.
    pub fn new(device: &Device, encoder: &DualEncoder, pairs: usize) -> Result<Self> {
        if pairs == 0 {
            return Err(Error::argument("batch", "at least one pair is needed"));
        }
        let config = encoder.config;
        let make = |width| Tensor::new(device, pairs, width, ElementType::F32);
        Ok(EncoderSpace {
            image: ImageSpace::new(device, config.image, pairs, (HIDDEN, config.width))?,
            bags: make(config.vocabulary)?,
            mean: make(WORD)?,
            d_mean: make(WORD)?,
            text_head: HeadSpace::new(device, pairs, HIDDEN, config.width)?,
            d_image: make(config.width)?,
            d_text: make(config.width)?,
        })
    }

    /// The images' embeddings after the forward pass, `[n, d]`.
    pub fn images(&self) -> &Tensor {
        &self.image.head.unit
    }

    /// The texts'.
    pub fn texts(&self) -> &Tensor {
        &self.text_head.unit
    }

    /// Gradients of the mean loss by the images' and the texts' embeddings, after [`DualEncoder::loss`].
    pub fn embedding_gradients(&self) -> (&Tensor, &Tensor) {
        (&self.d_image, &self.d_text)
    }
}

/// Tight rows into a tensor's padded ones.
fn write_rows(device: &Device, tensor: &Tensor, rows: &[f32]) -> Result<()> {
    let mut padded = vec![0; tensor.rows() * tensor.row_bytes()];
    crate::device::pad_rows(bytemuck::cast_slice(rows), 4 * tensor.width(), &mut padded, tensor.row_bytes());
    device.write(tensor.buffer(), &padded)
}
