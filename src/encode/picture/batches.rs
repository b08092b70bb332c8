//! Many files, decoded and prepared on all cores while a device computes.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use rayon::prelude::*;

use super::decode::Picture;
use super::preprocess::Preprocessor;
use crate::{Error, Result};

/// Batches that wait to be taken at most.
const AHEAD: usize = 2;

/// Files prepared together.
#[derive(Debug)]
pub struct PictureBatch {
    /// The place of the batch's first file in the list.
    pub first: usize,
    /// How many files it is made of, the bad ones among them.
    pub files: usize,
    /// Height and width of its pictures.
    pub size: (usize, usize),
    /// The good ones in their order: f32 `[good, 3, height, width]`.
    pub pixels: Vec<f32>,
    /// Places in the list of those that could not be read, in order, with the reasons.
    pub bad: Vec<BadPicture>,
}

/// A file that could not be read.
#[derive(Debug)]
pub struct BadPicture {
    /// Its place in the list.
    pub index: usize,
    /// Why.
    pub error: Error,
}

impl PictureBatch {
    /// Pictures that were read.
    pub fn good(&self) -> usize {
        self.files - self.bad.len()
    }
}

/// Batches of a list of files, in order. A thread prepares them ahead, each on all cores, and holds two at most that were not taken;
/// dropped, it ends after the batch that it is at.
#[derive(Debug)]
pub struct PictureBatches {
    batches: Option<Receiver<Result<PictureBatch>>>,
    thread: Option<JoinHandle<()>>,
}

impl PictureBatches {
    /// Begins to prepare `path(first)`, `path(first + 1)`, … up to `path(end - 1)`, so many at a time. The preprocessor must give all pictures one
    /// size.
    ///
    /// # Errors
    /// A preprocessor without a fixed size, a batch of 0, no thread to be had.
    pub fn start(
        preprocessor: Preprocessor,
        path: impl Fn(usize) -> PathBuf + Send + Sync + 'static,
        (first, end): (usize, usize),
        batch: usize,
    ) -> Result<PictureBatches> {
        let size = fixed_size(&preprocessor)?;
        if batch == 0 {
            return Err(Error::argument("batch_size", "0; give 1 or more"));
        }
        let (sender, receiver) = sync_channel(AHEAD);
        let work = move || {
            for at in (first..end).step_by(batch) {
                let files = at..(at + batch).min(end);
                let prepared = prepare(&preprocessor, &path, files, size);
                if sender.send(prepared).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("pictures".to_owned()).spawn(work);
        let thread = thread.map_err(Error::io("start a thread for", "pictures"))?;
        Ok(PictureBatches { batches: Some(receiver), thread: Some(thread) })
    }
}

/// The size that every picture comes out with.
fn fixed_size(preprocessor: &Preprocessor) -> Result<(usize, usize)> {
    preprocessor.image_size().ok_or_else(|| {
        let problem = "its preprocessor_config.json leaves pictures with different sizes (no crop, and no height and width to \
                       resize to), but a tower takes one; set \"crop_size\" or \"size\"";
        Error::argument("model", problem)
    })
}

/// Checks that every picture comes out with the height and width that a tower takes.
#[cfg(feature = "encode")]
pub(crate) fn check_size(preprocessor: &Preprocessor, taken: (usize, usize)) -> Result<()> {
    let made = fixed_size(preprocessor)?;
    if made != taken {
        let sizes = format!("{} x {} pixels, but the tower takes {} x {}", made.0, made.1, taken.0, taken.1);
        let remedy = "correct \"size\" and \"crop_size\" of preprocessor_config.json, or \"image_size\" of config.json";
        return Err(Error::argument("model", format!("its preprocessor makes pictures of {sizes}; {remedy}")));
    }
    Ok(())
}

fn prepare(
    preprocessor: &Preprocessor,
    path: &(impl Fn(usize) -> PathBuf + Sync),
    files: std::ops::Range<usize>,
    size: (usize, usize),
) -> Result<PictureBatch> {
    let prepared: Vec<Result<Vec<f32>>> = files
        .clone()
        .into_par_iter()
        .with_max_len(1)
        .map(|index| {
            let picture = Picture::open(&path(index), preprocessor.alpha_rule())?;
            preprocessor.pixels(&picture)
        })
        .collect();
    let mut batch = PictureBatch { first: files.start, files: files.len(), size, pixels: Vec::new(), bad: Vec::new() };
    batch.pixels.reserve_exact(3 * size.0 * size.1 * prepared.iter().filter(|p| p.is_ok()).count());
    for (index, pixels) in files.zip(prepared) {
        match pixels {
            Ok(pixels) => batch.pixels.extend_from_slice(&pixels),
            Err(error) => batch.bad.push(BadPicture { index, error }),
        }
    }
    Ok(batch)
}

impl Iterator for PictureBatches {
    type Item = Result<PictureBatch>;

    fn next(&mut self) -> Option<Result<PictureBatch>> {
        let next = self.batches.as_ref()?.recv().ok();
        if next.is_none() {
            self.batches = None;
            // A panic of the thread goes on here.
            if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
                std::panic::resume_unwind(panic);
            }
        }
        next
    }
}

impl Drop for PictureBatches {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // Nobody is left to hear of a panic.
            let _ = thread.join();
        }
    }
}
