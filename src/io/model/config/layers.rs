//! What differs from layer to layer: windows and rotary embeddings.

use super::super::fields::Fields;
use super::family::{Family, Row, Windows};
use crate::Result;

/// What one layer's attention does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LayerKind {
    /// Keys that a query sees at most, its own included; all before it where there is none.
    pub window: Option<u32>,
    /// The place of its rotary embedding in [`DecoderConfig::ropes`](super::DecoderConfig::ropes); none where positions are not told.
    pub rope: Option<usize>,
}

/// The layers' kinds; `two_ropes` says that layers with a window have an embedding of their own, the second.
pub(super) fn read(fields: &Fields, row: &Row, layers: usize, two_ropes: bool) -> Result<Vec<LayerKind>> {
    let turns = rotary(fields, row, layers)?;
    let (slides, window) = windows(fields, row, layers, &turns)?;
    let kind = |(slides, turns): (&bool, &bool)| LayerKind {
        window: window.filter(|_| *slides),
        rope: turns.then_some(usize::from(two_ropes && *slides)),
    };
    Ok(slides.iter().zip(&turns).map(kind).collect())
}

/// Which layers have a rotary embedding.
fn rotary(fields: &Fields, row: &Row, layers: usize) -> Result<Vec<bool>> {
    if row.family != Family::SmolLm3 {
        return Ok(vec![true; layers]);
    }
    let name = "no_rope_layers";
    let interval = fields.size_or("no_rope_layer_interval", Some(4))?;
    let Some(value) = fields.get(name) else {
        return Ok((1..=layers).map(|number| !number.is_multiple_of(interval)).collect());
    };
    let list = value.as_array().filter(|list| list.len() >= layers);
    let flag = |value: &serde_json::Value| value.as_u64().filter(|flag| *flag <= 1).map(|flag| flag == 1);
    let flags = list.and_then(|list| list[..layers].iter().map(flag).collect());
    flags.ok_or_else(|| {
        fields.error(name, &format!("must be a list of {layers} numbers, 1 for a layer that turns and 0"))
    })
}

/// Which layers have a window, and its width.
fn windows(fields: &Fields, row: &Row, layers: usize, turns: &[bool]) -> Result<(Vec<bool>, Option<u32>)> {
    let all = |value: bool| vec![value; layers];
    let default = match row.windows {
        Windows::All(default) => default,
        Windows::WithoutRotary | Windows::Never => None,
        _ => Some(4096),
    };
    let off = match row.windows {
        Windows::Never => true,
        // Qwen2's files name a window and then switch it off.
        Windows::Switched | Windows::WithoutRotary => !fields.bool_or("use_sliding_window", false)?,
        _ => false,
    };
    // A null says that there is none; where it is absent, there is the family's.
    let window = match fields.get("sliding_window") {
        _ if off => None,
        None if fields.is_null("sliding_window") => None,
        None => default,
        Some(_) => Some(fields.size_or("sliding_window", None)?),
    };
    let slides = match (types(fields, layers)?, row.windows) {
        (Some(types), Windows::Never | Windows::All(_)) => {
            let expected = all(window.is_some());
            if types != expected {
                let problem =
                    format!("says otherwise than \"sliding_window\", which alone counts for {:?}", row.model_type);
                return Err(fields.error("layer_types", &problem));
            }
            types
        }
        (Some(types), _) => types,
        (None, Windows::Never | Windows::All(_) | Windows::Types) => all(window.is_some()),
        (None, Windows::Switched) => {
            let first = fields.count_or("max_window_layers", 28)?;
            (0..layers).map(|layer| window.is_some() && layer >= first).collect()
        }
        (None, Windows::Pattern) => {
            let every = fields.size_or("sliding_window_pattern", Some(6))?;
            (1..=layers).map(|number| !number.is_multiple_of(every)).collect()
        }
        (None, Windows::WithoutRotary) => turns.iter().map(|turns| window.is_some() && !turns).collect(),
    };
    if window.is_none() && slides.contains(&true) {
        let problem = "has layers with sliding attention, but \"sliding_window\" gives no width, or is switched off";
        return Err(fields.error("layer_types", problem));
    }
    Ok((slides, window.map(|window| window as u32)))
}

/// `layer_types`: whether each layer slides.
fn types(fields: &Fields, layers: usize) -> Result<Option<Vec<bool>>> {
    let Some(value) = fields.get("layer_types") else { return Ok(None) };
    let slides = |kind: &serde_json::Value| match kind.as_str() {
        Some("full_attention") => Some(false),
        Some("sliding_attention") => Some(true),
        _ => None,
    };
    let list: Option<Vec<bool>> = value.as_array().and_then(|list| list.iter().map(slides).collect());
    let problem =
        format!("must be a list of {layers}, one for each layer, of \"full_attention\" and \"sliding_attention\"");
    list.filter(|list| list.len() == layers).map(Some).ok_or_else(|| fields.error("layer_types", &problem))
}
