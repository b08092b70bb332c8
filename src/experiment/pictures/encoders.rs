//! Which encoders make the rows: towers of model folders, or towers that are trained here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::collection::Collection;
use super::own;
use super::parts::PictureParts;
use super::rows::{Kind, Rows, read, unit, write};
use super::study::PicturesSettings;
use crate::device::Device;
use crate::encode::picture::PictureBatches;
use crate::encode::{ImageEncoder, TextEncoder, TextOptions};
use crate::experiment::protocol::{Progress, Watch};
use crate::{Error, Result};

/// Captions that are encoded between two reports.
const CAPTIONS: usize = 256;

/// What turns pictures and captions into rows.
pub(super) enum Towers {
    /// Both towers of model folders.
    Models { vision: Box<ImageEncoder>, text: Box<TextEncoder> },
    /// A text encoder, and an image tower that is trained against its rows.
    Text(Box<TextEncoder>),
    /// A dual encoder that is trained here.
    Own,
}

impl Towers {
    /// Opens what is named; without a text encoder that of the image tower's folder is meant.
    ///
    /// # Errors
    /// A folder that is no encoder's; an image tower without a preprocessor, or with one that gives pictures of another size; towers of
    /// different widths.
    pub fn open(device: &Device, vision: Option<&Path>, text: Option<&Path>) -> Result<Self> {
        let open_text =
            |folder: &Path| Ok::<_, Error>(Box::new(TextEncoder::load(device, folder, &TextOptions::default())?));
        let Some(folder) = vision else {
            return Ok(text.map(open_text).transpose()?.map_or(Towers::Own, Towers::Text));
        };
        let vision = Box::new(ImageEncoder::load(device, folder)?);
        vision.preprocessor()?;
        let text = open_text(text.unwrap_or(folder))?;
        if text.width() != vision.width() {
            let widths = format!("its rows have {} numbers, those of the images {}", text.width(), vision.width());
            let remedy =
                "give both towers of one model, or no image tower: then one is trained against the texts' rows";
            return Err(Error::argument("text_model", format!("{widths}, so they share no space; {remedy}")));
        }
        Ok(Towers::Models { vision, text })
    }

    /// What the towers are, for results.
    pub fn json(&self) -> Value {
        let (images, texts) = match self {
            Towers::Models { .. } => ("of the image model", "of the text model"),
            Towers::Text(_) => ("trained here against the texts' rows", "of the text model"),
            Towers::Own => ("trained here", "trained here"),
        };
        json!({ "images": images, "texts": texts })
    }
}

/// Makes the rows of each seed; what seeds share is made once.
pub(super) struct Embedder<'a> {
    pub device: &'a Device,
    pub collection: &'a Collection,
    pub towers: Towers,
    /// The folder for rows that all seeds share.
    pub folder: PathBuf,
    shared: Option<Arc<Rows>>,
    pixels: Option<Vec<f32>>,
    captions: Option<(Vec<f32>, usize)>,
}

impl<'a> Embedder<'a> {
    pub fn new(device: &'a Device, collection: &'a Collection, towers: Towers, folder: PathBuf) -> Self {
        Embedder { device, collection, towers, folder, shared: None, pixels: None, captions: None }
    }

    /// The rows of a seed, whose own files lie in `folder`. Rows that are in files from before are not made again where all seeds share them.
    ///
    /// # Errors
    /// A picture that cannot be read; what the towers, their training, the disk or `watch` say.
    pub fn rows(
        &mut self,
        (parts, folder): (&PictureParts, &Path),
        settings: &PicturesSettings,
        watch: &mut Watch<'_>,
    ) -> Result<Arc<Rows>> {
        if let Some(rows) = &self.shared {
            return Ok(rows.clone());
        }
        if let Towers::Models { vision, .. } = &self.towers {
            let pictures = match read(&self.folder, Kind::Pictures)? {
                Some((rows, _)) => rows,
                None => {
                    let rows = encode_pictures(self.collection, vision, watch)?;
                    write(&self.folder, Kind::Pictures, &rows, self.collection)?;
                    rows
                }
            };
            let (captions, width) = self.captions(watch)?;
            let rows = Arc::new(Rows { width, pictures, captions, folder: self.folder.clone() });
            self.shared = Some(rows.clone());
            // Their weights have had their use.
            self.towers = Towers::Own;
            return Ok(rows);
        }
        let pixels = match self.pixels.take() {
            Some(pixels) => pixels,
            None => own::pixels(self.collection, settings.side)?,
        };
        let made = if matches!(self.towers, Towers::Own) {
            own::dual_encoder(self.device, self.collection, (&pixels, parts), settings, watch)
        } else {
            let captions = self.captions(watch)?;
            let made = own::image_tower(self.device, self.collection, (&pixels, parts), &captions, settings, watch);
            made.map(|pictures| (pictures, captions.0, captions.1))
        };
        self.pixels = Some(pixels);
        let (pictures, captions, width) = made?;
        let names = |i: usize| format!("picture {:?}", self.collection.names().get(i).map_or("", String::as_str));
        let pictures = unit(pictures, width, names)?;
        write(folder, Kind::Pictures, &pictures, self.collection)?;
        write(folder, Kind::Captions, &captions, self.collection)?;
        Ok(Arc::new(Rows { width, pictures, captions, folder: folder.to_path_buf() }))
    }

    /// All captions by the text encoder, and their width.
    fn captions(&mut self, watch: &mut Watch<'_>) -> Result<(Vec<f32>, usize)> {
        if let Some(captions) = &self.captions {
            return Ok(captions.clone());
        }
        let (Towers::Models { text, .. } | Towers::Text(text)) = &self.towers else {
            return Err(Error::argument("text_model", "there is none"));
        };
        let found = match read(&self.folder, Kind::Captions)? {
            Some(found) => found,
            None => {
                let rows = encode_captions(&self.collection.all_captions(), text, watch)?;
                write(&self.folder, Kind::Captions, &rows, self.collection)?;
                (rows, text.width())
            }
        };
        self.captions = Some(found.clone());
        Ok(found)
    }
}

fn encode_pictures(collection: &Collection, vision: &ImageEncoder, watch: &mut Watch<'_>) -> Result<Vec<f32>> {
    let paths: Vec<PathBuf> = (0..collection.len()).map(|i| collection.path(i)).collect();
    let total = paths.len();
    let path = move |i: usize| paths.get(i).cloned().unwrap_or_default();
    let mut rows = Vec::with_capacity(total * vision.width());
    for batch in PictureBatches::start(vision.preprocessor()?.clone(), path, (0, total), vision.batch())? {
        let batch = batch?;
        if let Some(bad) = batch.bad.into_iter().next() {
            return Err(bad.error);
        }
        rows.extend(vision.encode_blocking(&batch.pixels)?);
        let done = (batch.first + batch.files) as u64;
        watch(Progress { task: "pictures to rows", done, total: total as u64, loss: None, record: None })?;
    }
    unit(rows, vision.width(), |i| format!("picture {:?}", collection.names().get(i).map_or("", String::as_str)))
}

fn encode_captions(captions: &[String], text: &TextEncoder, watch: &mut Watch<'_>) -> Result<Vec<f32>> {
    let (mut rows, mut done, mut cut) = (Vec::with_capacity(captions.len() * text.width()), 0, 0);
    for part in captions.chunks(CAPTIONS) {
        let encoded = text.encode_blocking(part)?;
        rows.extend(encoded.rows);
        (done, cut) = (done + part.len() as u64, cut + encoded.cut);
        watch(Progress { task: "captions to rows", done, total: captions.len() as u64, loss: None, record: None })?;
    }
    if cut > 0 {
        log::warn!("{cut} captions were longer than the text encoder takes and lost their end");
    }
    unit(rows, text.width(), |i| format!("caption {:?}", captions.get(i).map_or("", String::as_str)))
}
