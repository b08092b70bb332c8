//! Rows that are computed once: a folder that keeps the embeddings of pictures and texts under what they are of and who made them.
//!
//! ```text
//! folder/<encoder>/<set>.safetensors   the rows of a list of pictures or texts, f32 [n, width], with the encoder's name and hash
//!                  <set>.ids.json      their names
//!                  <set>.keys.txt      SHA-256 of the picture's file or of the text that each row is of
//! ```
//!
//! A list that was asked for before is found as it is, whatever its files are called now and wherever they lie; of another list those rows are
//! computed that no list of the same encoder and precision has. So a data set that grows by a picture costs that picture, an edited picture is embedded
//! anew, and an encoder of which a file changed shares nothing with what it was. What is killed goes on where it was. Nothing else reads the folder: it may be
//! deleted at any time.

mod set;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rayon::prelude::*;
use serde_json::json;
use sha2::{Digest, Sha256};

use self::set::{Files, Key, Sets};
use super::embed::{EmbedOptions, Embedded, embed_pictures, embed_texts};
use super::identity::hexadecimal;
use super::picture::Preprocessor;
use super::{ImageEncoder, TextEncoder, TextOptions};
use crate::device::Device;
use crate::error::{Problem, Remedy};
use crate::io::{
    EncoderId, Extent, FolderLock, Ids, Join, NamedPictures, NamedTexts, PictureList, SkipBad, Start, TextList,
    write_atomically,
};
use crate::nn::Precision;
use crate::setters::setters;
use crate::{Error, Result};

/// Changes with the arithmetic of preprocessing or of a tower: rows of before are then no longer what would be made.
const ARITHMETIC: &str = "v1";
/// Texts of a batch: the encoder cuts it into parts that suit its device.
const TEXTS: usize = 256;

/// What is told of the work: what is embedded, how many are done, and how many there are.
type Watch<'a> = &'a dyn Fn(&'static str, u64, u64);

/// A folder of rows that are computed once.
#[derive(Clone)]
pub struct EmbeddingCache<'a> {
    folder: PathBuf,
    /// How many pictures or texts that cannot be used may be left out.
    pub skip_bad: SkipBad,
    /// What encoders compute in, as [`TextOptions::precision`] says; rows of one are not taken for those of the other.
    pub precision: Precision,
    /// Told how far the work is, where there is some.
    pub watch: Option<Watch<'a>>,
    /// Asked between batches whether to stop; what was made is kept, and [`Error::Stopped`] returned.
    pub stop: Option<&'a dyn Fn() -> bool>,
}

impl std::fmt::Debug for EmbeddingCache<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddingCache").field("folder", &self.folder).finish_non_exhaustive()
    }
}

setters!(EmbeddingCache<'a> {
    skip_bad: SkipBad,
    precision: Precision,
    watch: Option<Watch<'a>>,
    stop: Option<&'a dyn Fn() -> bool>,
});

/// Rows that are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRows {
    /// The rows: a safetensors file with one tensor, f32 `[n, width]`.
    pub rows: PathBuf,
    /// Their names: a JSON array of n texts.
    pub ids: PathBuf,
    /// n.
    pub count: u64,
    /// How many of them were computed now.
    pub computed: u64,
    /// Pictures or texts that cannot be used, which have no row.
    pub bad: u64,
    /// Who made them.
    pub encoder: EncoderId,
}

/// Records that name pictures.
#[derive(Clone, Copy, Debug)]
pub struct PictureRecords<'a> {
    /// Their file: `.jsonl`, or `.json` with one array.
    pub data: &'a Path,
    /// The folder that names are relative to; by default that of the file.
    pub root: Option<&'a Path>,
    /// Which of a record's names counts.
    pub join: Join,
    /// Whether pictures may be missing.
    pub skip_missing: bool,
    /// How far the file is read.
    pub extent: Extent,
}

impl PictureRecords<'_> {
    /// The folder that names are relative to.
    fn folder(&self) -> &Path {
        let beside = self.data.parent().filter(|folder| !folder.as_os_str().is_empty());
        self.root.or(beside).unwrap_or(Path::new("."))
    }
}

impl<'a> EmbeddingCache<'a> {
    /// In a folder, which is made when there is something to keep.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let (skip_bad, precision) = (SkipBad::default(), Precision::F32);
        EmbeddingCache { folder: folder.into(), skip_bad, precision, watch: None, stop: None }
    }

    /// The rows of pictures, in the list's order, by the image tower of a model folder in Hugging Face's layout. The tower is loaded where a row is
    /// missing.
    ///
    /// # Errors
    /// As [`ImageEncoder::load`], [`Preprocessor::load`] and [`embed_pictures`]; a picture or a file of the folder that cannot be read.
    pub fn pictures(&self, device: &Device, model: &Path, pictures: &PictureList) -> Result<KeptRows> {
        let kept = self.some_pictures(device, model, pictures)?;
        kept.ok_or_else(|| all_bad("pictures", pictures.len()))
    }

    /// As [`Self::pictures`], nothing where all are bad.
    fn some_pictures(&self, device: &Device, model: &Path, pictures: &PictureList) -> Result<Option<KeptRows>> {
        let (keys, stamps): (Vec<Key>, Vec<Stamp>) = keys_of_pictures(pictures)?.into_iter().unzip();
        let name = |i: usize| pictures.id(i).to_owned();
        let changed = |places: &[usize]| {
            let differs = |i: &&usize| stamp(&pictures.path(**i)).ok() != Some(stamps[**i]);
            places.iter().find(differs).map(|i| pictures.path(*i))
        };
        let inputs = Inputs { name: &name, working_name: &name, keys: &keys, changed: &changed };
        self.keep(("pictures", model), &inputs, &|missing, files| {
            let preprocessor = Preprocessor::load(model)?;
            let encoder = ImageEncoder::load_in(device, model, self.precision)?;
            let list = Arc::new(pictures.at(missing));
            let watch = |done| self.tell("pictures", done, list.len());
            let options = self.options(model, files).batch_size(encoder.batch()).progress(Some(&watch));
            resumed(&options, |options| embed_pictures(&encoder, &preprocessor, &list, options))
        })
    }

    /// The rows of texts, in their order, by the text tower, the sentence encoder or the decoder of a model folder, as [`TextEncoder::load`] reads it
    /// where nothing else is said. The encoder is loaded where a row is missing.
    ///
    /// # Errors
    /// As [`TextEncoder::load`] and [`embed_texts`].
    pub fn texts(&self, device: &Device, model: &Path, texts: &NamedTexts) -> Result<KeptRows> {
        let key = |i: usize| Key(Sha256::digest(texts.texts.get(i).as_bytes()).into());
        let keys: Vec<Key> = (0..texts.texts.len()).into_par_iter().map(key).collect();
        let name = |i: usize| texts.names.get(i).to_owned();
        // Names may be what no id may be: empty, or of several lines.
        let working_name = |i: usize| hexadecimal(&keys[i].0);
        let inputs = Inputs { name: &name, working_name: &working_name, keys: &keys, changed: &|_| None };
        let kept = self.keep(("texts", model), &inputs, &|missing, files| {
            let record = |i: &usize| json!({"id": working_name(*i), "text": texts.texts.get(*i)}).to_string() + "\n";
            let lines: String = missing.iter().map(record).collect();
            let path = files.beside("texts.jsonl");
            write_atomically(&path, true, lines.as_bytes())?;
            let list = TextList::open(&path)?;
            let encoder = TextEncoder::load(device, model, &TextOptions::default().precision(self.precision))?;
            let watch = |done| self.tell("texts", done, list.len());
            let options = self.options(model, files).batch_size(TEXTS).progress(Some(&watch));
            let embedded = resumed(&options, |options| embed_texts(&encoder, &list, options))?;
            if embedded.cut > 0 {
                let (cut, positions) = (embedded.cut, encoder.positions());
                log::warn!("{cut} of {} texts are longer than the encoder's {positions} positions: cut", list.len());
            }
            std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            Ok(embedded)
        })?;
        kept.ok_or_else(|| all_bad("texts", texts.texts.len()))
    }

    /// The rows of the pictures that a data file's records name. Where so many records are wanted alone, those of pictures that are bad, and may be
    /// left out, do not count: the file is read further for others.
    ///
    /// # Errors
    /// As [`Self::pictures`] and [`NamedPictures::read`]; a picture that is not there, unless such records are to be left out; no picture at all.
    pub fn pictures_of(&self, device: &Device, model: &Path, records: &PictureRecords<'_>) -> Result<KeptRows> {
        let mut bad = HashSet::new();
        loop {
            let names = self.names_of(records, &bad)?;
            let root = records.folder();
            let names: Vec<&str> = (0..names.len()).map(|i| names.get(i)).collect();
            let kept = self.some_pictures(device, model, &PictureList::named(root, names.iter().copied()))?;
            let made = match &kept {
                Some(kept) if kept.bad == 0 => return Ok(kept.clone()),
                Some(kept) => Ids::read(&kept.ids, None)?,
                None => Ids::default(),
            };
            let (made, before): (HashSet<&str>, _) = ((0..made.len()).map(|i| made.get(i)).collect(), bad.len());
            bad.extend(names.iter().filter(|name| !made.contains(*name)).map(|name| (*name).to_owned()));
            if bad.len() == before || records.extent == Extent::All {
                return kept.ok_or_else(|| all_bad("pictures", names.len()));
            }
        }
    }

    /// The names of the pictures that records name, read as far as it takes without those that are bad.
    fn names_of(&self, records: &PictureRecords<'_>, bad: &HashSet<String>) -> Result<Ids> {
        let PictureRecords { data, join, skip_missing, extent, .. } = *records;
        let root = records.folder();
        if !root.is_dir() {
            return Err(Error::argument(
                "images_root",
                format!("{} is no folder; name that of the pictures", root.display()),
            ));
        }
        let NamedPictures { names, missing, first_missing } =
            NamedPictures::read_beyond(data, root, join, extent, bad)?;
        if names.is_empty() || (missing > 0 && !skip_missing) {
            let (count, such) = (names.len(), first_missing.join(", "));
            let problem = match missing {
                0 => "no record names a picture; give records with an image, or embeddings".to_owned(),
                _ => {
                    let more = if missing as usize > first_missing.len() { ", …" } else { "" };
                    let lacking =
                        format!("{missing} records name pictures that are not under {}: {such}{more}", root.display());
                    format!("{lacking}; {count} pictures are there")
                }
            };
            let problem = Problem::new(format!("{}: {problem}", data.display()));
            let problem = if missing > 0 && !skip_missing { problem.remedy(Remedy::SkipMissing) } else { problem };
            return Err(Error::argument("images_root", problem));
        }
        Ok(names)
    }

    fn tell(&self, what: &'static str, done: u64, all: usize) {
        if let Some(watch) = self.watch {
            watch(what, done, all as u64);
        }
    }

    fn options<'b>(&'b self, model: &'b Path, files: &Files) -> EmbedOptions<'b> {
        EmbedOptions::new(&files.rows)
            .ids_out(Some(files.ids.clone()))
            .start(Start::Resume)
            .skip_bad(self.skip_bad)
            .model(Some(model))
            .stop(self.stop)
            .that_may_be_empty()
    }

    /// The rows of named inputs: those that are known, and those that are made of the others; nothing where all are bad.
    fn keep(
        &self,
        (kind, model): (&'static str, &Path),
        inputs: &Inputs<'_>,
        make: &Make<'_>,
    ) -> Result<Option<KeptRows>> {
        let encoder = EncoderId::of_model(model)?;
        let precision = if self.precision == Precision::F32 { "" } else { "-mixed" };
        let folder = self.folder.join(format!("{kind}-{ARITHMETIC}-{}{precision}", &encoder.hash[..16]));
        crate::io::url::create_folders(&folder)?;
        let files = Files::of(&folder, &name_of_set("set", inputs, 0..inputs.keys.len()));
        let found = |computed: u64, count: u64| {
            let bad = inputs.keys.len() as u64 - count.min(inputs.keys.len() as u64);
            let (rows, ids, encoder) = (files.rows.clone(), files.ids.clone(), encoder.clone());
            KeptRows { rows, ids, count, computed, bad, encoder }
        };
        if let Some(kept) = files.whole().map(|count| found(0, count)).filter(|kept| self.skip_bad.allows(kept.bad)) {
            return Ok(Some(kept));
        }
        let _alone = self.alone_in(&folder)?;
        let mut sets = Sets::find(&folder, inputs.keys)?;
        let mut seen = HashSet::new();
        let is_missing = |i: &usize| !sets.has(&inputs.keys[*i]) && seen.insert(inputs.keys[*i]);
        let missing: Vec<usize> = (0..inputs.keys.len()).filter(is_missing).collect();
        let part = match missing.is_empty() {
            true => None,
            false => self.part((&folder, inputs), &missing, (model, &encoder), make)?,
        };
        if let Some((part, _)) = &part {
            sets.add(part)?;
        }
        let there: Vec<(String, Key)> = (0..inputs.keys.len())
            .map(|i| ((inputs.name)(i), inputs.keys[i]))
            .filter(|(_, key)| sets.has(key))
            .collect();
        if there.is_empty() {
            return Ok(None);
        }
        let bad = (inputs.keys.len() - there.len()) as u64;
        if !self.skip_bad.allows(bad) {
            // One content under several names counts once where it is embedded, and once for each name here.
            let problem = format!("{bad} {kind} cannot be used, and {} may be left out", self.skip_bad);
            let argument = if kind == "pictures" { "images" } else { "texts" };
            return Err(Error::Argument {
                argument,
                problem: Problem::new(problem).remedy(Remedy::SkipBad { count: bad }),
            });
        }
        sets.write(&files, &encoder, &there)?;
        let computed = part.as_ref().map_or(0, |(_, rows)| *rows);
        part.into_iter().try_for_each(|(part, _)| part.remove())?;
        Ok(Some(found(computed, there.len() as u64)))
    }

    /// Makes the rows of the inputs at these places, or finds them where a run was killed between two of its files; `None` where all are bad.
    fn part(
        &self,
        (folder, inputs): (&Path, &Inputs<'_>),
        missing: &[usize],
        (model, encoder): (&Path, &EncoderId),
        make: &Make<'_>,
    ) -> Result<Option<(Files, u64)>> {
        let files = Files::of(folder, &name_of_set("part", inputs, missing.iter().copied()));
        if !(files.rows.is_file() && files.ids.is_file()) {
            let made = make(missing, &files)?;
            if made.rows == 0 {
                return Ok(None);
            }
        }
        // What changed meanwhile is not what its key says.
        let changed = (inputs.changed)(missing)
            .or_else(|| (EncoderId::of_model(model).ok()?.hash != encoder.hash).then(|| model.to_path_buf()));
        if let Some(path) = changed {
            files.remove_rows()?;
            return Err(Error::format(&path, "changed while it was in use; run the command again"));
        }
        let keys = keys_of_rows(&files, inputs, missing)?;
        files.write_keys(&keys)?;
        Ok(Some((files, keys.len() as u64)))
    }

    /// Waits until no other process works in a folder of the cache, and keeps others waiting.
    fn alone_in(&self, folder: &Path) -> Result<FolderLock> {
        let mut said = false;
        loop {
            match FolderLock::acquire(folder) {
                Err(Error::InUse { process, .. }) => {
                    if !std::mem::replace(&mut said, true) {
                        let who = process.map_or_else(|| "another process".to_owned(), |id| format!("process {id}"));
                        log::warn!("{}: {who} embeds there; waiting for it", folder.display());
                    }
                    if self.stop.is_some_and(|stop| stop()) {
                        return Err(Error::Stopped);
                    }
                    std::thread::sleep(Duration::from_millis(200));
                }
                other => return other,
            }
        }
    }
}

/// Goes on with what was killed; where its files were touched since, which its list of them shows, it begins anew: their content is the same.
fn resumed(options: &EmbedOptions<'_>, run: impl Fn(&EmbedOptions<'_>) -> Result<Embedded>) -> Result<Embedded> {
    match run(options) {
        Err(Error::Argument { argument: "resume", .. }) => run(&options.clone().start(Start::Replace)),
        other => other,
    }
}

fn all_bad(kind: &str, count: usize) -> Error {
    Error::degenerate(format!("all {count} {kind} are bad, so that there is no row"))
}

/// What rows are asked for.
struct Inputs<'a> {
    /// What each is called.
    name: &'a dyn Fn(usize) -> String,
    /// What each is called while its row is made.
    working_name: &'a dyn Fn(usize) -> String,
    keys: &'a [Key],
    /// Of those at these places one that is no longer what its key says.
    changed: &'a dyn Fn(&[usize]) -> Option<PathBuf>,
}

/// Makes the rows of the inputs at these places, with their working names as ids.
type Make<'a> = dyn Fn(&[usize], &Files) -> Result<Embedded> + 'a;

/// The keys of the rows that were made of the inputs at these places: of bad ones there is none.
fn keys_of_rows(files: &Files, inputs: &Inputs<'_>, places: &[usize]) -> Result<Vec<Key>> {
    let by_name: HashMap<String, Key> = places.iter().map(|i| ((inputs.working_name)(*i), inputs.keys[*i])).collect();
    let made = Ids::read(&files.ids, None)?;
    let key = |row: usize| by_name.get(made.get(row)).copied();
    let found: Option<Vec<Key>> = (0..made.len()).map(key).collect();
    found.ok_or_else(|| {
        Error::format(&files.ids, "names rows that nobody asked for; delete the folder, which is a cache")
    })
}

/// A file's length and the time of its last change.
type Stamp = (u64, Option<SystemTime>);

fn stamp(path: &Path) -> Result<Stamp> {
    let known = std::fs::metadata(path).map_err(Error::io("open", path))?;
    Ok((known.len(), known.modified().ok()))
}

/// Each picture's key, and its stamp from before it was read.
fn keys_of_pictures(pictures: &PictureList) -> Result<Vec<(Key, Stamp)>> {
    let key = |i: usize| {
        let path = pictures.path(i);
        let stamp = stamp(&path)?;
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        Ok((Key(Sha256::digest(&bytes).into()), stamp))
    };
    (0..pictures.len()).into_par_iter().with_max_len(1).map(key).collect()
}

/// A name for the rows of the inputs at these places.
fn name_of_set(kind: &str, inputs: &Inputs<'_>, places: impl Iterator<Item = usize>) -> String {
    let mut hash = Sha256::new();
    hash.update(kind.as_bytes());
    for i in places {
        let name = (inputs.name)(i);
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update(inputs.keys[i].0);
    }
    hexadecimal(&hash.finalize())[..32].to_owned()
}
