//! A model's tensors, in one safetensors file or in shards under an index.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use bytemuck::cast_slice_mut;
use serde_json::Value;

use super::fields::read_object;
use crate::io::{TensorFile, TensorInfo};
use crate::{ElementType, Error, Result};

/// The tensors of a model folder, opened header by header; none is held.
#[derive(Debug)]
pub struct Weights {
    folder: PathBuf,
    files: Vec<TensorFile>,
    /// In which file each tensor is.
    places: HashMap<String, usize>,
}

impl Weights {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// Neither is there, the index is no JSON or names a file outside the folder, a shard is missing or truncated, or
    /// does not hold a tensor that the index promises.
    pub fn open(folder: &Path) -> Result<Weights> {
        let index = folder.join("model.safetensors.index.json");
        let single = folder.join("model.safetensors");
        if index.is_file() {
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
        Ok(Weights { folder: folder.to_path_buf(), files: vec![file], places })
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
        Ok(Weights { folder: folder.to_path_buf(), files, places })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The names of all tensors, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Whether there is such a tensor.
    pub fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    fn file(&self, name: &str) -> Result<&TensorFile> {
        self.places.get(name).and_then(|i| self.files.get(*i)).ok_or_else(|| {
            let problem = format!("the model has no tensor {name:?}, which its config.json calls for");
            Error::format(&self.folder, format!("{problem}; is it complete?"))
        })
    }

    /// The tensor's type in its file, once it has proved to have `shape` and to hold floats.
    ///
    /// # Errors
    /// No such tensor, another shape, or integers; the message names file, tensor, wanted and found.
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<&TensorInfo> {
        self.file(name)?.expect(name, shape)
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
        let file = self.file(name)?;
        file.expect(name, shape)?;
        file.read(name, first, element, out)
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

    /// The type that most of the model's numbers have.
    pub fn element_type(&self) -> ElementType {
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
