//! What a run leaves of its model: at its end, and of the best evaluation.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::settings::{Settings, Trained};
use crate::device::Device;
use crate::io::Weights;
use crate::nn::Model;
use crate::{ElementType, Result};

/// What a finished run left.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The adapter.
    pub adapter: PathBuf,
    /// The decoder's folder, where it trained, or low-rank additions were to be merged into it.
    pub model: Option<PathBuf>,
    /// The low-rank additions' folder, where there are such.
    pub low_rank: Option<PathBuf>,
    /// The folder of the same as the best evaluation saw them, where that was to be kept.
    pub best: Option<PathBuf>,
}

impl Finished {
    /// As other ranks hear of it.
    pub(super) fn to_json(&self) -> Value {
        json!([self.adapter, self.model, self.low_rank, self.best])
    }

    /// What [`Self::to_json`] said.
    pub(super) fn from_json(value: &Value) -> Finished {
        let path = |i: usize| value.get(i).and_then(Value::as_str).map(PathBuf::from);
        Finished { adapter: path(0).unwrap_or_default(), model: path(1), low_rank: path(2), best: path(3) }
    }
}

/// Writes a model into the folder `out` as the settings have it, without waiting for the device.
pub(super) async fn write(device: &Device, model: &Model, settings: &Settings, out: &Path) -> Result<Finished> {
    let adapter = out.join("adapter.safetensors");
    let mut weights = model.adapter.weights(device).await?;
    weights.set_visual_tokens(settings.visual_tokens);
    weights.save(&adapter, ElementType::F32, true)?;
    let mut finished = Finished { adapter, model: None, low_rank: None, best: None };
    let decoder = &model.decoder;
    if settings.train == Trained::Lora {
        let folder = out.join("lora");
        finished.low_rank = Some(decoder.save_low_rank(device, &folder, &settings.model, true).await?);
    }
    if settings.train == Trained::All || (settings.train == Trained::Lora && settings.merge_lora) {
        let element = match settings.export_dtype {
            Some(element) => element,
            None => Some(Weights::open(&settings.model)?.element_type())
                .filter(|element| *element != ElementType::F64)
                .unwrap_or(ElementType::F32),
        };
        let folder = out.join("model");
        finished.model = Some(decoder.save(device, (&folder, true), &settings.model, element).await?);
    }
    Ok(finished)
}
