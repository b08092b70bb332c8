//! Which encoders make the rows: towers of model folders, whose rows a cache keeps, or towers that are trained here.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::collection::Collection;
use super::own;
use super::parts::PictureParts;
use super::rows::{Kind, Rows, caption_id, read, unit, write};
use super::study::PicturesSettings;
use crate::device::Device;
use crate::encode::cache::{EmbeddingCache, KeptRows};
use crate::encode::picture::Preprocessor;
use crate::encode::{image_width, text_width};
use crate::experiment::protocol::{Progress, Watch};
use crate::io::{NamedTexts, PictureList};
use crate::{Error, Result};

/// What turns pictures and captions into rows.
pub(super) enum Towers {
    /// Both towers of model folders.
    Models { vision: PathBuf, text: PathBuf },
    /// A text encoder's folder, and an image tower that is trained against its rows.
    Text(PathBuf),
    /// A dual encoder that is trained here.
    Own,
}

impl Towers {
    /// Looks at what is named; without a text encoder that of the image tower's folder is meant.
    ///
    /// # Errors
    /// A folder that is no encoder's; an image tower without a preprocessor; towers of different widths.
    pub fn open(vision: Option<&Path>, text: Option<&Path>) -> Result<Self> {
        let Some(vision) = vision else {
            let Some(text) = text else { return Ok(Towers::Own) };
            text_width(text)?;
            return Ok(Towers::Text(text.to_path_buf()));
        };
        Preprocessor::load(vision)?;
        let text = text.unwrap_or(vision);
        let (images, texts) = (image_width(vision)?, text_width(text)?);
        if images != texts {
            let widths = format!("its rows have {texts} numbers, those of the images {images}");
            let remedy =
                "give both towers of one model, or no image tower: then one is trained against the texts' rows";
            return Err(Error::argument("text_model", format!("{widths}, so they share no space; {remedy}")));
        }
        Ok(Towers::Models { vision: vision.to_path_buf(), text: text.to_path_buf() })
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
    /// The folder for the files of rows that all seeds share.
    pub folder: PathBuf,
    /// The folder that keeps what encoders make.
    pub cache: PathBuf,
    shared: Option<Arc<Rows>>,
    pixels: Option<Vec<f32>>,
    captions: Option<(Vec<f32>, usize)>,
}

impl<'a> Embedder<'a> {
    pub fn new(
        device: &'a Device,
        collection: &'a Collection,
        towers: Towers,
        (folder, cache): (PathBuf, PathBuf),
    ) -> Self {
        Embedder { device, collection, towers, folder, cache, shared: None, pixels: None, captions: None }
    }

    /// The rows of a seed, whose own files lie in `folder`.
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
        if let Towers::Models { vision, text } = &self.towers {
            let (pictures, _) = self.pictures(vision, watch)?;
            let (captions, width) = self.captions(text, watch)?;
            let rows = Arc::new(self.written(&self.folder, (pictures, captions, width))?);
            self.shared = Some(rows.clone());
            return Ok(rows);
        }
        let pixels = match self.pixels.take() {
            Some(pixels) => pixels,
            None => own::pixels(self.collection, settings.side)?,
        };
        let made = if let Towers::Text(text) = &self.towers {
            let captions = match self.captions.take() {
                Some(captions) => captions,
                None => self.captions(text, watch)?,
            };
            let made = own::image_tower(self.device, self.collection, (&pixels, parts), &captions, settings, watch);
            self.captions = Some(captions.clone());
            made.map(|pictures| (pictures, captions.0, captions.1))
        } else {
            own::dual_encoder(self.device, self.collection, (&pixels, parts), settings, watch)
        };
        self.pixels = Some(pixels);
        let (pictures, captions, width) = made?;
        let pictures = unit(pictures, width, |i| self.picture(i))?;
        self.written(folder, (pictures, captions, width)).map(Arc::new)
    }

    /// The rows of pictures and captions, and their files in a folder.
    fn written(&self, folder: &Path, (pictures, captions, width): (Vec<f32>, Vec<f32>, usize)) -> Result<Rows> {
        write(folder, Kind::Pictures, &pictures, self.collection)?;
        write(folder, Kind::Captions, &captions, self.collection)?;
        Ok(Rows { width, pictures, captions, folder: folder.to_path_buf() })
    }

    /// What a picture is called in errors.
    fn picture(&self, i: usize) -> String {
        format!("picture {:?}", self.collection.names().get(i).map_or("", String::as_str))
    }

    /// The rows of all pictures by an image tower, and their width.
    fn pictures(&self, model: &Path, watch: &mut Watch<'_>) -> Result<(Vec<f32>, usize)> {
        let list = PictureList::named(self.collection.folder(), self.collection.names().iter().map(String::as_str));
        let (rows, width) = self.kept("pictures to rows", watch, |cache| cache.pictures(self.device, model, &list))?;
        Ok((unit(rows, width, |i| self.picture(i))?, width))
    }

    /// The rows of all captions by a text encoder, and their width.
    fn captions(&self, model: &Path, watch: &mut Watch<'_>) -> Result<(Vec<f32>, usize)> {
        let captions = self.collection.all_captions();
        let mut texts = NamedTexts::default();
        for (i, caption) in captions.iter().enumerate() {
            texts.names.push(&caption_id(i));
            texts.texts.push(caption);
        }
        let (rows, width) = self.kept("captions to rows", watch, |cache| cache.texts(self.device, model, &texts))?;
        let name = |i: usize| format!("caption {:?}", captions.get(i).map_or("", String::as_str));
        Ok((unit(rows, width, name)?, width))
    }

    /// Rows that the cache has, or that it makes now.
    fn kept(
        &self,
        task: &str,
        watch: &mut Watch<'_>,
        make: impl FnOnce(&EmbeddingCache<'_>) -> Result<KeptRows>,
    ) -> Result<(Vec<f32>, usize)> {
        let (watch, failed) = (RefCell::new(watch), RefCell::new(None));
        let tell = |_: &'static str, done, total| {
            let told = watch.borrow_mut()(Progress { task, done, total, loss: None, record: None });
            if let Err(error) = told {
                failed.borrow_mut().get_or_insert(error);
            }
        };
        let stop = || failed.borrow().is_some();
        let kept = make(&EmbeddingCache::new(&self.cache).watch(Some(&tell)).stop(Some(&stop)));
        match failed.take() {
            Some(error) => Err(error),
            None => kept.and_then(|kept| read((kept.rows, &kept.ids))),
        }
    }
}
