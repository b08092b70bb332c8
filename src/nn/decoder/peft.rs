//! Low-rank additions from and to folders in PEFT's layout.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Decoder;
use super::files::is_low_rank;
use crate::device::{Device, block_on, yield_now};
use crate::io::tensor_writer::{TensorWriter, notes};
use crate::io::{DecoderConfig, Stored, TensorFile, TensorSpec, atomic_folder::FolderWriter, read_json_object};
use crate::nn::linear::LowRank;
use crate::nn::parameters::Parameter;
use crate::{ElementType, Error, Result};

const TENSORS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";
const PREFIX: &str = "base_model.model.";

/// What a folder's `adapter_config.json` says.
struct Settings {
    rank: usize,
    scale: f32,
    dropout: f32,
}

impl Decoder {
    /// Gives linear layers the low-rank additions of a folder in PEFT's layout (`adapter_config.json`, `adapter_model.safetensors`): those that it
    /// has, as they are, to be used or to go on training, then with the folder's dropout. The base model's matrices stay apart.
    ///
    /// # Errors
    /// Additions that are there already; a file that is missing or malformed; what is not computed (DoRA, biases, several ranks, modules saved
    /// beside them); a tensor that belongs to no linear layer of this model, or has another shape; no memory.
    pub fn open_low_rank(&mut self, device: &Device, folder: &Path) -> Result<()> {
        if self.rank > 0 {
            return Err(Error::argument("low-rank additions", "are there already"));
        }
        let config = folder.join(CONFIG);
        let Settings { rank, scale, dropout } = settings(&read_json_object(&config)?, &config)?;
        let file = TensorFile::open(&folder.join(TENSORS))?;
        let mut known = 0;
        for (index, layer) in self.layers.iter_mut().enumerate() {
            for (name, linear) in layer.linears() {
                let &[rows, columns] = &self.parameters.get(linear.weight).shape[..] else { continue };
                let name = |part: &str| format!("model.layers.{index}.{name}.{part}.weight");
                let [a, b] =
                    [("lora_A", [rank, columns]), ("lora_B", [rows, rank])].map(|(part, shape)| (name(part), shape));
                let stored = [
                    Stored { shape: a.1.to_vec(), first_row: 0, ..self.config.stored(&a.0, &a.1) },
                    self.config.stored(&b.0, &b.1),
                ];
                if !file.tensors().contains_key(&format!("{PREFIX}{}", stored[1].name)) {
                    continue;
                }
                let slot = match self.parameters.slot(&stored[0].name) {
                    Some(slot) => slot,
                    None => {
                        known += 1;
                        let numbers = read(&file, &stored[0], rank * columns)?;
                        self.parameters.add(device, &stored[0].name, &a.1, &numbers)?
                    }
                };
                known += usize::from(stored[1].first_row == 0);
                let numbers = read(&file, &stored[1], rows * rank)?;
                let b = self.parameters.add(device, &b.0, &b.1, &numbers)?;
                linear.low_rank = Some(LowRank { a: slot, b, scale });
            }
        }
        if known == 0 {
            return Err(Error::format(file.path(), "holds no low-rank additions to this model's linear layers"));
        }
        self.rank = rank;
        self.set_dropout(dropout)?;
        if known == file.tensors().len() {
            return Ok(());
        }
        let ours = |name: &str| name.strip_prefix(PREFIX).is_some_and(|name| self.has_stored(name));
        let other = file.tensors().keys().find(|name| !ours(name)).map_or("", String::as_str);
        let problem = format!("tensor {other:?} belongs to no linear layer of this model");
        Err(Error::format(
            file.path(),
            format!("{problem}; low-rank additions to q, k, v, o, gate, up and down projections are known"),
        ))
    }

    /// Whether a file of the additions has this name for one of them.
    fn has_stored(&self, name: &str) -> bool {
        let low_rank = self.parameters.iter().filter(|p| is_low_rank(&p.name));
        low_rank.into_iter().any(|p| stored(&self.config, p).name == name)
    }

    /// Writes the low-rank additions as PEFT names and lays them out: a folder of `adapter_model.safetensors` and
    /// `adapter_config.json`.
    ///
    /// # Errors
    /// There are none; `out` exists and `force` is off; a full disk; the device was lost.
    pub fn save_low_rank_blocking(&self, device: &Device, out: &Path, base: &Path, force: bool) -> Result<PathBuf> {
        block_on(device, self.save_low_rank(device, out, base, force))
    }

    /// As [`Self::save_low_rank_blocking`], without waiting: see [`Device::read`].
    ///
    /// # Errors
    /// As there.
    pub async fn save_low_rank(&self, device: &Device, out: &Path, base: &Path, force: bool) -> Result<PathBuf> {
        let list: Vec<_> = self.parameters.iter().filter(|p| is_low_rank(&p.name)).collect();
        let scale = self.additions().first().and_then(|l| l.low_rank.as_ref()).map(|l| l.scale);
        let Some(scale) = scale else {
            return Err(Error::argument("model", "has no low-rank additions to write"));
        };
        let name = |p: &Parameter| format!("{PREFIX}{}", stored(&self.config, p).name);
        let folder = FolderWriter::create(out, force)?;
        let whole = list.iter().map(|p| (name(p), stored(&self.config, p))).filter(|(_, stored)| stored.first_row == 0);
        let specs: Vec<_> = whole.map(|(name, s)| TensorSpec::new(name, &s.shape, ElementType::F32)).collect();
        let mut writer = TensorWriter::start(folder.file(TENSORS)?, &out.join(TENSORS), &specs, notes(&[]))?;
        // By the names of modules, each once.
        let mut targets: Vec<String> = Vec::new();
        for parameter in list {
            let name = name(parameter);
            writer.write(&name, &parameter.value.to_f32(device).await?)?;
            yield_now().await;
            let module = name.rsplit('.').nth(2).unwrap_or_default().to_owned();
            if !targets.contains(&module) {
                targets.push(module);
            }
        }
        writer.finish()?;
        let config = json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base.display().to_string(),
            "r": self.rank, "lora_alpha": f64::from(scale) * self.rank as f64, "lora_dropout": short(self.dropout), "bias": "none",
            "inference_mode": true, "target_modules": targets,
        });
        folder.write(CONFIG, format!("{config:#}\n").as_bytes())?;
        folder.publish()?;
        Ok(out.to_path_buf())
    }
}

/// A number as f64 with the digits that its f32 has.
fn short(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

/// How files have a factor: parts of fused projections share their A, and their B are parts of one.
fn stored(config: &DecoderConfig, p: &Parameter) -> Stored {
    match p.name.ends_with(".lora_B.weight") {
        true => config.stored(&p.name, &p.shape),
        false => Stored { name: p.name.clone(), shape: p.shape.clone(), first_row: 0 },
    }
}

fn read(file: &TensorFile, stored: &Stored, count: usize) -> Result<Vec<f32>> {
    let name = format!("{PREFIX}{}", stored.name);
    file.expect(&name, &stored.shape)?;
    let width: usize = stored.shape.iter().skip(1).product();
    let mut numbers = vec![0f32; count];
    file.read(&name, stored.first_row * width, ElementType::F32, bytemuck::cast_slice_mut(&mut numbers))?;
    Ok(numbers)
}

/// Rank and scale; refuses what would be computed in another way.
fn settings(object: &Map<String, Value>, path: &Path) -> Result<Settings> {
    let refuse = |problem: String| Err(Error::format(path, problem));
    let get = |name: &str| object.get(name).filter(|value| !value.is_null());
    let number = |name: &str| get(name).and_then(Value::as_f64).filter(|x| *x > 0.0);
    let kind = get("peft_type").and_then(Value::as_str).unwrap_or("nothing");
    if kind != "LORA" {
        return refuse(format!("field \"peft_type\" is {kind:?}; \"LORA\" is known"));
    }
    let (Some(rank), Some(alpha)) = (get("r").and_then(Value::as_u64).filter(|r| *r > 0), number("lora_alpha")) else {
        return refuse("has no \"r\" and \"lora_alpha\" above 0".to_owned());
    };
    let set = |value: &Value| match value {
        Value::Bool(on) => *on,
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    };
    for name in [
        "use_dora",
        "modules_to_save",
        "rank_pattern",
        "alpha_pattern",
        "fan_in_fan_out",
        "layer_replication",
        "lora_bias",
    ] {
        if get(name).is_some_and(set) {
            return refuse(format!("field {name:?} is set, which is not computed here"));
        }
    }
    if let Some(bias) = get("bias").and_then(Value::as_str).filter(|bias| *bias != "none") {
        return refuse(format!("field \"bias\" is {bias:?}; \"none\" is known"));
    }
    let root = get("use_rslora").and_then(Value::as_bool) == Some(true);
    let scale = alpha / if root { (rank as f64).sqrt() } else { rank as f64 };
    let dropout = get("lora_dropout").map_or(Some(0.0), Value::as_f64).filter(|p| (0.0..1.0).contains(p));
    let Some(dropout) = dropout else {
        return refuse("field \"lora_dropout\" is no number from 0 to below 1".to_owned());
    };
    Ok(Settings { rank: rank as usize, scale: scale as f32, dropout: dropout as f32 })
}
