//! Towers that are trained here, on the pictures that have captions.

use image::RgbImage;
use image::imageops::{FilterType, resize};
use rayon::prelude::*;

use super::collection::Collection;
use super::parts::PictureParts;
use super::study::PicturesSettings;
use crate::device::Device;
use crate::encode::picture::{Alpha, Picture};
use crate::experiment::encoder::{EncoderSettings, EncoderStep, train_dual_encoder};
use crate::experiment::image_tower::train_image_tower;
use crate::experiment::pairs::Pairs;
use crate::experiment::protocol::{Progress, Watch};
use crate::experiment::random::Random;
use crate::experiment::vocabulary::Vocabulary;
use crate::nn::dual_encoder::ImageShape;
use crate::{Error, Result};

const CHANNELS: usize = 3;

/// All pictures as the towers take them, `[n, side, side, 3]`, from 0 to 1, whatever their proportions; transparent pixels are laid over
/// white.
///
/// # Errors
/// A side of 0 or above 256; a picture that cannot be read.
pub(super) fn pixels(collection: &Collection, side: usize) -> Result<Vec<f32>> {
    if !(1..=256).contains(&side) {
        return Err(Error::argument("side", format!("{side} pixels; give 1 to 256")));
    }
    let one = |i: usize| -> Result<Vec<f32>> {
        let path = collection.path(i);
        let picture = Picture::open(&path, Alpha::OnWhite)?;
        let (width, height) = (picture.width() as u32, picture.height() as u32);
        let image = RgbImage::from_raw(width, height, picture.rgb().to_vec())
            .ok_or_else(|| Error::format(&path, "has another number of pixels than its sides say"))?;
        let small = resize(&image, side as u32, side as u32, FilterType::Triangle);
        Ok(small.into_raw().into_iter().map(|byte| f32::from(byte) / 255.0).collect())
    };
    let all: Result<Vec<Vec<f32>>> = (0..collection.len()).into_par_iter().map(one).collect();
    Ok(all?.concat())
}

/// The pairs' part of a collection.
struct PicturePairs<'a> {
    shape: ImageShape,
    pixels: &'a [f32],
    parts: &'a PictureParts,
    vocabulary: Vocabulary,
    /// The words of each pair's captions.
    words: Vec<Vec<Vec<u32>>>,
}

impl<'a> PicturePairs<'a> {
    /// Only words of the pairs' own captions are known.
    fn new(collection: &Collection, (pixels, parts): (&'a [f32], &'a PictureParts), side: usize) -> Self {
        let captions = |i: &usize| collection.captions(*i);
        let vocabulary = Vocabulary::of_texts(parts.pairs.iter().flat_map(captions).map(String::as_str));
        let words = |i: &usize| captions(i).iter().map(|caption| vocabulary.encode(caption)).collect();
        let words = parts.pairs.iter().map(words).collect();
        let shape = ImageShape { height: side, width: side, channels: CHANNELS };
        PicturePairs { shape, pixels, parts, vocabulary, words }
    }
}

impl Pairs for PicturePairs<'_> {
    fn len(&self) -> usize {
        self.parts.pairs.len()
    }

    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn vocabulary(&self) -> usize {
        self.vocabulary.len()
    }

    fn image(&self, index: usize) -> &[f32] {
        let (picture, elements) = (self.parts.pairs[index], self.shape.elements());
        &self.pixels[picture * elements..(picture + 1) * elements]
    }

    fn text(&self, index: usize, random: &mut Random) -> Vec<u32> {
        random.one(&self.words[index]).clone()
    }
}

fn settings_for(settings: &PicturesSettings, pairs: &PicturePairs<'_>, width: usize) -> EncoderSettings {
    let batch = settings.encoder.batch.min(pairs.len());
    EncoderSettings { seed: settings.seed, batch, width, ..settings.encoder }
}

/// Trains a dual encoder; rows of all pictures and all captions, and their width.
///
/// # Errors
/// What its training or `watch` say.
pub(super) fn dual_encoder(
    device: &Device,
    collection: &Collection,
    (pixels, parts): (&[f32], &PictureParts),
    settings: &PicturesSettings,
    watch: &mut Watch<'_>,
) -> Result<(Vec<f32>, Vec<f32>, usize)> {
    let pairs = PicturePairs::new(collection, (pixels, parts), settings.side);
    let encoder = settings_for(settings, &pairs, settings.encoder.width);
    let mut on_step = |s: EncoderStep<'_>| watch(progress("dual encoder", &s));
    let trained = train_dual_encoder(device, &pairs, None, &encoder, &mut on_step)?;
    let words: Vec<Vec<u32>> = collection.all_captions().iter().map(|text| pairs.vocabulary.encode(text)).collect();
    Ok((trained.images(pixels)?, trained.texts(&words)?, encoder.width))
}

/// Trains an image tower against the captions' rows `[captions, width]`; rows of all pictures.
///
/// # Errors
/// What its training or `watch` say.
pub(super) fn image_tower(
    device: &Device,
    collection: &Collection,
    (pixels, parts): (&[f32], &PictureParts),
    (captions, width): &(Vec<f32>, usize),
    settings: &PicturesSettings,
    watch: &mut Watch<'_>,
) -> Result<Vec<f32>> {
    let pairs = PicturePairs::new(collection, (pixels, parts), settings.side);
    let (encoder, numbers) = (settings_for(settings, &pairs, *width), collection.caption_numbers());
    let text = |index: usize, random: &mut Random| {
        let own = numbers[parts.pairs[index]].clone();
        let caption = own.start + random.below(own.len());
        captions[caption * width..(caption + 1) * width].to_vec()
    };
    let mut on_step = |s: EncoderStep<'_>| watch(progress("image tower", &s));
    train_image_tower(device, &pairs, &text, &encoder, &mut on_step)?.images(pixels)
}

fn progress<'a>(task: &'a str, step: &EncoderStep<'a>) -> Progress<'a> {
    Progress { task, done: step.step, total: step.steps, loss: Some(step.loss), record: step.record }
}
