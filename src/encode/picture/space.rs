//! Pictures that lie on a device already, prepared there.

use std::ops::Range;

use super::decode::Alpha;
use super::preprocess::{Layout, Preprocessor};
use super::resample::{Plan, Side};
use crate::device::{Buffer, Device, LINE_BYTES, Recorder, Tensor};
use crate::kernels::picture::planes::{self, Frame};
use crate::kernels::picture::resample::{self, Along, Taps};
use crate::kernels::picture::{Pixels, Reading};
use crate::{Error, Result};

/// A preprocessor's steps on a device, for pictures of one size: the filters' weights, computed once by the host, and room for what lies between the
/// steps. The numbers are those of [`Preprocessor::pixels`], bit for bit, on every device: bytes come from integers, and what a byte becomes is
/// looked up.
///
/// A space serves one recording after the other; recordings that run in turn on the device's queue may share it.
#[derive(Clone, Debug)]
pub struct PictureSpace {
    /// Height and width of the pictures.
    size: (usize, usize),
    alpha: Alpha,
    /// The part of a picture that is read.
    lines: Range<usize>,
    places: Range<usize>,
    passes: Vec<Pass>,
    frame: Frame,
    values: Buffer,
    /// Where the part of a texture comes to, and bytes of a line there; none on the host engine, which has no textures.
    texels: Option<(Buffer, u32)>,
}

/// A side's resampling.
#[derive(Clone, Debug)]
struct Pass {
    along: Along,
    taps: Taps,
    result: Buffer,
    height: usize,
    width: usize,
}

impl PictureSpace {
    /// What pictures of `width` x `height` pixels need on a device.
    ///
    /// # Errors
    /// A side of 0; a result of more than 2^31 bytes; the part of a picture that is read is above the device's largest binding; no memory.
    pub fn new(device: &Device, preprocessor: &Preprocessor, width: usize, height: usize) -> Result<PictureSpace> {
        let Layout { resized, crop, window, before, filter } = preprocessor.layout((height, width))?;
        let plan = Plan::new((height, width), filter, resized, window)?;
        let (lines, places) = (plan.rows.reach(), plan.columns.reach());
        let texels = match device.wgpu() {
            None => None,
            Some(_) => {
                let line_bytes = places.len().saturating_mul(4).next_multiple_of(LINE_BYTES as usize);
                let buffer = device.buffer("a texture's pixels", line_bytes.saturating_mul(lines.len()) as u64)?;
                // A line of a texture is shorter than that.
                Some((buffer, u32::try_from(line_bytes).unwrap_or(u32::MAX)))
            }
        };
        Ok(PictureSpace {
            size: (height, width),
            alpha: preprocessor.alpha_rule(),
            passes: passes(device, plan)?,
            lines,
            places,
            frame: Frame { height: crop.0, width: crop.1, top: before.0, left: before.1 },
            values: device.buffer_from("numbers of bytes", bytemuck::cast_slice(preprocessor.values()))?,
            texels,
        })
    }

    /// Height and width of the pictures that it is for.
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    /// Height and width of what comes out.
    pub fn image_size(&self) -> (usize, usize) {
        (self.frame.height, self.frame.width)
    }

    /// Records the preparation of a picture whose pixels lie in a buffer, a word each: to row `row` of `rows` `[n, 3 · height · width]` in f32, with
    /// the sides of [`PictureSpace::image_size`]. Its alpha is treated as the preprocessor says.
    ///
    /// # Errors
    /// A picture of another size; shapes that do not fit; another device's memory.
    pub fn record(&self, recorder: &mut Recorder, picture: Pixels<'_>, (rows, row): (&Tensor, usize)) -> Result<()> {
        self.check_size((picture.height, picture.width))?;
        let skipped = self.lines.start.saturating_mul(picture.stride).saturating_add(self.places.start);
        let first = picture.first.saturating_add(skipped);
        let part = Pixels { first, height: self.lines.len(), width: self.places.len(), ..picture };
        self.record_part(recorder, part, (rows, row))
    }

    /// As [`PictureSpace::record`], for the picture in a texture of the device's: 8 bits a channel, in the order of `Rgba8Unorm` or `Bgra8Unorm`, colours as
    /// files have them (in sRGB, whether the format's name says so or not) and not multiplied by alpha. Its bytes count as they are when the
    /// commands are submitted.
    ///
    /// # Errors
    /// As there; the host engine, which has no textures; another format; a texture without the usage `COPY_SRC`, or with several samples.
    pub fn record_texture(
        &self,
        recorder: &mut Recorder,
        texture: &wgpu::Texture,
        (rows, row): (&Tensor, usize),
    ) -> Result<()> {
        use wgpu::TextureFormat::{Bgra8Unorm, Bgra8UnormSrgb, Rgba8Uint, Rgba8Unorm, Rgba8UnormSrgb};
        let blue_first = match texture.format() {
            Rgba8Unorm | Rgba8UnormSrgb | Rgba8Uint => false,
            Bgra8Unorm | Bgra8UnormSrgb => true,
            other => {
                let problem = format!("has the format {other:?}; Rgba8 and Bgra8 are read");
                return Err(Error::argument("texture", problem));
            }
        };
        let Some((words, line_bytes)) = &self.texels else {
            let problem = format!("{} has none; give it the pixels in memory", recorder.device().name());
            return Err(Error::argument("texture", problem));
        };
        self.check_size((texture.height() as usize, texture.width() as usize))?;
        // The texture has such sides.
        let origin = [self.places.start as u32, self.lines.start as u32];
        let size = [self.places.len() as u32, self.lines.len() as u32];
        recorder.copy_texture(texture, (origin, size), (words, *line_bytes))?;
        let part = Pixels {
            words,
            first: 0,
            stride: *line_bytes as usize / 4,
            height: self.lines.len(),
            width: self.places.len(),
            reading: Reading { blue_first, ..Reading::default() },
        };
        self.record_part(recorder, part, (rows, row))
    }

    fn check_size(&self, size: (usize, usize)) -> Result<()> {
        if size != self.size {
            let want = format!("{} x {} pixels, as the space", self.size.1, self.size.0);
            return Err(Error::shape("prepare a picture", "the picture", want, format!("{} x {}", size.1, size.0)));
        }
        Ok(())
    }

    fn record_part(&self, recorder: &mut Recorder, part: Pixels<'_>, to: (&Tensor, usize)) -> Result<()> {
        let reading = Reading { over_white: self.alpha == Alpha::OnWhite, ..part.reading };
        let mut pixels = Pixels { reading, ..part };
        for Pass { along, taps, result, height, width } in &self.passes {
            resample::record(recorder, pixels, *along, taps, result)?;
            let (height, width) = (*height, *width);
            pixels = Pixels { words: result, first: 0, stride: width, height, width, reading: Reading::default() };
        }
        planes::record(recorder, (pixels, self.frame), &self.values, to)
    }
}

/// The passes of a plan, in their order; a side that keeps its length has none.
fn passes(device: &Device, plan: Plan) -> Result<Vec<Pass>> {
    let Plan { rows, columns, rows_first } = plan;
    let (lines, places) = (rows.reach(), columns.reach());
    let (mut height, mut width) = (lines.len(), places.len());
    let mut sides = [(Along::Columns, rows, lines.start), (Along::Lines, columns, places.start)];
    if !rows_first {
        sides.reverse();
    }
    let mut passes = Vec::new();
    for (along, side, start) in sides {
        let Side::Resized(taps) = side else { continue };
        let list: Vec<(usize, &[i32])> = taps.iter().map(|t| (t.first - start, &t.weights[..])).collect();
        let taps = Taps::new(device, &list)?;
        match along {
            Along::Columns => height = taps.places(),
            Along::Lines => width = taps.places(),
        }
        let bytes = (height as u64).saturating_mul(width as u64).saturating_mul(4);
        let result = device.buffer("a resampled picture", bytes)?;
        passes.push(Pass { along, taps, result, height, width });
    }
    Ok(passes)
}
