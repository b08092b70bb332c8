//! Adapters under the names of LLaVA and Bunny: `model.mm_projector.0.weight` and so on.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::io::atomic;
use crate::io::tensor_writer::{TensorWriter, notes};
use crate::io::{TensorFile, TensorSpec};
use crate::{ElementType, Error, Result};

const PREFIX: &str = "model.mm_projector.";
/// The note that says how many visual tokens an image had in training.
const VISUAL_TOKENS: &str = "visual_tokens";
/// The note that says that the adapter learnt from rows of length 1.
const UNIT_ROWS: &str = "unit_rows";
/// No published projector has more, and a depth is a name's digits: they must not decide how much we allocate.
const MAX_DEPTH: usize = 64;

/// The adapters of LLaVA's `mm_projector_type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdapterKind {
    /// One linear layer (`linear`).
    Linear,
    /// So many linear layers with GELU between them (`mlp2x_gelu` has two); at least 1.
    Mlp(usize),
}

impl fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdapterKind::Linear => f.write_str("linear"),
            AdapterKind::Mlp(depth) => write!(f, "mlp{depth}x_gelu"),
        }
    }
}

impl FromStr for AdapterKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<AdapterKind> {
        if name == "linear" {
            return Ok(AdapterKind::Linear);
        }
        let depth = name.strip_prefix("mlp").and_then(|rest| rest.strip_suffix("x_gelu")).and_then(|n| n.parse().ok());
        match depth {
            Some(depth @ 1..=MAX_DEPTH) => Ok(AdapterKind::Mlp(depth)),
            _ => Err(Error::argument(
                "adapter",
                format!("{name:?} is unknown; choose linear or mlpNx_gelu, as mlp2x_gelu"),
            )),
        }
    }
}

impl AdapterKind {
    /// Its linear layers.
    pub fn depth(self) -> usize {
        match self {
            AdapterKind::Linear => 1,
            AdapterKind::Mlp(depth) => depth,
        }
    }

    /// The name of layer `i`'s weight or bias in files. GELU layers count too, as in `torch.nn.Sequential`.
    pub fn tensor_name(self, layer: usize, part: &str) -> String {
        match self {
            AdapterKind::Linear => format!("{PREFIX}{part}"),
            AdapterKind::Mlp(_) => format!("{PREFIX}{}.{part}", 2 * layer),
        }
    }

    /// All tensors of an adapter from embeddings of width `inputs` into a model of width `hidden`, by name, with shapes.
    pub fn tensors(self, inputs: usize, hidden: usize) -> Vec<(String, Vec<usize>)> {
        let layer = |i: usize| {
            let columns = if i == 0 { inputs } else { hidden };
            [(self.tensor_name(i, "weight"), vec![hidden, columns]), (self.tensor_name(i, "bias"), vec![hidden])]
        };
        (0..self.depth()).flat_map(layer).collect()
    }
}

/// One linear layer, `y = W x + b`.
#[derive(Clone, PartialEq, Debug)]
pub struct AdapterLayer {
    /// Width of x.
    pub inputs: usize,
    /// Width of y.
    pub outputs: usize,
    /// `[outputs, inputs]`, row by row.
    pub weight: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
}

/// The numbers of an adapter.
#[derive(Clone, PartialEq, Debug)]
pub struct AdapterWeights {
    /// What lies between the layers.
    pub kind: AdapterKind,
    /// The linear layers in order.
    pub layers: Vec<AdapterLayer>,
    /// Notes in the file (`__metadata__`), such as how it was trained.
    pub notes: BTreeMap<String, String>,
}

impl AdapterWeights {
    /// Reads an adapter; the kind is inferred from the names. `path` is a safetensors file (other tensors in it are left
    /// alone), or a folder with an `adapter.safetensors` or `mm_projector.safetensors`.
    ///
    /// # Errors
    /// No such file, no projector in it, a missing layer or bias, layers that do not fit each other, other types than
    /// floats, NaN or infinity.
    pub fn load(path: &Path) -> Result<AdapterWeights> {
        let file = TensorFile::open(&adapter_file(path)?)?;
        let names = projector_names(&file)?;
        let kind = infer(&names, file.path())?;
        let mut layers: Vec<AdapterLayer> = Vec::new();
        for layer in 0..kind.depth() {
            let layer = read_layer(&file, &names, kind, layer)?;
            if let Some(before) = layers.last().filter(|before| before.outputs != layer.inputs) {
                let problem = format!("a layer gives {} numbers and the next takes {}", before.outputs, layer.inputs);
                return Err(Error::format(file.path(), format!("{problem}; the file mixes two adapters")));
            }
            layers.push(layer);
        }
        Ok(AdapterWeights { kind, layers, notes: file.notes().clone() })
    }

    /// Writes the adapter as f32, f16 or bf16 under LLaVA's names; it appears whole or not at all.
    ///
    /// # Errors
    /// Layers that do not fit the kind or each other, a NaN or infinity, or a file that cannot be written.
    pub fn save(&self, path: &Path, element: ElementType, force: bool) -> Result<()> {
        self.check()?;
        atomic::check_target(path, force)?;
        let mut specs = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            specs.push(TensorSpec::new(self.kind.tensor_name(i, "weight"), &[layer.outputs, layer.inputs], element));
            specs.push(TensorSpec::new(self.kind.tensor_name(i, "bias"), &[layer.outputs], element));
        }
        let kind = self.kind.to_string();
        let mut notes = notes(&[("mm_projector_type", &kind)]);
        notes.extend(self.notes.iter().filter(|(key, _)| *key != "format").map(|(k, v)| (k.clone(), v.clone())));
        let (file, temporary) = atomic::create_beside(path)?;
        let mut writer = TensorWriter::start(file, path, &specs, notes)?;
        for (i, layer) in self.layers.iter().enumerate() {
            writer.write(&self.kind.tensor_name(i, "weight"), &layer.weight)?;
            writer.write(&self.kind.tensor_name(i, "bias"), &layer.bias)?;
        }
        writer.finish()?;
        atomic::publish(temporary, path, force)
    }

    /// Checks that it leads from embeddings of width `inputs` into a model of width `hidden`, by one token or several.
    ///
    /// # Errors
    /// It does not; `path` is its file's name.
    pub fn check_fits(&self, inputs: usize, hidden: usize, path: &Path) -> Result<()> {
        let wrong = |problem: String| Err(Error::format(path, problem));
        if self.inputs() != inputs {
            return wrong(format!("takes embeddings of width {}, but these have {inputs}", self.inputs()));
        }
        if hidden == 0 || self.outputs() == 0 || !self.outputs().is_multiple_of(hidden) {
            return wrong(format!("feeds a model of width {}, but this one's is {hidden}", self.outputs()));
        }
        Ok(())
    }

    /// Visual tokens that an image had in training, if the file says so.
    pub fn visual_tokens(&self) -> Option<usize> {
        self.notes.get(VISUAL_TOKENS)?.parse().ok().filter(|&count| count > 0)
    }

    /// Notes that an image has so many visual tokens.
    pub fn set_visual_tokens(&mut self, count: usize) {
        self.notes.insert(VISUAL_TOKENS.to_owned(), count.to_string());
    }

    /// Whether the adapter learnt from rows of length 1, as aligned ones are, and wants such rows of images, too; `None` where the file does not
    /// say it.
    pub fn unit_rows(&self) -> Option<bool> {
        self.notes.get(UNIT_ROWS)?.parse().ok()
    }

    /// Notes whether it learns from rows of length 1.
    pub fn set_unit_rows(&mut self, unit: bool) {
        self.notes.insert(UNIT_ROWS.to_owned(), unit.to_string());
    }

    /// The visual tokens that an image gets before a model of width `hidden`: `asked` for, or as the file says, or one of each that the
    /// adapter makes.
    ///
    /// # Errors
    /// Fewer than the adapter makes of an embedding, which would leave some unseen; `path` is its file's name.
    pub fn visual_tokens_or(&self, asked: Option<usize>, hidden: usize, path: &Path) -> Result<usize> {
        let made = (self.outputs() / hidden.max(1)).max(1);
        match asked.or(self.visual_tokens()).unwrap_or(made) {
            count if count < made => {
                let problem = format!("makes {made} visual tokens of an embedding, and visual_tokens is {count}");
                Err(Error::format(path, format!("{problem}; give {made} or more")))
            }
            count => Ok(count),
        }
    }

    /// Width of the embeddings that it takes; 0 without layers.
    pub fn inputs(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.inputs)
    }

    /// Width of the language model that it feeds; 0 without layers.
    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.outputs)
    }

    fn check(&self) -> Result<()> {
        let wrong =
            |operand: String, expected: String, got: String| Err(Error::shape("save adapter", operand, expected, got));
        if self.layers.len() != self.kind.depth() || self.layers.is_empty() {
            return wrong(
                self.kind.to_string(),
                format!("{} layers", self.kind.depth()),
                self.layers.len().to_string(),
            );
        }
        for (i, layer) in self.layers.iter().enumerate() {
            if layer.weight.len() != layer.inputs * layer.outputs || layer.bias.len() != layer.outputs {
                let got = format!("{} and {}", layer.weight.len(), layer.bias.len());
                let expected = format!("{} × {} weights and {0} biases", layer.outputs, layer.inputs);
                return wrong(format!("layer {i}"), expected, got);
            }
            if i > 0 && self.layers[i - 1].outputs != layer.inputs {
                let expected = format!("{} inputs", self.layers[i - 1].outputs);
                return wrong(format!("layer {i}"), expected, layer.inputs.to_string());
            }
        }
        Ok(())
    }
}

fn adapter_file(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        if path.extension().is_some_and(|end| end == "bin" || end == "pt") {
            let remedy = "save it with safetensors.torch.save_file and name that file";
            return Err(Error::format(path, format!("a pickled adapter cannot be read; {remedy}")));
        }
        return Ok(path.to_path_buf());
    }
    let found = ["adapter.safetensors", "mm_projector.safetensors"].map(|name| path.join(name));
    let found = found.into_iter().find(|file| file.is_file());
    found.ok_or_else(|| Error::format(path, "the folder holds no adapter.safetensors or mm_projector.safetensors"))
}

/// The projector's tensors, with the full name: what follows `mm_projector.`, or, as Transformers' LLaVA has it, `multi_modal_projector.`,
/// where layers are called `linear_1`, `linear_2` and so on.
fn projector_names(file: &TensorFile) -> Result<BTreeMap<String, String>> {
    let mut names = BTreeMap::new();
    for full in file.tensors().keys() {
        let Some((before, rest)) = full.rsplit_once("mm_projector.").or(full.rsplit_once("multi_modal_projector."))
        else {
            continue;
        };
        if !(before.is_empty() || before.ends_with('.')) {
            continue;
        }
        let rest = numbered(rest).unwrap_or_else(|| rest.to_string());
        if let Some(other) = names.insert(rest.clone(), full.clone()) {
            let problem = format!("{other:?} and {full:?} are both the projector's {rest:?}");
            return Err(Error::format(file.path(), format!("{problem}; leave one")));
        }
    }
    if names.is_empty() {
        let listed: Vec<String> = file.tensors().keys().take(10).map(|name| format!("{name:?}")).collect();
        let problem = "holds no adapter: no tensor is called …mm_projector.… or …multi_modal_projector.…";
        return Err(Error::format(file.path(), format!("{problem}; it has {}", listed.join(", "))));
    }
    Ok(names)
}

/// `linear_N.part` as LLaVA's own files call it.
fn numbered(name: &str) -> Option<String> {
    let (number, part) = name.strip_prefix("linear_")?.split_once('.')?;
    let layer = number.parse::<usize>().ok()?.checked_sub(1)?;
    Some(format!("{}.{part}", 2 * layer))
}

/// `weight` alone is `linear`; `0.weight`, `2.weight` and so on are an MLP.
fn infer(names: &BTreeMap<String, String>, path: &Path) -> Result<AdapterKind> {
    if names.contains_key("weight") {
        let extra = names.keys().find(|name| *name != "weight" && *name != "bias");
        return match extra {
            None => Ok(AdapterKind::Linear),
            Some(extra) => Err(Error::format(path, format!("the projector has both \"weight\" and {extra:?}"))),
        };
    }
    let depth = (0..MAX_DEPTH).take_while(|i| names.contains_key(&format!("{}.weight", 2 * i))).count();
    let known =
        |name: &str| (0..depth).any(|i| name == format!("{}.weight", 2 * i) || name == format!("{}.bias", 2 * i));
    match names.keys().find(|name| !known(name)) {
        None => Ok(AdapterKind::Mlp(depth)),
        Some(odd) => {
            let problem = format!("the projector's tensor {odd:?} does not belong to an mlpNx_gelu");
            Err(Error::format(path, format!("{problem}: 0, 2, 4 … with weight and bias are expected without gaps")))
        }
    }
}

fn read_layer(
    file: &TensorFile,
    names: &BTreeMap<String, String>,
    kind: AdapterKind,
    layer: usize,
) -> Result<AdapterLayer> {
    let full = |part: &str| {
        let name = kind.tensor_name(layer, part);
        let short = name.strip_prefix(PREFIX).unwrap_or(&name);
        let missing = || Error::format(file.path(), format!("the projector's tensor {short:?} is missing"));
        names.get(short).ok_or_else(missing)
    };
    let name = full("weight")?;
    let shape = file.tensors().get(name).map(|info| info.shape.clone()).unwrap_or_default();
    let &[outputs, inputs] = shape.as_slice() else {
        let problem = format!("tensor {name:?} has the shape {shape:?}, but [outputs, inputs] is needed");
        return Err(Error::format(file.path(), problem));
    };
    if outputs == 0 || inputs == 0 {
        return Err(Error::format(file.path(), format!("tensor {name:?} is empty ({shape:?})")));
    }
    let weight = file.read_f32(name, &shape)?;
    let bias = file.read_f32(full("bias")?, &[outputs])?;
    Ok(AdapterLayer { inputs, outputs, weight, bias })
}
