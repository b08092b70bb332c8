//! The bundled digits: 1,797 images of 8 × 8 pixels in 17 grey levels, with what is measured on them, in seeded parts.

use safetensors::SafeTensors;

use super::attributes::{Attributes, Measures, Thresholds};
use super::random::{Random, Stream};
use super::words::{Length, caption};
use crate::{Error, Result};

static FILE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/digits.safetensors"));

/// Side of an image, in pixels.
pub const SIDE: usize = 8;
const PIXELS: usize = SIDE * SIDE;
/// The largest grey level.
const INK: u8 = 16;

/// Sizes of the parts that the images are dealt into; what is left is in none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Images with captions, to train the dual encoder.
    pub pairs: usize,
    /// Images without texts: for the statistics of the target side, and for the monitor's probe.
    pub pool: usize,
    /// Images with questions and answers.
    pub instruction: usize,
    /// Held out from everything.
    pub test: usize,
}

impl Default for Parts {
    fn default() -> Self {
        Parts { pairs: 800, pool: 200, instruction: 200, test: 597 }
    }
}

/// Which images are in which part: their numbers, from 0, in random order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// As [`Parts::pairs`].
    pub pairs: Vec<usize>,
    /// As [`Parts::pool`].
    pub pool: Vec<usize>,
    /// As [`Parts::instruction`].
    pub instruction: Vec<usize>,
    /// As [`Parts::test`].
    pub test: Vec<usize>,
}

/// The digits, dealt into parts by a seed.
#[derive(Clone, Debug)]
pub struct Digits {
    pixels: Vec<f32>,
    attributes: Vec<Attributes>,
    measures: Vec<Measures>,
    split: Split,
    seed: u64,
}

impl Digits {
    /// Deals the bundled images. The thresholds of the attributes come from all images but the test part's.
    ///
    /// # Errors
    /// Parts that are together more than 1,797, or without pairs.
    pub fn new(parts: Parts, seed: u64) -> Result<Self> {
        let (pixels, labels) = bundled()?;
        let count = labels.len();
        let sizes = [parts.pairs, parts.pool, parts.instruction, parts.test];
        let total = sizes.iter().fold(0usize, |sum, n| sum.saturating_add(*n));
        if total > count || parts.pairs == 0 {
            return Err(Error::argument(
                "parts",
                format!("{total} images in all; give 1 to {count}, some of them pairs"),
            ));
        }
        let mut order: Vec<usize> = (0..count).collect();
        Random::of(seed, Stream::Split).shuffle(&mut order);
        let mut rest = order.into_iter();
        let [pairs, pool, instruction, test] = sizes.map(|n| rest.by_ref().take(n).collect::<Vec<_>>());
        let measures =
            pixels.chunks_exact(PIXELS).map(|image| Measures::of(image, SIDE)).collect::<Result<Vec<_>>>()?;
        let mut seen = vec![true; count];
        test.iter().for_each(|&i| seen[i] = false);
        let known: Vec<Measures> = measures.iter().zip(&seen).filter(|(_, seen)| **seen).map(|(m, _)| *m).collect();
        let thresholds = Thresholds::of(&known)?;
        let attributes = labels.iter().zip(&measures).map(|(l, m)| thresholds.attributes(*l, m)).collect();
        Ok(Digits { pixels, attributes, measures, split: Split { pairs, pool, instruction, test }, seed })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.attributes.len()
    }

    /// Whether there are none: never.
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty()
    }

    /// All images, `[1797, 64]`, row-major, 0 (paper) to 1 (ink).
    pub fn pixels(&self) -> &[f32] {
        &self.pixels
    }

    /// The pixels of some images, `[images.len(), 64]`; a number beyond the last is left out.
    pub fn images(&self, images: &[usize]) -> Vec<f32> {
        let rows = images.iter().filter_map(|&i| self.pixels.get(i * PIXELS..(i + 1) * PIXELS));
        rows.flatten().copied().collect()
    }

    /// Attributes of every image.
    pub fn attributes(&self) -> &[Attributes] {
        &self.attributes
    }

    /// Measures of every image.
    pub fn measures(&self) -> &[Measures] {
        &self.measures
    }

    /// Who is in which part.
    pub fn split(&self) -> &Split {
        &self.split
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// An image's caption: the same whenever it is asked for.
    pub fn caption(&self, image: usize, length: Length) -> String {
        let image = image.min(self.len() - 1);
        caption(&self.attributes[image], length, &mut Random::of(self.seed, Stream::Caption(image, length)))
    }

    /// A pool of `count` texts without images: attributes drawn from the pairs', with their frequencies, said anew. Beside
    /// each text what it says.
    pub fn texts(&self, count: usize, length: Length) -> Vec<(String, Attributes)> {
        let mut random = Random::of(self.seed, Stream::Pool);
        let mut text = || {
            let attributes = self.attributes[*random.one(&self.split.pairs)];
            (caption(&attributes, length, &mut random), attributes)
        };
        (0..count).map(|_| text()).collect()
    }

    /// The name of an image in the files.
    pub fn id(image: usize) -> String {
        format!("digit-{image:04}")
    }
}

/// Pixels from 0 to 1, and labels.
fn bundled() -> Result<(Vec<f32>, Vec<u8>)> {
    let broken = |e: safetensors::SafeTensorError| Error::format("data/digits.safetensors", e.to_string());
    let file = SafeTensors::deserialize(FILE).map_err(broken)?;
    let (images, labels) = (file.tensor("images").map_err(broken)?, file.tensor("labels").map_err(broken)?);
    let (images, labels) = (images.data(), labels.data().to_vec());
    let whole =
        images.len() == labels.len() * PIXELS && images.iter().all(|&p| p <= INK) && labels.iter().all(|&l| l < 10);
    if !whole {
        return Err(Error::format("data/digits.safetensors", "is not the file that belongs to this version"));
    }
    Ok((images.iter().map(|&p| f32::from(p) / f32::from(INK)).collect(), labels))
}
