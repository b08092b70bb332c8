//! Folders of sentence-transformers: `modules.json`, the modules behind the transformer, the longest text and the prompts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::super::fields::{Fields, read_object, read_object_if_there};
use super::TowerActivation;
use crate::io::plain;
use crate::{Error, Result};

/// What pooling makes of a text's rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pool {
    /// The first token's row.
    First,
    /// The last token's row.
    Last,
    /// The mean of all tokens' rows.
    Mean,
    /// The largest number of each column.
    Max,
    /// The sum over the square root of the number of tokens.
    RootMean,
}

/// A module behind the transformer.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Module {
    Pooling(Pool),
    /// A linear layer, whose weights lie in a folder of their own.
    Dense {
        folder: PathBuf,
        input: usize,
        output: usize,
        bias: bool,
        activation: Option<TowerActivation>,
    },
    /// Rows divided by their norms.
    Normalize,
}

/// What such a folder says.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct SentenceFolder {
    /// The transformer's folder.
    pub transformer: PathBuf,
    /// In order.
    pub modules: Vec<Module>,
    /// The most tokens of a text.
    pub max_length: Option<usize>,
    /// Whether texts are written in lower case before the tokenizer sees them.
    pub lower_case: bool,
    /// Texts to be put before others, by name, and the one that is where nobody names one.
    pub prompts: BTreeMap<String, String>,
    pub default_prompt: Option<String>,
    /// Whether a prompt's rows are pooled with the rest.
    pub pools_prompt: bool,
}

/// Names of the file that has the longest text, in the order in which they are looked for.
const LENGTHS: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

impl SentenceFolder {
    /// Reads what a folder says besides its transformer; nothing where it has no `modules.json`.
    ///
    /// # Errors
    /// A file that is no JSON; a module or a field that is not known or not computed.
    pub fn read(folder: &Path) -> Result<Option<SentenceFolder>> {
        let path = folder.join("modules.json");
        if !path.is_file() {
            return Ok(None);
        }
        let list = match serde_json::from_slice(&plain::read_bytes(&path)?) {
            Ok(Value::Array(list)) => list,
            Ok(_) => return Err(Error::format(&path, "holds no list of modules")),
            Err(e) => return Err(Error::format(&path, format!("not valid JSON: {e}"))),
        };
        let mut found = SentenceFolder {
            transformer: folder.to_path_buf(),
            modules: Vec::new(),
            max_length: None,
            lower_case: false,
            prompts: BTreeMap::new(),
            default_prompt: None,
            pools_prompt: true,
        };
        for (place, module) in list.iter().enumerate() {
            found.add(folder, &path, (place, module))?;
        }
        found.read_lengths()?;
        found.read_prompts(folder)?;
        Ok(Some(found))
    }

    fn add(&mut self, folder: &Path, path: &Path, (place, module): (usize, &Value)) -> Result<()> {
        let object = module.as_object().ok_or_else(|| Error::format(path, "lists something that is no module"))?;
        let fields = Fields::new(path, object);
        let kind = fields.text("type")?.unwrap_or_default();
        let name = kind.rsplit('.').next().unwrap_or_default();
        let at = folder.join(fields.text("path")?.unwrap_or_default());
        let in_order = (place == 0) == (name == "Transformer") && (place == 1) == (name == "Pooling");
        if !in_order || !kind.starts_with("sentence_transformers.") {
            let problem =
                format!("is {kind:?}, as module {place}; a Transformer comes first, then Pooling, Dense and Normalize");
            return Err(fields.error("type", &problem));
        }
        match name {
            "Transformer" => self.transformer = at,
            "Pooling" => {
                let (pool, pools_prompt) = pooling(&at)?;
                self.pools_prompt = pools_prompt;
                self.modules.push(Module::Pooling(pool));
            }
            "Dense" => self.modules.push(dense(&at)?),
            "Normalize" => self.modules.push(Module::Normalize),
            // Of training.
            "Dropout" => {}
            _ => {
                let problem = format!("is {kind:?}, a module that is not computed; Pooling, Dense and Normalize are");
                return Err(fields.error("type", &problem));
            }
        }
        Ok(())
    }

    fn read_lengths(&mut self) -> Result<()> {
        for name in LENGTHS {
            let path = self.transformer.join(name);
            let Some(object) = read_object_if_there(path.clone())? else { continue };
            let fields = Fields::new(&path, &object);
            let read = ["max_seq_length", "do_lower_case", "transformer_task", "modality_config", "module_output_name"];
            refuse_others(&fields, &read)?;
            if !matches!(fields.text("transformer_task")?, None | Some("feature-extraction")) {
                return Err(fields.error("transformer_task", "is not \"feature-extraction\""));
            }
            if fields.get("max_seq_length").is_some() {
                self.max_length = Some(fields.size_or("max_seq_length", None)?);
            }
            self.lower_case = fields.bool_or("do_lower_case", false)?;
            return Ok(());
        }
        Ok(())
    }

    fn read_prompts(&mut self, folder: &Path) -> Result<()> {
        let path = folder.join("config_sentence_transformers.json");
        let Some(object) = read_object_if_there(path.clone())? else { return Ok(()) };
        let fields = Fields::new(&path, &object);
        if let Some(prompts) = fields.object("prompts")? {
            for name in prompts.names() {
                self.prompts.insert(name.to_owned(), prompts.text(name)?.unwrap_or_default().to_owned());
            }
        }
        self.default_prompt = fields.text("default_prompt_name")?.map(str::to_owned);
        match &self.default_prompt {
            Some(name) if !self.prompts.contains_key(name) => {
                Err(fields.error("default_prompt_name", &format!("is {name:?}, which is none of the prompts")))
            }
            _ => Ok(()),
        }
    }
}

/// Refuses a field that is neither among these nor empty.
fn refuse_others(fields: &Fields, read: &[&str]) -> Result<()> {
    let empty = |value: &Value| {
        value == &Value::Bool(false)
            || value.as_object().is_some_and(Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty)
    };
    let unknown = |name: &&str| !read.contains(name) && fields.get(name).is_some_and(|value| !empty(value));
    match fields.names().find(unknown) {
        None => Ok(()),
        Some(name) => Err(fields.error(name, "is a field that is not known, or a value that is not computed")),
    }
}

/// The fields that switch a way of pooling on.
const MODES: [(&str, Option<Pool>); 7] = [
    ("pooling_mode_cls_token", Some(Pool::First)),
    ("pooling_mode_mean_tokens", Some(Pool::Mean)),
    ("pooling_mode_max_tokens", Some(Pool::Max)),
    ("pooling_mode_mean_sqrt_len_tokens", Some(Pool::RootMean)),
    ("pooling_mode_lasttoken", Some(Pool::Last)),
    ("pooling_mode_weightedmean_tokens", None),
    ("pooling_mode", None),
];

/// How rows are pooled, and whether a prompt's are with them.
fn pooling(folder: &Path) -> Result<(Pool, bool)> {
    let path = folder.join("config.json");
    let object = read_object(&path)?;
    let fields = Fields::new(&path, &object);
    let names: Vec<&str> = MODES.iter().map(|(name, _)| *name).collect();
    refuse_others(
        &fields,
        &[&names[..], &["word_embedding_dimension", "embedding_dimension", "include_prompt"]].concat(),
    )?;
    let pools_prompt = fields.bool_or("include_prompt", true)?;
    if let Some(mode) = fields.text("pooling_mode")? {
        let pool = match mode {
            "cls" => Pool::First,
            "mean" => Pool::Mean,
            "max" => Pool::Max,
            "mean_sqrt_len_tokens" => Pool::RootMean,
            "lasttoken" => Pool::Last,
            _ => {
                return Err(
                    fields.error("pooling_mode", "is none of cls, mean, max, mean_sqrt_len_tokens and lasttoken")
                );
            }
        };
        return Ok((pool, pools_prompt));
    }
    let mut on = Vec::new();
    for (name, pool) in &MODES[..6] {
        // Without a word on any, sentence-transformers takes the mean.
        let default = *name == "pooling_mode_mean_tokens" && !fields.names().any(|n| n.starts_with("pooling_mode_"));
        if fields.bool_or(name, default)? {
            on.push((*name, *pool));
        }
    }
    match on[..] {
        [(_, Some(pool))] => Ok((pool, pools_prompt)),
        [(name, None)] => Err(fields.error(name, "is true; a mean by weights is not computed")),
        [] => Err(fields.error("pooling_mode_mean_tokens", "is false, as all other ways of pooling are")),
        [_, (name, _), ..] => Err(fields.error(name, "is true beside another; one way of pooling is computed")),
    }
}

fn dense(folder: &Path) -> Result<Module> {
    let path = folder.join("config.json");
    let object = read_object(&path)?;
    let fields = Fields::new(&path, &object);
    refuse_others(&fields, &["in_features", "out_features", "bias", "activation_function"])?;
    let function = fields.text("activation_function")?.unwrap_or("torch.nn.modules.activation.Tanh");
    let activation = match function.rsplit('.').next().unwrap_or_default() {
        "Identity" => None,
        "Tanh" => Some(TowerActivation::Tanh),
        "ReLU" => Some(TowerActivation::Relu),
        "GELU" => Some(TowerActivation::Gelu),
        "SiLU" => Some(TowerActivation::Silu),
        _ => {
            let problem = format!("is {function:?}; Identity, Tanh, ReLU, GELU and SiLU are computed");
            return Err(fields.error("activation_function", &problem));
        }
    };
    Ok(Module::Dense {
        folder: folder.to_path_buf(),
        input: fields.size_or("in_features", None)?,
        output: fields.size_or("out_features", None)?,
        bias: fields.bool_or("bias", true)?,
        activation,
    })
}
