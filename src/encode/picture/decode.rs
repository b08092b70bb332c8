//! Files of pictures as RGB, as Pillow has them: EXIF orientation, palettes, grey, CMYK, alpha, 16 bits.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::error::{ImageError, LimitErrorKind};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use crate::host::picture::colours::over_white;
use crate::{Error, Result};

/// Pixels of a picture at most: above it Pillow takes a file for a decompression bomb. In RGB they are the 512 MiB that the decoders
/// may take at most.
pub const MAX_PIXELS: u64 = 178_956_970;
/// Bytes that a decoder may take.
const MAX_BYTES: u64 = 512 << 20;
/// Bytes of a file at most.
const MAX_FILE: u64 = 2 << 30;
/// The formats that are read, in words.
pub(super) const FORMATS: &str = "PNG, JPEG, WebP, GIF or BMP";

/// What becomes of pixels that are partly or wholly transparent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alpha {
    /// They are laid over white, as a viewer shows them and as Transformers 5's image processors do.
    #[default]
    OnWhite,
    /// Alpha is dropped, as `load_image` and Transformers 4's image processors do it: whatever colour lies under it shows.
    Dropped,
}

impl Alpha {
    /// The name that callers choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            Alpha::OnWhite => "white",
            Alpha::Dropped => "drop",
        }
    }
}

/// By its name.
impl std::str::FromStr for Alpha {
    type Err = String;

    fn from_str(text: &str) -> Result<Alpha, String> {
        let found = [Alpha::OnWhite, Alpha::Dropped].into_iter().find(|alpha| alpha.name() == text);
        found.ok_or_else(|| format!("'{text}' is unknown; choose white or drop"))
    }
}

/// A picture in RGB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    height: usize,
    width: usize,
    rgb: Vec<u8>,
}

impl Picture {
    /// A picture from its pixels, `[height, width, 3]`, three bytes each.
    ///
    /// # Errors
    /// A side of 0, or another number of bytes.
    pub fn of_rgb(rgb: Vec<u8>, width: usize, height: usize) -> Result<Picture> {
        let expected = width.checked_mul(height).and_then(|n| n.checked_mul(3)).filter(|n| *n > 0);
        if expected != Some(rgb.len()) {
            let expected = format!("{width} x {height} x 3 bytes, above 0");
            return Err(Error::shape("picture", "rgb", expected, format!("{} bytes", rgb.len())));
        }
        Ok(Picture { height, width, rgb })
    }

    /// Reads a file; its first bytes say what it is, not its name. Of animations it is the first frame.
    ///
    /// PNG of all depths, JPEG, WebP, GIF and BMP are read. The EXIF orientation is applied. Grey, palettes and CMYK become RGB as Pillow
    /// does it; of 16 bits the upper 8 are taken, of grey too (which Pillow clips to white instead). Colour profiles are not applied.
    ///
    /// # Errors
    /// A file that cannot be read, is no picture of these formats, is damaged or ends early, has a side of 0 or more than [`MAX_PIXELS`] pixels,
    /// or takes more than 512 MiB to decode.
    pub fn open(path: &Path, alpha: Alpha) -> Result<Picture> {
        let bytes = std::fs::metadata(path).map_err(Error::io("open", path))?.len();
        if bytes > MAX_FILE {
            return Err(Error::format(path, format!("has {bytes} bytes, and a picture may have {MAX_FILE}")));
        }
        Picture::decode(&std::fs::read(path).map_err(Error::io("read", path))?, path, alpha)
    }

    /// As [`Picture::open`], from a file's bytes; `name` is for errors.
    ///
    /// # Errors
    /// As [`Picture::open`].
    pub fn decode(bytes: &[u8], name: &Path, alpha: Alpha) -> Result<Picture> {
        let failed = |problem: String| Error::format(name, problem);
        if bytes.is_empty() {
            return Err(failed("the file is empty".to_owned()));
        }
        // The decoders are written not to panic; a fault of theirs is that file's alone.
        let decoded = catch_unwind(AssertUnwindSafe(|| pixels(bytes, alpha)));
        let rgb = decoded.unwrap_or_else(|_| Err("the decoder failed on it".to_owned())).map_err(failed)?;
        let (width, height) = rgb.dimensions();
        Ok(Picture { height: height as usize, width: width as usize, rgb: rgb.into_raw() })
    }

    /// Pixels from the top to the bottom, behind the orientation.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Pixels from the left to the right, behind the orientation.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The pixels, `[height, width, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}

/// Whether a file that begins with these bytes is a picture of a format that is read.
pub fn is_picture(start: &[u8]) -> bool {
    format_of(start).is_some()
}

fn format_of(bytes: &[u8]) -> Option<ImageFormat> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, WebP};
    image::guess_format(bytes).ok().filter(|format| [Png, Jpeg, WebP, Gif, Bmp].contains(format))
}

/// What bytes are that no decoder here takes.
fn unread(bytes: &[u8]) -> String {
    let name = match bytes {
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => "a TIFF file",
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', ..] => "an AVIF file",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "a HEIF file or a film",
        [b'%', b'P', b'D', b'F', ..] => "a PDF file",
        [b'<', b's', b'v', b'g', ..] | [b'<', b'?', b'x', b'm', b'l', ..] => "an SVG or XML file",
        [b'<', ..] => "an HTML page or another text",
        _ if !bytes[..bytes.len().min(512)].contains(&0) && std::str::from_utf8(bytes).is_ok() => "a text",
        _ => "of an unknown kind",
    };
    format!("is no picture that is read: it is {name}, not {FORMATS}")
}

fn pixels(bytes: &[u8], alpha: Alpha) -> Result<RgbImage, String> {
    let Some(format) = format_of(bytes) else { return Err(unread(bytes)) };
    let broken = |e: ImageError| problem(&e);
    let reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > MAX_PIXELS {
        let most = format!("from 1 to {MAX_PIXELS} pixels are decoded, lest a small file take all memory");
        return Err(format!("has {width} x {height} pixels; {most}"));
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_BYTES);
    limits.reserve(decoder.total_bytes()).map_err(broken)?;
    decoder.set_limits(limits).map_err(broken)?;
    if format == ImageFormat::Jpeg && !ends(bytes) {
        return Err("ends early: it has no end mark; copy it again".to_owned());
    }
    // A damaged EXIF block says nothing.
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    let mut image = DynamicImage::ImageRgb8(to_rgb(image, alpha)?);
    image.apply_orientation(orientation);
    Ok(image.into_rgb8())
}

/// What a decoder says, with the limits that we set.
fn problem(error: &ImageError) -> String {
    match error {
        ImageError::Limits(e) if matches!(e.kind(), LimitErrorKind::InsufficientMemory) => {
            format!("takes more than {MAX_BYTES} bytes to decode, which is the limit; make it smaller")
        }
        other => format!("cannot be decoded: {other}; is it damaged?"),
    }
}

/// Whether a JPEG's data come to their end mark: the decoder would fill up with grey what is missing.
fn ends(bytes: &[u8]) -> bool {
    let mut at = 2;
    // Segments up to the first scan, since thumbnails in them have end marks of their own.
    while let Some(&[0xff, marker]) = bytes.get(at..at + 2) {
        match marker {
            0xff => at += 1,
            0xd8 | 0x01 => at += 2,
            _ => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
            }
        }
        if marker == 0xda {
            break;
        }
    }
    // Within a scan 0xff is followed by 0 or a mark.
    bytes.get(at..).is_some_and(|rest| rest.windows(2).any(|pair| pair == [0xff, 0xd9]))
}

fn to_rgb(image: DynamicImage, alpha: Alpha) -> Result<RgbImage, String> {
    let (width, height) = (image.width(), image.height());
    /// The byte of 16 bits that Pillow takes.
    fn upper<const N: usize>(pixel: [u16; N]) -> [u8; N] {
        pixel.map(|x| (x >> 8) as u8)
    }
    let over = |[r, g, b, a]: [u8; 4]| match alpha {
        Alpha::Dropped => [r, g, b],
        Alpha::OnWhite => [r, g, b].map(|x| over_white(x, a)),
    };
    let grey = |x: u8| [x; 3];
    let grey_alpha = |[x, a]: [u8; 2]| over([x, x, x, a]);
    let rgb: Vec<u8> = match image {
        DynamicImage::ImageRgb8(image) => return Ok(image),
        DynamicImage::ImageLuma8(image) => image.pixels().flat_map(|p| grey(p.0[0])).collect(),
        DynamicImage::ImageLuma16(image) => image.pixels().flat_map(|p| grey(upper(p.0)[0])).collect(),
        DynamicImage::ImageLumaA8(image) => image.pixels().flat_map(|p| grey_alpha(p.0)).collect(),
        DynamicImage::ImageLumaA16(image) => image.pixels().flat_map(|p| grey_alpha(upper(p.0))).collect(),
        DynamicImage::ImageRgba8(image) => image.pixels().flat_map(|p| over(p.0)).collect(),
        DynamicImage::ImageRgb16(image) => image.pixels().flat_map(|p| upper(p.0)).collect(),
        DynamicImage::ImageRgba16(image) => image.pixels().flat_map(|p| over(upper(p.0))).collect(),
        other => return Err(format!("has pixels of the kind {:?}, which are not read", other.color())),
    };
    RgbImage::from_raw(width, height, rgb).ok_or_else(|| "cannot be decoded: pixels are missing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jpeg_without_its_end_is_found() {
        let start = [0xff, 0xd8, 0xff, 0xe1, 0, 4, 0xff, 0xd9, 0xff, 0xda, 0, 3, 1, 5, 6, 0xff, 0];
        assert!(!ends(&start));
        assert!(ends(&[&start[..], &[7, 0xff, 0xd9]].concat()));
        assert!((0..start.len()).all(|n| !ends(&start[..n])));
    }

    #[test]
    fn other_files_are_named() {
        let said = |bytes: &[u8]| Picture::decode(bytes, Path::new("x.png"), Alpha::default()).unwrap_err().to_string();
        for (bytes, word) in [
            (&b"II*\0abcdef"[..], "TIFF"),
            (b"\0\0\0\x1cftypavif", "AVIF"),
            (b"\0\0\0\x1cftypheic", "HEIF"),
            (b"%PDF-1.4", "PDF"),
            (b"a text", "a text"),
            (b"", "empty"),
            (b"\x01\0\x02", "unknown kind"),
        ] {
            assert!(said(bytes).contains(word) && said(bytes).contains("x.png"), "{}", said(bytes));
        }
    }
}
