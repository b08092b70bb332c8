//! From a picture's bytes to the numbers that a tower takes.

use std::path::Path;

use super::config::{self, Resize, Steps};
use super::decode::{Alpha, Picture};
use super::resample::{self, Filter, Window};
use crate::{Error, Result};

/// The steps of a model's folder, ready to be taken.
#[derive(Clone, Debug)]
pub struct Preprocessor {
    steps: Steps,
    alpha: Alpha,
    /// What each byte of each channel becomes.
    values: Box<[[f32; 256]; 3]>,
}

impl Preprocessor {
    /// Reads the steps from `preprocessor_config.json` of a model's folder, in either generation, or from the part `image_processor` of
    /// `processor_config.json`. Known are the classes CLIPImageProcessor, SiglipImageProcessor and ViTImageProcessor; what a file leaves out has
    /// the class's default.
    ///
    /// # Errors
    /// Neither file; another class; a field that is unknown or holds what it cannot mean.
    pub fn load(folder: &Path) -> Result<Preprocessor> {
        let steps = config::read(folder)?;
        let values = Box::new([0, 1, 2].map(|channel| values(&steps, channel)));
        Ok(Preprocessor { steps, alpha: Alpha::default(), values })
    }

    /// The same with another treatment of transparent pixels; by default they are laid over white.
    #[must_use]
    pub fn alpha(mut self, alpha: Alpha) -> Self {
        self.alpha = alpha;
        self
    }

    /// What becomes of transparent pixels.
    pub fn alpha_rule(&self) -> Alpha {
        self.alpha
    }

    /// Height and width of what comes out, if they are the same for every picture.
    pub fn image_size(&self) -> Option<(usize, usize)> {
        match (self.steps.crop, self.steps.resize) {
            (Some(size), _) => Some(size),
            (None, Some((Resize::Exact(height, width), _))) => Some((height, width)),
            _ => None,
        }
    }

    /// The height and width that a picture of this height and width comes out with.
    pub fn size_of(&self, height: usize, width: usize) -> (usize, usize) {
        self.steps.crop.unwrap_or_else(|| self.resized(height, width))
    }

    /// Height and width behind the resizing.
    fn resized(&self, height: usize, width: usize) -> (usize, usize) {
        match self.steps.resize {
            None => (height, width),
            Some((Resize::Exact(height, width), _)) => (height, width),
            Some((Resize::ShortestEdge(edge), _)) => {
                // Python divides to f64 and cuts.
                let longer = |long: usize, short: usize| (edge as f64 * long as f64 / short.max(1) as f64) as usize;
                match width <= height {
                    true => (longer(height, width), edge),
                    false => (edge, longer(width, height)),
                }
            }
        }
    }

    /// What is made of a picture of this height and width.
    ///
    /// # Errors
    /// A side of 0; a result of more than 2^31 bytes.
    pub(super) fn layout(&self, size: (usize, usize)) -> Result<Layout> {
        let resized = self.resized(size.0, size.1);
        let crop = self.steps.crop.unwrap_or(resized);
        if crop.0 as u128 * crop.1 as u128 * 3 > 1 << 31 {
            let problem = format!("{} x {} pixels become {} x {}, which is too many", size.1, size.0, crop.1, crop.0);
            return Err(Error::argument("picture", problem));
        }
        let (rows, columns) = (Middle::of(resized.0, crop.0), Middle::of(resized.1, crop.1));
        let window = Window { left: columns.from, top: rows.from, width: columns.count, height: rows.count };
        let filter = self.steps.resize.map_or(Filter::Nearest, |(_, filter)| filter);
        Ok(Layout { resized, crop, window, before: (rows.before, columns.before), filter })
    }

    /// What each byte of red becomes, then of green and of blue.
    pub(super) fn values(&self) -> &[f32] {
        self.values.as_flattened()
    }

    /// The bytes behind resizing and cropping, `[height, width, 3]` with the sides of [`Preprocessor::size_of`]. What a crop lacks is black.
    ///
    /// # Errors
    /// A result of more than 2^31 bytes.
    pub fn bytes(&self, picture: &Picture) -> Result<Vec<u8>> {
        let size = (picture.height(), picture.width());
        let Layout { resized, crop, window, before, filter } = self.layout(size)?;
        let part = resample::resize(picture.rgb(), size, filter, resized, window)?;
        if (window.height, window.width) == crop {
            return Ok(part);
        }
        let mut padded = vec![0; crop.0 * crop.1 * 3];
        for (y, row) in part.chunks_exact(window.width * 3).enumerate() {
            padded[((before.0 + y) * crop.1 + before.1) * 3..][..row.len()].copy_from_slice(row);
        }
        Ok(padded)
    }

    /// A picture as a tower takes it: f32 `[3, height, width]`, with the sides of [`Preprocessor::size_of`].
    ///
    /// # Errors
    /// As [`Preprocessor::bytes`].
    pub fn pixels(&self, picture: &Picture) -> Result<Vec<f32>> {
        let bytes = self.bytes(picture)?;
        let planes = self.values.iter().enumerate();
        Ok(planes.flat_map(|(c, values)| bytes.chunks_exact(3).map(move |p| values[usize::from(p[c])])).collect())
    }

    /// As [`Preprocessor::pixels`], from RGB bytes `[height, width, 3]` such as an app has them.
    ///
    /// # Errors
    /// Another number of bytes, a side of 0, and as [`Preprocessor::pixels`].
    pub fn of_rgb(&self, rgb: &[u8], width: usize, height: usize) -> Result<Vec<f32>> {
        self.pixels(&Picture::of_rgb(rgb.to_vec(), width, height)?)
    }

    /// As [`Preprocessor::pixels`], from a file.
    ///
    /// # Errors
    /// As [`Picture::open`] and [`Preprocessor::pixels`].
    pub fn of_file(&self, path: &Path) -> Result<Vec<f32>> {
        self.pixels(&Picture::open(path, self.alpha)?)
    }
}

/// What is made of pictures of one size; heights come before widths.
pub(super) struct Layout {
    /// The size behind the resizing, and behind the crop.
    pub resized: (usize, usize),
    pub crop: (usize, usize),
    /// The part of the resized picture that the crop keeps, and how much black the crop has above it and on its left.
    pub window: Window,
    pub before: (usize, usize),
    pub filter: Filter,
}

/// Which part of a resized side a crop keeps, and where it lies in the crop.
struct Middle {
    /// The first pixel of the side that is kept, and how many are.
    from: usize,
    count: usize,
    /// Pixels of the crop before the first.
    before: usize,
}

impl Middle {
    /// As Transformers' `center_crop`: a side that is too long loses the larger half at its end; one that is too short is padded with the
    /// larger half before it.
    fn of(side: usize, crop: usize) -> Middle {
        match side >= crop {
            true => Middle { from: (side - crop) / 2, count: crop, before: 0 },
            false => Middle { from: 0, count: side, before: (crop - side).div_ceil(2) },
        }
    }
}

/// What the bytes of a channel become, rounded where NumPy rounds.
fn values(steps: &Steps, channel: usize) -> [f32; 256] {
    std::array::from_fn(|byte| {
        let scaled = steps.rescale.map_or(byte as f32, |factor| (byte as f64 * factor) as f32);
        steps.normalize.map_or(scaled, |(mean, deviation)| (scaled - mean[channel]) / deviation[channel])
    })
}
