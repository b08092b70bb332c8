//! The text towers of CLIP and SigLIP, and encoders of BERT's kind.

use std::path::Path;

use super::super::fields::Fields;
use super::image::section;
use super::table::{BERT_LAYER, CLIP_LAYER, DISTILBERT_LAYER, Family, MPNET_LAYER, Row, Tower, row};
use super::{BlocksConfig, activation, keys, with_config};
use crate::Result;

/// Which token of CLIP's ends a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EndRule {
    /// The first of those with the largest id: files of the older generation, whose `eos_token_id` is 2.
    Largest,
    /// The first with this id, or else the first of all.
    First(u32),
}

/// What makes one row of a text's rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TextPooling {
    /// The row of the token that ends the text.
    End(EndRule),
    /// The last row, which may be padding.
    Last,
    /// What the folder's modules say.
    Modules,
}

/// The matrix behind pooling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Projection {
    /// What files call it, and whether below the tower's own names.
    pub name: &'static str,
    pub within: bool,
    pub width: usize,
    pub bias: bool,
}

/// The shape of a text tower.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct TextConfig {
    pub blocks: BlocksConfig,
    /// What names of its tensors may begin with.
    pub prefixes: &'static [&'static str],
    pub vocabulary: usize,
    /// Rows of the table of positions, and the row of a text's first token.
    pub position_rows: usize,
    pub first_position: usize,
    /// Whether scores of attention get a term by how far apart two tokens are, the same in all blocks ([`bucket_of`]).
    pub relative: bool,
    /// Kinds of tokens, of which texts have the first; 0 without.
    pub types: usize,
    pub names: &'static TableNames,
    /// Whether a token sees only those before it.
    pub causal: bool,
    /// Whether texts are padded to all positions, and padding is seen as other tokens are.
    pub padded: bool,
    /// The token that pads, where the tokenizer names none.
    pub pad: u32,
    pub pooling: TextPooling,
    pub projection: Option<Projection>,
}

/// What files call the tables before the blocks, and the norms around them.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct TableNames {
    pub tokens: &'static str,
    pub positions: &'static str,
    pub types: &'static str,
    /// What distances add to scores, `[BUCKETS, heads]`.
    pub distances: &'static str,
    /// Before the blocks.
    pub norm: Option<&'static str>,
    /// Behind them.
    pub last_norm: Option<&'static str>,
}

static CLIP_TABLES: TableNames = TableNames {
    tokens: "embeddings.token_embedding.weight",
    positions: "embeddings.position_embedding.weight",
    types: "",
    distances: "",
    norm: None,
    last_norm: Some("final_layer_norm"),
};

static BERT_TABLES: TableNames = TableNames {
    tokens: "embeddings.word_embeddings.weight",
    positions: "embeddings.position_embeddings.weight",
    types: "embeddings.token_type_embeddings.weight",
    distances: "encoder.relative_attention_bias.weight",
    norm: Some("embeddings.LayerNorm"),
    last_norm: None,
};

/// Kinds of distances that MPNet has, a half of them for keys behind the query.
pub(crate) const BUCKETS: usize = 32;

/// How far the last kind of distance begins, at most.
pub(crate) const MAX_DISTANCE: usize = 128;

/// The kind of the distance from a query to a key, which is `key` places behind it or before: each of the first 8 by itself, then by its logarithm,
/// `8 + ⌊2 log2 (n / 8)⌋`, here of n² in integers.
pub(crate) fn bucket_of(key: isize) -> usize {
    let n = key.unsigned_abs();
    let kind = if n < 8 { n } else { ((n * n).ilog2() as usize + 2).min(BUCKETS / 2 - 1) };
    kind + if key > 0 { BUCKETS / 2 } else { 0 }
}

/// Fields of a text section that are read.
const READ: [&str; 12] = [
    "eos_token_id",
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "layer_norm_eps",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "pad_token_id",
    "position_embedding_type",
    "projection_dim",
    "vocab_size",
];

impl TextConfig {
    /// Reads `config.json` of a folder with a text tower: of a whole model or of the tower alone.
    ///
    /// # Errors
    /// A file that is missing or no JSON; a model of another kind; a field that is impossible or not known.
    pub fn read(folder: &Path) -> Result<TextConfig> {
        with_config(folder, |fields| {
            let row = row(fields, Tower::Text)?;
            let whole = row.section(Tower::Text).unwrap_or_default();
            let empty = serde_json::Map::new();
            let section = section(fields, whole, &empty)?;
            let config = match row.family {
                Family::Clip => {
                    let projection = if whole.is_empty() { &section } else { fields };
                    TextConfig::clip(&section, projection.size_or("projection_dim", Some(512))?)
                }
                Family::Siglip => TextConfig::siglip(&section),
                Family::Bert | Family::Roberta => TextConfig::bert(&section, row),
                Family::Mpnet => TextConfig::mpnet(&section),
                Family::DistilBert => TextConfig::distilbert(&section),
            }?;
            config.blocks.check(&section)?;
            if config.vocabulary >= 1 << 30 {
                return Err(section.error("vocab_size", "must be below 2^30"));
            }
            Ok(config)
        })
    }

    fn clip(fields: &Fields, projection: usize) -> Result<TextConfig> {
        keys::check(fields, &READ)?;
        let size = |name: &str, default: usize| fields.size_or(name, Some(default));
        let end = match fields.token_ids("eos_token_id")?[..] {
            _ if fields.is_null("eos_token_id") => return Err(fields.error("eos_token_id", "is null")),
            [] => EndRule::First(49_407),
            [2] => EndRule::Largest,
            [id] => EndRule::First(id),
            _ => return Err(fields.error("eos_token_id", "names several tokens; one ends a text")),
        };
        Ok(TextConfig {
            blocks: BlocksConfig {
                width: size("hidden_size", 512)?,
                layers: size("num_hidden_layers", 12)?,
                heads: size("num_attention_heads", 8)?,
                inner: size("intermediate_size", 2048)?,
                activation: activation(fields, "hidden_act", "quick_gelu")?,
                norm_eps: fields.positive("layer_norm_eps")?.unwrap_or(1e-5),
                norms_after: false,
                names: &CLIP_LAYER,
            },
            prefixes: &["text_model.", ""],
            vocabulary: size("vocab_size", 49_408)?,
            position_rows: size("max_position_embeddings", 77)?,
            first_position: 0,
            relative: false,
            types: 0,
            names: &CLIP_TABLES,
            causal: true,
            padded: false,
            pad: 0,
            pooling: TextPooling::End(end),
            projection: Some(Projection { name: "text_projection", within: false, width: projection, bias: false }),
        })
    }

    fn siglip(fields: &Fields) -> Result<TextConfig> {
        keys::check(fields, &[&READ[..], &["projection_size"]].concat())?;
        let size = |name: &str, default: usize| fields.size_or(name, Some(default));
        let width = size("hidden_size", 768)?;
        let head = Projection { name: "head", within: true, width: size("projection_size", width)?, bias: true };
        Ok(TextConfig {
            blocks: BlocksConfig {
                width,
                layers: size("num_hidden_layers", 12)?,
                heads: size("num_attention_heads", 12)?,
                inner: size("intermediate_size", 3072)?,
                activation: activation(fields, "hidden_act", "gelu_pytorch_tanh")?,
                norm_eps: fields.positive("layer_norm_eps")?.unwrap_or(1e-6),
                norms_after: false,
                names: &CLIP_LAYER,
            },
            prefixes: &["text_model.", ""],
            vocabulary: size("vocab_size", 32_000)?,
            position_rows: size("max_position_embeddings", 64)?,
            first_position: 0,
            relative: false,
            types: 0,
            names: &CLIP_TABLES,
            causal: false,
            padded: true,
            pad: fields.count_or("pad_token_id", 1)? as u32,
            pooling: TextPooling::Last,
            projection: Some(head),
        })
    }

    /// BERT's encoder of another shape: width, layers, heads, width inside the MLP, and rows of the table.
    #[cfg(feature = "bench")]
    pub fn bert_shaped([width, layers, heads, inner, vocabulary]: [usize; 5]) -> TextConfig {
        let (activation, names) = (super::TowerActivation::Gelu, &BERT_LAYER);
        let (norm_eps, norms_after) = (1e-12, true);
        TextConfig {
            blocks: BlocksConfig { width, layers, heads, inner, activation, norm_eps, norms_after, names },
            prefixes: &[""],
            vocabulary,
            position_rows: 512,
            first_position: 0,
            relative: false,
            types: 2,
            names: &BERT_TABLES,
            causal: false,
            padded: false,
            pad: 0,
            pooling: TextPooling::Modules,
            projection: None,
        }
    }

    fn bert(fields: &Fields, row: &Row) -> Result<TextConfig> {
        keys::check(fields, &[&READ[..], &["type_vocab_size"]].concat())?;
        keys::absolute_positions(fields)?;
        let roberta = row.family == Family::Roberta;
        let size = |name: &str, default: usize| fields.size_or(name, Some(default));
        let pad = fields.count_or("pad_token_id", usize::from(roberta))?;
        Ok(TextConfig {
            blocks: BlocksConfig {
                width: size("hidden_size", 768)?,
                layers: size("num_hidden_layers", 12)?,
                heads: size("num_attention_heads", 12)?,
                inner: size("intermediate_size", 3072)?,
                activation: activation(fields, "hidden_act", "gelu")?,
                norm_eps: fields.positive("layer_norm_eps")?.unwrap_or(1e-12),
                norms_after: true,
                names: &BERT_LAYER,
            },
            prefixes: if roberta { &["", "roberta."] } else { &["", "bert."] },
            vocabulary: size("vocab_size", vocabulary_of(row.model_type))?,
            position_rows: size("max_position_embeddings", 512)?,
            // RoBERTa's positions are counted from behind the padding's id on.
            first_position: if roberta { pad + 1 } else { 0 },
            relative: false,
            types: size("type_vocab_size", 2)?,
            names: &BERT_TABLES,
            causal: false,
            padded: false,
            pad: pad as u32,
            pooling: TextPooling::Modules,
            projection: None,
        })
    }

    /// As BERT without kinds of tokens, with positions from behind the padding's id, which is 1 whatever the file says, and distances.
    fn mpnet(fields: &Fields) -> Result<TextConfig> {
        keys::check(fields, &[&READ[..], &["relative_attention_num_buckets"]].concat())?;
        let size = |name: &str, default: usize| fields.size_or(name, Some(default));
        let buckets = size("relative_attention_num_buckets", BUCKETS)?;
        if buckets != BUCKETS {
            return Err(
                fields.error("relative_attention_num_buckets", &format!("is {buckets}; {BUCKETS} are computed"))
            );
        }
        Ok(TextConfig {
            blocks: BlocksConfig {
                width: size("hidden_size", 768)?,
                layers: size("num_hidden_layers", 12)?,
                heads: size("num_attention_heads", 12)?,
                inner: size("intermediate_size", 3072)?,
                activation: activation(fields, "hidden_act", "gelu")?,
                norm_eps: fields.positive("layer_norm_eps")?.unwrap_or(1e-12),
                norms_after: true,
                names: &MPNET_LAYER,
            },
            prefixes: &["", "mpnet."],
            vocabulary: size("vocab_size", 30_527)?,
            position_rows: size("max_position_embeddings", 512)?,
            first_position: 2,
            relative: true,
            types: 0,
            names: &BERT_TABLES,
            causal: false,
            padded: false,
            pad: 1,
            pooling: TextPooling::Modules,
            projection: None,
        })
    }

    fn distilbert(fields: &Fields) -> Result<TextConfig> {
        let own = ["activation", "dim", "hidden_dim", "n_heads", "n_layers", "max_position_embeddings", "vocab_size"];
        keys::check(fields, &[&own[..], &["pad_token_id"]].concat())?;
        let size = |name: &str, default: usize| fields.size_or(name, Some(default));
        Ok(TextConfig {
            blocks: BlocksConfig {
                width: size("dim", 768)?,
                layers: size("n_layers", 6)?,
                heads: size("n_heads", 12)?,
                inner: size("hidden_dim", 3072)?,
                activation: activation(fields, "activation", "gelu")?,
                norm_eps: 1e-12,
                norms_after: true,
                names: &DISTILBERT_LAYER,
            },
            prefixes: &["", "distilbert."],
            vocabulary: size("vocab_size", 30_522)?,
            position_rows: size("max_position_embeddings", 512)?,
            first_position: 0,
            relative: false,
            types: 0,
            names: &BERT_TABLES,
            causal: false,
            padded: false,
            pad: 0,
            pooling: TextPooling::Modules,
            projection: None,
        })
    }

    /// Numbers of the tower's rows, the projection's where there is one.
    pub fn width(&self) -> usize {
        self.projection.map_or(self.blocks.width, |of| of.width)
    }

    /// The most tokens of a text.
    pub fn positions(&self) -> usize {
        self.position_rows.saturating_sub(self.first_position)
    }
}

/// The vocabulary that a type's class in Transformers has where a file leaves it out.
fn vocabulary_of(model_type: &str) -> usize {
    match model_type {
        "roberta" => 50_265,
        "camembert" => 32_005,
        _ => 30_522,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Transformers has it, in logarithms: `8 + trunc(ln(n / 8) / ln 16 * 8)`, where roundings may count at powers of two alone.
    #[test]
    fn kinds_of_distances() {
        for n in 1..2000isize {
            let exact = 8.0 + ((n as f64 / 8.0).log2() * 2.0 + 1e-9).floor();
            let want = if n < 8 { n as usize } else { (exact as usize).min(15) };
            assert_eq!((bucket_of(-n), bucket_of(n)), (want, want + 16), "{n}");
        }
        assert_eq!(bucket_of(0), 0);
        // The table's reach is where kinds end.
        let reach = MAX_DISTANCE as isize;
        assert_eq!((bucket_of(reach), bucket_of(-reach)), (bucket_of(10 * reach), bucket_of(-10 * reach)));
        assert_eq!([8, 11, 12, 16, 22, 23, 32, 64, 90, 91].map(bucket_of), [24, 24, 25, 26, 26, 27, 28, 30, 30, 31]);
    }
}
