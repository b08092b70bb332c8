//! A model's tensors, in one safetensors file, in shards under an index, or in a GGUF file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use bytemuck::cast_slice_mut;
use serde_json::Value;

use super::fields::read_object;
use crate::io::gguf::{GgufWeights, is_gguf};
use crate::io::{DecoderConfig, TensorFile, TensorInfo};
use crate::{ElementType, Error, Result};

/// The tensors of a model folder or of a GGUF file, opened header by header; none is held. Those of a GGUF file go by the names that the
/// same model's folder has for them, and are dequantised as they are read.
#[derive(Debug)]
pub struct Weights {
    folder: PathBuf,
    files: Vec<TensorFile>,
    /// In which file each tensor is.
    places: HashMap<String, usize>,
    /// Instead of them.
    gguf: Option<GgufWeights>,
    /// Whether the files' names lack the `model.` in front: those of a model without its head (`LlamaModel`).
    bare: bool,
}

/// What names of tensors begin with.
const PREFIX: &str = "model.";

impl Weights {
    /// Opens `model.safetensors` of a folder, or the shards that `model.safetensors.index.json` names; or a GGUF file.
    ///
    /// # Errors
    /// Neither is there, the GGUF file is malformed or of an architecture or with a type of numbers that is not read, the index is no JSON or names a file outside the folder, a shard is missing or truncated, or
    /// does not hold a tensor that the index promises.
    pub fn open(folder: &Path) -> Result<Weights> {
        if is_gguf(folder) {
            let gguf = Some(GgufWeights::open(folder)?);
            let (folder, places) = (folder.to_path_buf(), HashMap::new());
            return Ok(Weights { folder, files: Vec::new(), places, gguf, bare: false });
        }
        crate::io::check_local(folder)?;
        let index = folder.join("model.safetensors.index.json");
        let single = folder.join("model.safetensors");
        // As Transformers looks for them: an index beside a whole file was left behind.
        if index.is_file() && !single.is_file() {
            return Weights::open_shards(folder, &index);
        }
        if !single.is_file() {
            let pickled =
                folder.join("pytorch_model.bin").is_file() || folder.join("pytorch_model.bin.index.json").is_file();
            let remedy = match pickled {
                true => "the weights are pickled; save the model again with save_pretrained(safe_serialization=True)",
                false => "name a folder with a model in Hugging Face's layout",
            };
            let problem = format!("holds neither model.safetensors nor model.safetensors.index.json; {remedy}");
            return Err(Error::format(folder, problem));
        }
        let file = TensorFile::open(&single)?;
        let places = file.tensors().keys().map(|name| (name.clone(), 0)).collect();
        Ok(Weights::of_files(folder, vec![file], places))
    }

    fn open_shards(folder: &Path, index: &Path) -> Result<Weights> {
        let object = read_object(index)?;
        let map = object.get("weight_map").and_then(Value::as_object);
        let map = map.ok_or_else(|| Error::format(index, "has no object \"weight_map\"; write the model again"))?;
        let mut files: Vec<TensorFile> = Vec::new();
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        let mut places = HashMap::with_capacity(map.len());
        for (tensor, file) in map {
            let name = file.as_str().filter(|name| Path::new(name).file_name() == Some(name.as_ref()));
            let name = name.ok_or_else(|| {
                Error::format(
                    index,
                    format!("puts tensor {tensor:?} into {file}; a file name of this folder is needed"),
                )
            })?;
            let number = match numbers.get(name) {
                Some(number) => *number,
                None => {
                    files.push(TensorFile::open(&folder.join(name))?);
                    numbers.insert(name, files.len() - 1);
                    files.len() - 1
                }
            };
            if !files[number].tensors().contains_key(tensor) {
                let problem = format!("{} promises tensor {tensor:?}, which is not here", index.display());
                return Err(Error::format(files[number].path(), format!("{problem}; copy the shard again")));
            }
            places.insert(tensor.clone(), number);
        }
        Ok(Weights::of_files(folder, files, places))
    }

    /// The configuration of a model folder or GGUF file, and its weights, which have all that it calls for.
    ///
    /// # Errors
    /// As [`DecoderConfig::read`], [`Self::open`] and [`Self::expect`].
    pub fn with_config(folder: &Path) -> Result<(DecoderConfig, Weights)> {
        Self::configured(folder, true)
    }

    /// The same of a model whose output matrix nobody reads, whether or not the files hold one.
    ///
    /// # Errors
    /// As [`Self::with_config`].
    #[cfg(feature = "encode")]
    pub(crate) fn without_head(folder: &Path) -> Result<(DecoderConfig, Weights)> {
        Self::configured(folder, false)
    }

    fn configured(folder: &Path, head: bool) -> Result<(DecoderConfig, Weights)> {
        let mut config = DecoderConfig::read(folder)?;
        let weights = Weights::open(folder)?;
        config.tied_embeddings |= !head;
        if head && config.tied_embeddings && weights.has_own_head(config.vocab_size, config.hidden_size)? {
            let problem =
                "the configuration ties the output matrix to the embedding table, but another lm_head.weight is stored";
            log::warn!("{}: {problem}, which is used", folder.display());
            config.tied_embeddings = false;
        }
        weights.expect_exactly(&config)?;
        Ok((config, weights))
    }

    /// Checks that the files hold what the configuration calls for, and nothing more in its layers: a norm or a bias that it does not name would
    /// be left out in silence.
    fn expect_exactly(&self, config: &DecoderConfig) -> Result<()> {
        let known = config.file_tensors();
        self.expect_all(&known)?;
        let known: HashSet<&str> = known.iter().map(|(name, _)| self.stored(name)).collect();
        let layers = self.stored("model.layers.");
        let of_layer = |name: &str| {
            let rest = name.strip_prefix(layers)?;
            rest.split('.').next()?.parse::<usize>().ok().filter(|layer| *layer < config.layers)
        };
        let unknown =
            |name: &&str| of_layer(name).is_some() && !known.contains(*name) && !name.ends_with("rotary_emb.inv_freq");
        match self.names().filter(unknown).min() {
            None => Ok(()),
            Some(name) => {
                let problem = format!("holds tensor {name:?}, which its config.json does not call for");
                Err(Error::format(&self.folder, format!("{problem}; is this the model's own config.json?")))
            }
        }
    }

    fn of_files(folder: &Path, files: Vec<TensorFile>, places: HashMap<String, usize>) -> Weights {
        let bare = !places.keys().any(|name| name.starts_with(PREFIX)) && places.contains_key("embed_tokens.weight");
        Weights { folder: folder.to_path_buf(), files, places, gguf: None, bare }
    }

    /// The name that the files have for a tensor.
    fn stored<'a>(&self, name: &'a str) -> &'a str {
        if self.bare { name.strip_prefix(PREFIX).unwrap_or(name) } else { name }
    }

    /// Whether the model has an output matrix of its own, other than its embedding table: one that is stored counts, whatever the configuration
    /// says of ties, as with Transformers 5.
    ///
    /// # Errors
    /// As [`Weights::read`].
    fn has_own_head(&self, vocabulary: usize, hidden: usize) -> Result<bool> {
        const NUMBERS: usize = 1 << 20;
        let (head, table, shape) = ("lm_head.weight", "model.embed_tokens.weight", [vocabulary, hidden]);
        if !self.contains(head) {
            return Ok(false);
        }
        let total = vocabulary * hidden;
        let mut blocks = [vec![0f32; total.min(NUMBERS)], vec![0f32; total.min(NUMBERS)]];
        for first in (0..total).step_by(NUMBERS) {
            let count = NUMBERS.min(total - first);
            for (name, block) in [head, table].into_iter().zip(&mut blocks) {
                self.read(name, &shape, first, ElementType::F32, cast_slice_mut(&mut block[..count]))?;
            }
            if blocks[0][..count] != blocks[1][..count] {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The folder, or the GGUF file.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The names of all tensors, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let of_gguf = self.gguf.iter().flat_map(|gguf| gguf.names());
        self.places.keys().map(String::as_str).chain(of_gguf)
    }

    /// Whether there is such a tensor.
    pub fn contains(&self, name: &str) -> bool {
        self.places.contains_key(self.stored(name)) || self.gguf.iter().any(|gguf| gguf.contains(name))
    }

    fn file(&self, name: &str) -> Result<&TensorFile> {
        self.places.get(self.stored(name)).and_then(|i| self.files.get(*i)).ok_or_else(|| {
            let problem = format!("the model has no tensor {name:?}, which its config.json calls for");
            Error::format(&self.folder, format!("{problem}; is it complete?"))
        })
    }

    /// The tensor's type in its file, once it has proved to have `shape` and to hold floats.
    ///
    /// # Errors
    /// No such tensor, another shape, or integers; the message names file, tensor, wanted and found.
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<&TensorInfo> {
        match &self.gguf {
            Some(gguf) => gguf.expect(name, shape),
            None => self.file(name)?.expect(self.stored(name), shape),
        }
    }

    /// Checks the presence, shape and type of all `tensors`, so that a bad model is refused before anything is loaded.
    ///
    /// # Errors
    /// The first that is wrong, as [`Weights::expect`].
    pub fn expect_all(&self, tensors: &[(String, Vec<usize>)]) -> Result<()> {
        tensors.iter().try_for_each(|(name, shape)| self.expect(name, shape).map(drop))
    }

    /// Fills `out` with the numbers of a tensor of `shape` from the tensor's `first` on, as f32, f16 or bf16, little-endian.
    /// A large table can thus be read in parts; beside `out` it takes 3 MiB at most.
    ///
    /// # Errors
    /// As [`Weights::expect`]; a range beyond the tensor's end; NaN or infinity; a file truncated meanwhile.
    pub fn read(&self, name: &str, shape: &[usize], first: usize, element: ElementType, out: &mut [u8]) -> Result<()> {
        self.expect(name, shape)?;
        if let Some(gguf) = &self.gguf {
            return gguf.read(name, first, element, out);
        }
        self.file(name)?.read(self.stored(name), first, element, out)
    }

    /// All of a tensor of `shape` as f32.
    ///
    /// # Errors
    /// As [`Weights::read`].
    pub fn read_f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let mut out = vec![0f32; self.expect(name, shape)?.len()];
        self.read(name, shape, 0, ElementType::F32, cast_slice_mut(&mut out))?;
        Ok(out)
    }

    /// The type that most of the model's numbers have. Of a GGUF file the one that all its matrices have, or f32 where they differ or are
    /// quantised: that holds them all exactly.
    pub fn element_type(&self) -> ElementType {
        if let Some(gguf) = &self.gguf {
            return gguf.element_type();
        }
        let mut sizes: [(ElementType, usize); 4] =
            [ElementType::BF16, ElementType::F16, ElementType::F32, ElementType::F64].map(|element| (element, 0));
        for info in self.files.iter().flat_map(|file| file.tensors().values()) {
            if let Some((_, size)) = sizes.iter_mut().find(|(element, _)| Some(*element) == info.element) {
                *size += info.len();
            }
        }
        sizes.into_iter().max_by_key(|(_, size)| *size).map_or(ElementType::F32, |(element, _)| element)
    }
}
