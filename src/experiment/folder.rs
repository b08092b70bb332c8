//! A folder of one's own images with captions, for the dual encoder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{DynamicImage, ImageReader};

use super::pairs::{Pairs, Probe};
use super::random::Random;
use super::vocabulary::Vocabulary;
use crate::io::Records;
use crate::nn::dual_encoder::ImageShape;
use crate::{Error, Result};

/// The captions' file in the folder.
pub(super) const CAPTIONS: &str = "captions.jsonl";

/// How images are brought to one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolderOptions {
    /// Height and width, in pixels, that every image is resized to; its proportions change with it.
    pub side: usize,
    /// Three channels instead of one grey one.
    pub colour: bool,
    /// Every so many images, one is held out for the probe; 0 holds none out.
    pub held_out: usize,
}

impl Default for FolderOptions {
    fn default() -> Self {
        FolderOptions { side: 16, colour: false, held_out: 10 }
    }
}

/// Images with captions from a folder.
#[derive(Clone, Debug)]
pub struct FolderPairs {
    shape: ImageShape,
    /// Of the images that are trained on.
    images: Vec<f32>,
    texts: Vec<Vec<Vec<u32>>>,
    names: Vec<String>,
    vocabulary: Vocabulary,
    probe: Probe,
}

impl FolderPairs {
    /// Reads `captions.jsonl` of a folder, records `{image, text}` with the name of a PNG or JPEG file in it, and the images. An
    /// image may have several captions; training draws among them. Pixels are from 0 (black) to 1 (white).
    ///
    /// # Errors
    /// A size of 0 or above 256; no captions; a record without `image` or `text` (with its line); an image that is missing, no
    /// PNG or JPEG, damaged, or larger than the decoder's limits allow.
    pub fn open(folder: &Path, options: FolderOptions) -> Result<Self> {
        if !(1..=256).contains(&options.side) {
            return Err(Error::argument("side", format!("{} pixels; give 1 to 256", options.side)));
        }
        let (names, captions) = captions(&folder.join(CAPTIONS))?;
        let vocabulary = Vocabulary::of_texts(captions.iter().flatten().map(String::as_str));
        let channels = if options.colour { 3 } else { 1 };
        let shape = ImageShape { height: options.side, width: options.side, channels };
        let mut pairs = FolderPairs {
            shape,
            images: Vec::new(),
            texts: Vec::new(),
            names: Vec::new(),
            vocabulary,
            probe: Probe::default(),
        };
        for (i, (name, captions)) in names.into_iter().zip(captions).enumerate() {
            let pixels = pixels(&folder.join(&name), options)?;
            let mut words: Vec<Vec<u32>> = captions.iter().map(|c| pairs.vocabulary.encode(c)).collect();
            if options.held_out > 0 && i % options.held_out == options.held_out - 1 {
                pairs.probe.images.extend(pixels);
                // Invariant: an image is listed with its first caption.
                pairs.probe.texts.push(words.swap_remove(0));
            } else {
                pairs.images.extend(pixels);
                pairs.texts.push(words);
                pairs.names.push(name);
            }
        }
        Ok(pairs)
    }

    /// The words of all captions.
    pub fn words(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The files that are trained on.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The words of every caption of the images that are trained on, each beside its file.
    pub fn captions(&self) -> impl Iterator<Item = (&str, &[u32])> {
        self.names.iter().zip(&self.texts).flat_map(|(name, texts)| texts.iter().map(move |t| (name.as_str(), &t[..])))
    }

    /// What was held out.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }
}

impl Pairs for FolderPairs {
    fn len(&self) -> usize {
        self.texts.len()
    }

    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn vocabulary(&self) -> usize {
        self.vocabulary.len()
    }

    fn image(&self, index: usize) -> &[f32] {
        let elements = self.shape.elements();
        &self.images[index * elements..(index + 1) * elements]
    }

    fn text(&self, index: usize, random: &mut Random) -> Vec<u32> {
        random.one(&self.texts[index]).clone()
    }
}

/// The images in the order of their first captions, and each one's captions.
pub(super) fn captions(path: &Path) -> Result<(Vec<String>, Vec<Vec<String>>)> {
    let (mut names, mut captions, mut places) = (Vec::new(), Vec::<Vec<String>>::new(), HashMap::new());
    let mut records = Records::open(path)?;
    while let Some(record) = records.next() {
        let record = record?;
        let text = |field: &str| match record.object.get(field).and_then(|v| v.as_str()).map(str::trim) {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(records.error(&record, format!("field {field:?} is missing or no text"))),
        };
        let (name, caption) = (text("image")?, text("text")?);
        let place = *places.entry(name.clone()).or_insert_with(|| {
            names.push(name);
            captions.push(Vec::new());
            captions.len() - 1
        });
        captions[place].push(caption);
    }
    match names.is_empty() {
        true => Err(Error::format(path, "holds no record; give one {\"image\": …, \"text\": …} per line")),
        false => Ok((names, captions)),
    }
}

fn pixels(path: &PathBuf, options: FolderOptions) -> Result<Vec<f32>> {
    let reader = ImageReader::open(path).map_err(Error::io("read", path))?;
    let reader = reader.with_guessed_format().map_err(Error::io("read", path))?;
    // Its limits stay: a small file may claim to be a huge image.
    let image =
        reader.decode().map_err(|e| Error::format(path, format!("cannot be decoded: {e}; give a PNG or JPEG")))?;
    let side = options.side as u32;
    let small: DynamicImage = image.resize_exact(side, side, FilterType::Triangle);
    Ok(match options.colour {
        true => small.into_rgb32f().into_raw(),
        false => small.into_luma8().into_raw().into_iter().map(|p| f32::from(p) / 255.0).collect(),
    })
}
