//! The table of kinds of encoders: their names in `config.json`, what their files call their parts, and what a file means where it leaves a
//! field out.

use serde_json::Value;

use super::super::fields::Fields;
use super::LayerNames;
use crate::Result;

/// Blocks of CLIP and SigLIP.
pub(super) static CLIP_LAYER: LayerNames = LayerNames {
    list: "encoder.layers",
    q: "self_attn.q_proj",
    k: "self_attn.k_proj",
    v: "self_attn.v_proj",
    o: "self_attn.out_proj",
    attention_norm: "layer_norm1",
    inner: "mlp.fc1",
    outer: "mlp.fc2",
    mlp_norm: "layer_norm2",
};

/// Blocks of BERT and RoBERTa.
pub(super) static BERT_LAYER: LayerNames = LayerNames {
    list: "encoder.layer",
    q: "attention.self.query",
    k: "attention.self.key",
    v: "attention.self.value",
    o: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    inner: "intermediate.dense",
    outer: "output.dense",
    mlp_norm: "output.LayerNorm",
};

/// Blocks of MPNet.
pub(super) static MPNET_LAYER: LayerNames = LayerNames {
    q: "attention.attn.q",
    k: "attention.attn.k",
    v: "attention.attn.v",
    o: "attention.attn.o",
    attention_norm: "attention.LayerNorm",
    ..BERT_LAYER
};

/// Blocks of DistilBERT.
pub(super) static DISTILBERT_LAYER: LayerNames = LayerNames {
    list: "transformer.layer",
    q: "attention.q_lin",
    k: "attention.k_lin",
    v: "attention.v_lin",
    o: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    inner: "ffn.lin1",
    outer: "ffn.lin2",
    mlp_norm: "output_layer_norm",
};

/// What a tower is read as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tower {
    Image,
    Text,
}

/// A kind of tower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Family {
    Clip,
    Siglip,
    Bert,
    Roberta,
    Mpnet,
    DistilBert,
}

/// A row of the table.
pub(super) struct Row {
    pub model_type: &'static str,
    pub family: Family,
    /// The towers that a folder of this type has: the sections that describe them, empty where the file itself does.
    pub towers: &'static [(Tower, &'static str)],
}

const BOTH: &[(Tower, &str)] = &[(Tower::Image, "vision_config"), (Tower::Text, "text_config")];
const IMAGE: &[(Tower, &str)] = &[(Tower::Image, "")];
const TEXT: &[(Tower, &str)] = &[(Tower::Text, "")];

/// All kinds.
static TABLE: [Row; 12] = [
    Row { model_type: "clip", family: Family::Clip, towers: BOTH },
    Row { model_type: "clip_vision_model", family: Family::Clip, towers: IMAGE },
    Row { model_type: "clip_text_model", family: Family::Clip, towers: TEXT },
    Row { model_type: "siglip", family: Family::Siglip, towers: BOTH },
    Row { model_type: "siglip_vision_model", family: Family::Siglip, towers: IMAGE },
    Row { model_type: "siglip_text_model", family: Family::Siglip, towers: TEXT },
    Row { model_type: "bert", family: Family::Bert, towers: TEXT },
    Row { model_type: "roberta", family: Family::Roberta, towers: TEXT },
    Row { model_type: "xlm-roberta", family: Family::Roberta, towers: TEXT },
    Row { model_type: "camembert", family: Family::Roberta, towers: TEXT },
    Row { model_type: "mpnet", family: Family::Mpnet, towers: TEXT },
    Row { model_type: "distilbert", family: Family::DistilBert, towers: TEXT },
];

impl Row {
    fn has(&self, tower: Tower) -> bool {
        self.towers.iter().any(|(t, _)| *t == tower)
    }

    /// The section of the file that describes a tower.
    pub fn section(&self, tower: Tower) -> Option<&'static str> {
        self.towers.iter().find(|(t, _)| *t == tower).map(|(_, section)| *section)
    }
}

/// The types that have a tower, for messages.
fn known(tower: Tower) -> String {
    let names: Vec<_> = TABLE.iter().filter(|row| row.has(tower)).map(|row| format!("{:?}", row.model_type)).collect();
    names.join(", ")
}

/// The row that a file asks for.
///
/// # Errors
/// No type, one that is not in the table, or one without such a tower; the message says which have one.
pub(super) fn row(fields: &Fields, tower: Tower) -> Result<&'static Row> {
    let what = if tower == Tower::Image { "images" } else { "texts" };
    let kind = match fields.text("model_type")? {
        Some(kind) => kind,
        None => {
            let class = fields.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str);
            type_of_class(class).ok_or_else(|| {
                let problem = format!("is missing; encoders of {what} are {}", known(tower));
                fields.error("model_type", &problem)
            })?
        }
    };
    match TABLE.iter().find(|row| row.model_type == kind) {
        Some(row) if row.has(tower) => Ok(row),
        Some(_) => {
            let other = if tower == Tower::Image { "texts" } else { "images" };
            let problem = format!("is {kind:?}, an encoder of {other}; encoders of {what} are {}", known(tower));
            Err(fields.error("model_type", &problem))
        }
        None if kind == "siglip2" => {
            let problem = "is \"siglip2\", whose images have any number of patches (NaFlex); take a checkpoint of fixed \
                           resolution, whose type is \"siglip\"";
            Err(fields.error("model_type", problem))
        }
        None => {
            let problem = format!("is {kind:?}, which is not computed; encoders of {what} are {}", known(tower));
            Err(fields.error("model_type", &problem))
        }
    }
}

/// The type that a class of Transformers has, for files that name no type.
fn type_of_class(class: Option<&str>) -> Option<&'static str> {
    Some(match class? {
        "CLIPModel" => "clip",
        "CLIPVisionModel" | "CLIPVisionModelWithProjection" => "clip_vision_model",
        "CLIPTextModel" | "CLIPTextModelWithProjection" => "clip_text_model",
        "SiglipModel" => "siglip",
        "SiglipVisionModel" => "siglip_vision_model",
        "SiglipTextModel" => "siglip_text_model",
        "BertModel" | "BertForMaskedLM" => "bert",
        "RobertaModel" | "RobertaForMaskedLM" => "roberta",
        "XLMRobertaModel" | "XLMRobertaForMaskedLM" => "xlm-roberta",
        "CamembertModel" | "CamembertForMaskedLM" => "camembert",
        "MPNetModel" | "MPNetForMaskedLM" => "mpnet",
        "DistilBertModel" | "DistilBertForMaskedLM" => "distilbert",
        _ => return None,
    })
}
