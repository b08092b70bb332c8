//! Encoders: pictures and texts to embeddings.

use std::ffi::c_char;
use std::path::Path;

use realign::encode::picture::Picture;
use realign::encode::{ImageEncoder, TextEncoder, TextOptions};

use super::device::RealignDevice;
use super::status::{Failure, Result, guard, guard_value};
use super::{RealignStatus, input, output};

/// The image tower of a CLIP or SigLIP folder. It may be shared between threads.
pub struct RealignImageEncoder(pub(crate) ImageEncoder);

/// The text tower of a CLIP or SigLIP folder, or a sentence-transformers encoder. It may be shared between threads.
pub struct RealignTextEncoder(TextEncoder);

/// Reads the image tower of a model folder as Hugging Face has it, with its preprocessor_config.json. With `unit_rows` its rows are divided by their
/// norms, as adapters are often trained on them.
///
/// # Safety
/// `device` is a device; `folder` is a string; `out` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_image_encoder_load(
    device: *const RealignDevice,
    folder: *const c_char,
    unit_rows: bool,
    out: *mut *mut RealignImageEncoder,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (out, device, folder) =
            unsafe { (output::object(out)?, input::shared("device", device)?, input::path("folder", folder)?) };
        let encoder = ImageEncoder::load(&device.device, folder)?;
        out.give(RealignImageEncoder(if unit_rows { encoder.unit_rows()? } else { encoder }));
        Ok(())
    })
}

/// Numbers of an embedding; 0 for NULL.
///
/// # Safety
/// `encoder` is NULL or an encoder.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_image_encoder_width(encoder: *const RealignImageEncoder) -> usize {
    // SAFETY: as this function's caller says.
    guard_value(0, || unsafe { input::shared("encoder", encoder) }.map_or(0, |encoder| encoder.0.width()))
}

/// The embedding of a picture from its pixels: `width` x `height` of them from the top left on, line by line without gaps, three bytes each, red, green, blue, in
/// sRGB; `rgb_len` is their number of bytes. It is resized, cropped and normalised as the folder says. `out` has room for `out_len` numbers,
/// realign_image_encoder_width() at least.
///
/// # Safety
/// `encoder` is an encoder; `rgb` points to so many bytes, `out` to memory for so many numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_image_encoder_encode_rgb(
    encoder: *const RealignImageEncoder,
    rgb: *const u8,
    rgb_len: usize,
    width: usize,
    height: usize,
    out: *mut f32,
    out_len: usize,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let encoder = unsafe { &input::shared("encoder", encoder)?.0 };
        // SAFETY: as this function's caller says.
        let (rgb, room) = unsafe { (input::values("rgb", rgb, rgb_len)?, output::room("out", out, out_len)?) };
        room.check("out", encoder.width())?;
        room.fill("out", &encoder.encode_rgb_blocking(rgb, width, height)?)
    })
}

/// The embeddings of pictures in files, PNG, JPEG, WebP, GIF or BMP, one row behind the other, in as few batches as keep the device busy. `out` has room for
/// `out_len` numbers, `count` rows of realign_image_encoder_width() at least. After an error it holds anything.
///
/// # Safety
/// `encoder` is an encoder; `paths` points to `count` strings, `out` to memory for so many numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_image_encoder_encode_files(
    encoder: *const RealignImageEncoder,
    paths: *const *const c_char,
    count: usize,
    out: *mut f32,
    out_len: usize,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let encoder = unsafe { &input::shared("encoder", encoder)?.0 };
        // SAFETY: as this function's caller says.
        let (paths, mut room) = unsafe { (input::texts("paths", paths, count)?, output::room("out", out, out_len)?) };
        room.check("out", rows(count, encoder.width())?)?;
        let preprocessor = encoder.preprocessor()?;
        for (i, files) in paths.chunks(encoder.batch()).enumerate() {
            let mut pixels = Vec::new();
            for file in files {
                let picture = Picture::open(Path::new(file), preprocessor.alpha_rule())?;
                pixels.extend(preprocessor.pixels(&picture)?);
            }
            let first = i * encoder.batch() * encoder.width();
            room.write(first, encoder.encode_blocking(&pixels)?.into_iter());
        }
        Ok(())
    })
}

/// The numbers of so many rows.
fn rows(count: usize, width: usize) -> Result<usize> {
    let too_many = || Failure::new(RealignStatus::Shape, format!("{count} rows of {width}: no memory is that large"));
    count.checked_mul(width).ok_or_else(too_many)
}

/// Frees an encoder.
///
/// # Safety
/// `encoder` is NULL or an encoder that is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_image_encoder_free(encoder: *mut RealignImageEncoder) {
    // SAFETY: as this function's caller says.
    unsafe { output::free(encoder) }
}

/// Reads the text tower and the tokenizer of a model folder as Hugging Face has it: CLIP, SigLIP, sentence-transformers, or a decoder. `prompt` is put before
/// each text, such as an instruction; NULL for the folder's default. With `unit_rows` rows are divided by their norms, if the folder does not do so already.
///
/// # Safety
/// `device` is a device; `folder` is a string, `prompt` NULL or one; `out` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_text_encoder_load(
    device: *const RealignDevice,
    folder: *const c_char,
    prompt: *const c_char,
    unit_rows: bool,
    out: *mut *mut RealignTextEncoder,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (out, device, folder) =
            unsafe { (output::object(out)?, input::shared("device", device)?, input::path("folder", folder)?) };
        // SAFETY: as this function's caller says.
        let prompt = unsafe { input::optional_text("prompt", prompt)? };
        let options = TextOptions::default().prompt(prompt.map(str::to_owned));
        let encoder = TextEncoder::load(&device.device, folder, &options)?;
        out.give(RealignTextEncoder(if unit_rows { encoder.unit_rows()? } else { encoder }));
        Ok(())
    })
}

/// Numbers of an embedding; 0 for NULL.
///
/// # Safety
/// `encoder` is NULL or an encoder.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_text_encoder_width(encoder: *const RealignTextEncoder) -> usize {
    // SAFETY: as this function's caller says.
    guard_value(0, || unsafe { input::shared("encoder", encoder) }.map_or(0, |encoder| encoder.0.width()))
}

/// The embeddings of texts, one row behind the other, in as few batches as keep the device busy. `out` has room for `out_len` numbers, `count` rows of
/// realign_text_encoder_width() at least. `cut`, unless NULL, gets how many texts were longer than the model takes, and were cut.
///
/// # Safety
/// `encoder` is an encoder; `texts` points to `count` strings, `out` to memory for so many numbers, `cut` to a number or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_text_encoder_encode(
    encoder: *const RealignTextEncoder,
    texts: *const *const c_char,
    count: usize,
    out: *mut f32,
    out_len: usize,
    cut: *mut usize,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let encoder = unsafe { &input::shared("encoder", encoder)?.0 };
        // SAFETY: as this function's caller says.
        let (texts, room) = unsafe { (input::texts("texts", texts, count)?, output::room("out", out, out_len)?) };
        // SAFETY: as this function's caller says.
        let cut = unsafe { output::optional_place("cut", cut)? };
        room.check("out", rows(count, encoder.width())?)?;
        let texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
        let found = encoder.encode_blocking(&texts)?;
        room.fill("out", &found.rows)?;
        if let Some(cut) = cut {
            cut.set(found.cut);
        }
        Ok(())
    })
}

/// Frees an encoder.
///
/// # Safety
/// `encoder` is NULL or an encoder that is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_text_encoder_free(encoder: *mut RealignTextEncoder) {
    // SAFETY: as this function's caller says.
    unsafe { output::free(encoder) }
}
