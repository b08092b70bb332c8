//! Images with their texts, as the dual encoder's training asks for them.

use super::digits::{Digits, SIDE};
use super::random::Random;
use super::vocabulary::Vocabulary;
use super::words::{Length, caption};
use crate::nn::dual_encoder::ImageShape;

/// Pairs to train on: images, and for each a text, or another one each time.
pub trait Pairs {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of the images.
    fn shape(&self) -> ImageShape;

    /// Words that texts are made of.
    fn vocabulary(&self) -> usize;

    /// The pixels of image `index`, row-major, channels last.
    fn image(&self, index: usize) -> &[f32];

    /// The words of a text of image `index`.
    fn text(&self, index: usize, random: &mut Random) -> Vec<u32>;
}

/// Pairs that are held out, for the monitor.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    /// Pixels, `[n, height width channels]`.
    pub images: Vec<f32>,
    /// Words of the texts.
    pub texts: Vec<Vec<u32>>,
}

/// Digits with a fresh caption each time.
#[derive(Clone, Debug)]
pub struct DigitPairs<'a> {
    digits: &'a Digits,
    vocabulary: Vocabulary,
    length: Length,
}

impl<'a> DigitPairs<'a> {
    /// The pairs' part of the digits.
    pub fn new(digits: &'a Digits, length: Length) -> Self {
        DigitPairs { digits, vocabulary: Vocabulary::of_digits(), length }
    }

    /// The images' pool with a caption each, which nothing else ever sees.
    pub fn probe(&self) -> Probe {
        let images = &self.digits.split().pool;
        let text = |&image: &usize| self.vocabulary.encode(&self.digits.caption(image, self.length));
        Probe { images: self.digits.images(images), texts: images.iter().map(text).collect() }
    }
}

impl Pairs for DigitPairs<'_> {
    fn len(&self) -> usize {
        self.digits.split().pairs.len()
    }

    fn shape(&self) -> ImageShape {
        ImageShape { height: SIDE, width: SIDE, channels: 1 }
    }

    fn vocabulary(&self) -> usize {
        self.vocabulary.len()
    }

    fn image(&self, index: usize) -> &[f32] {
        let image = self.digits.split().pairs[index];
        &self.digits.pixels()[image * SIDE * SIDE..(image + 1) * SIDE * SIDE]
    }

    fn text(&self, index: usize, random: &mut Random) -> Vec<u32> {
        let image = self.digits.split().pairs[index];
        self.vocabulary.encode(&caption(&self.digits.attributes()[image], self.length, random))
    }
}
