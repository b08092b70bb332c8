//! Names of tensors, and what is done to their numbers, between GGUF and Hugging Face.

use super::architecture::Architecture;

/// What has to be done to a stored tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    None,
    /// The rows of each of so many heads are stored in pairs: row 2 i + j stands for row i + j × half.
    Pairs {
        heads: usize,
    },
    /// 1 was added.
    PlusOne,
}

/// Where a tensor goes.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// It is one of the model's weights, with this Hugging Face name.
    Weight(String, Change),
    /// It says in numbers what a `config.json` says in words.
    Configuration,
    /// A part of a mixture of experts.
    Expert,
    Unknown,
}

/// Of a block, but for norms: the file's name, Hugging Face's.
const PROJECTIONS: [(&str, &str); 10] = [
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// Where the file's tensor `name` goes in a model with so many heads for queries and for keys.
pub(super) fn place(architecture: &Architecture, name: &str, (heads, kv_heads): (usize, usize)) -> Place {
    let plus_one = if architecture.norms_plus_one { Change::PlusOne } else { Change::None };
    match name {
        "token_embd.weight" => return Place::Weight("model.embed_tokens.weight".to_owned(), Change::None),
        "output.weight" => return Place::Weight("lm_head.weight".to_owned(), Change::None),
        "output_norm.weight" => return Place::Weight("model.norm.weight".to_owned(), plus_one),
        "rope_freqs.weight" | "rope_factors_long.weight" | "rope_factors_short.weight" => return Place::Configuration,
        _ => {}
    }
    let Some((layer, stem, part)) = parts(name) else { return Place::Unknown };
    // Frequencies that every block repeats, in old files; they are those of the configuration.
    if stem == "attn_rot_embd" {
        return Place::Configuration;
    }
    if stem.contains("_exps") || stem.contains("_shexp") || stem.starts_with("ffn_gate_inp") || numbered(stem) {
        return Place::Expert;
    }
    let full = |name: &str| format!("model.layers.{layer}.{name}.{part}");
    if let Some((_, theirs)) = architecture.norms.iter().find(|(ours, _)| *ours == stem) {
        return Place::Weight(full(theirs), plus_one);
    }
    if let ("phi3", "ffn_up") = (architecture.name, stem) {
        return Place::Weight(full("mlp.gate_up_proj"), Change::None);
    }
    let Some((_, theirs)) = PROJECTIONS.iter().find(|(ours, _)| *ours == stem) else { return Place::Unknown };
    let change = match stem {
        "attn_q" if architecture.paired_rows => Change::Pairs { heads },
        "attn_k" if architecture.paired_rows => Change::Pairs { heads: kv_heads },
        "attn_q_norm" | "attn_k_norm" => plus_one,
        _ => Change::None,
    };
    Place::Weight(full(theirs), change)
}

/// `blk.LAYER.STEM.weight` or `.bias`.
fn parts(name: &str) -> Option<(usize, &str, &str)> {
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let (stem, part) = rest.rsplit_once('.')?;
    let plain = layer.parse().ok().filter(|n: &usize| n.to_string() == layer)?;
    matches!(part, "weight" | "bias").then_some((plain, stem, part))
}

/// `ffn_gate.3`: an expert of an old file.
fn numbered(stem: &str) -> bool {
    stem.rsplit_once('.').is_some_and(|(before, n)| before.starts_with("ffn_") && n.parse::<u32>().is_ok())
}

/// The file's name for the weight that Hugging Face calls `name`, and what is done to its numbers.
#[cfg(feature = "train")]
pub(super) fn stored_name(architecture: &Architecture, name: &str, heads: (usize, usize)) -> Option<(String, Change)> {
    let stored = match name {
        "model.embed_tokens.weight" => "token_embd.weight".to_owned(),
        "model.norm.weight" => "output_norm.weight".to_owned(),
        "lm_head.weight" => "output.weight".to_owned(),
        _ => {
            let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
            let (stem, part) = rest.rsplit_once('.')?;
            let all = architecture.norms.iter().chain(&PROJECTIONS);
            let gate_up = [("ffn_up", "mlp.gate_up_proj")];
            let (ours, _) = all.chain(&gate_up).find(|(_, theirs)| *theirs == stem)?;
            format!("blk.{layer}.{ours}.{part}")
        }
    };
    // The way back must lead to the same name.
    match place(architecture, &stored, heads) {
        Place::Weight(back, change) if back == name => Some((stored, change)),
        _ => None,
    }
}

/// The stored row of a head's row `r`, of so many rows in all.
pub(super) fn stored_row(r: usize, rows: usize, heads: usize) -> usize {
    let each = rows / heads;
    let (head, within) = (r / each, r % each);
    let half = each / 2;
    head * each + within % half * 2 + within / half
}
