//! Where rows come from: files of embeddings, or pictures and texts that an encoder embeds on the way.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use realign::device::Device;
use realign::encode::cache::{EmbeddingCache, KeptRows};
use realign::encode::picture::is_picture;
use realign::io::{Dataset, FileFormat, NamedTexts, OpenOptions, PictureList, TextList, is_url};

use crate::encode::Progress;
use crate::shared::device::{DeviceArgs, embeddings_folder};
use crate::shared::read::ReadArgs;
use crate::train;

/// An encoder for inputs that are no embeddings yet.
#[derive(Args)]
pub struct EncoderArgs {
    /// An encoder, so that inputs may be pictures (files, folders, patterns) or texts (.jsonl, .json, .txt) in place of embeddings: a folder of
    /// CLIP, SigLIP or, for texts, sentence-transformers or a decoder.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Where embeddings that were computed are kept, each once; by default in the user's cache folder.
    #[arg(long, value_name = "DIR", requires = "model")]
    cache: Option<PathBuf>,
}

/// A device that is asked for when it is first needed.
pub struct LazyDevice<'a> {
    args: &'a DeviceArgs,
    device: OnceCell<Device>,
}

impl<'a> LazyDevice<'a> {
    pub fn new(args: &'a DeviceArgs) -> Self {
        LazyDevice { args, device: OnceCell::new() }
    }

    pub fn get(&self) -> Result<&Device> {
        if let Some(device) = self.device.get() {
            return Ok(device);
        }
        let device = self.args.request_for_halves()?;
        Ok(self.device.get_or_init(|| device))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Embeddings,
    Pictures,
    Texts,
}

impl EncoderArgs {
    /// Opens the rows that inputs are or, with an encoder, stand for.
    pub fn open(&self, device: &LazyDevice<'_>, read: &ReadArgs, inputs: &[PathBuf]) -> Result<Dataset> {
        let Some(model) = &self.model else { return read.open(inputs) };
        let kinds = inputs.iter().map(|input| kind(input)).collect::<Result<Vec<_>>>()?;
        let Some(first) = kinds.first() else { return read.open(inputs) };
        if let Some(other) = kinds.iter().position(|kind| kind != first) {
            let (a, b) = (inputs[0].display(), inputs[other].display());
            bail!("{b}: is not of the kind of {a}; of one side give pictures, texts or embeddings alone");
        }
        let cache = cache(self.cache.as_deref())?;
        let kept = match first {
            Kind::Embeddings => return read.open(inputs),
            Kind::Pictures => {
                let list = PictureList::open(inputs, is_picture)?;
                watched(cache, |cache| cache.pictures(device.get()?, model, &list).map_err(Into::into))?
            }
            Kind::Texts => {
                let lists = inputs.iter().map(|input| TextList::open(input)).collect::<Result<Vec<_>, _>>()?;
                let texts = NamedTexts::of_lists(&lists)?;
                watched(cache, |cache| cache.texts(device.get()?, model, &texts).map_err(Into::into))?
            }
        };
        Ok(Dataset::open(&[kept.rows], &OpenOptions::default())?)
    }
}

/// The folder of computed embeddings: the one that was named, or that of the user.
pub fn cache(named: Option<&Path>) -> Result<EmbeddingCache<'static>> {
    Ok(EmbeddingCache::new(named.map_or_else(embeddings_folder, |folder| Ok(folder.to_path_buf()))?))
}

/// Runs what may embed, with its progress on stderr; Ctrl-C stops it, and what was made is kept.
pub fn watched(
    cache: EmbeddingCache<'_>,
    run: impl FnOnce(&EmbeddingCache<'_>) -> Result<KeptRows>,
) -> Result<KeptRows> {
    train::watch_for_stop("stopping after this batch; Ctrl-C again to stop at once")?;
    let progress = Progress::begun_by_the_first();
    let (watch, stop) = (|what, done, all| progress.tell(what, done, all), train::stopped);
    let kept = run(&cache.watch(Some(&watch)).stop(Some(&stop)));
    progress.finish();
    if kept.as_ref().is_err_and(|e| matches!(e.downcast_ref(), Some(realign::Error::Stopped))) {
        eprintln!("what was made is kept; go on with the same command");
    }
    kept
}

/// What an input is, by its ending; a folder by what lies in it.
fn kind(input: &Path) -> Result<Kind> {
    if input.is_dir() {
        let files = || std::fs::read_dir(input).into_iter().flatten().flatten().map(|entry| entry.path());
        let rows = files().find(|file| is_rows(file) || is_folder_of_rows(file));
        let picture = files().find(|file| PictureList::is_named_as_one(file));
        return match (rows, picture) {
            (None, _) => Ok(Kind::Pictures),
            (Some(_), None) => Ok(Kind::Embeddings),
            (Some(rows), Some(picture)) => {
                let (rows, picture) = (rows.display(), picture.display());
                bail!(
                    "{}: holds embeddings ({rows}) and pictures ({picture}); name one kind by a pattern",
                    input.display()
                )
            }
        };
    }
    let ending = input.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    Ok(match ending.as_deref() {
        Some("txt" | "json" | "jsonl") => Kind::Texts,
        // Pictures are read from disks alone.
        _ if FileFormat::from_path(input).is_some() || is_url(input) => Kind::Embeddings,
        _ => Kind::Pictures,
    })
}

fn is_rows(file: &Path) -> bool {
    FileFormat::from_path(file).is_some() && file.is_file()
}

/// Folders of clip-retrieval's layout.
fn is_folder_of_rows(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == "img_emb" || name == "text_emb") && file.is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_told_by_their_endings() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["rows/a.npy", "pictures/a.png", "retrieval/img_emb/img_emb_0.npy"] {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), "").unwrap();
        }
        for (input, want) in [
            ("rows", Kind::Embeddings),
            ("retrieval", Kind::Embeddings),
            ("pictures", Kind::Pictures),
            ("pictures/a.png", Kind::Pictures),
            ("*.jpg", Kind::Pictures),
            ("*.npy", Kind::Embeddings),
            ("a.parquet", Kind::Embeddings),
            ("a.TXT", Kind::Texts),
            ("a.jsonl", Kind::Texts),
        ] {
            assert_eq!(kind(&at(input)).unwrap(), want, "{input}");
        }
        std::fs::write(at("pictures/rows.npy"), "").unwrap();
        let problem = kind(&at("pictures")).unwrap_err().to_string();
        assert!(problem.contains("rows.npy") && problem.contains("a.png"), "{problem}");
    }
}
