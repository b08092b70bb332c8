//! The image towers of CLIP and SigLIP.

use std::path::Path;

use serde_json::Value;

use super::super::fields::Fields;
#[cfg(feature = "bench")]
use super::TowerActivation;
use super::table::{CLIP_LAYER, Family, Tower, row};
use super::{BlocksConfig, activation, keys, with_config};
use crate::Result;

/// What makes one row of a tower's rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ImageHead {
    /// The class token's row, its norm, and a projection without bias to so many numbers.
    Class(usize),
    /// A learned query's attention to all rows, and an MLP.
    AttentionPooling,
}

/// The shape of an image tower.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ImageConfig {
    pub blocks: BlocksConfig,
    /// Pixels of a side of an image, and of a patch.
    pub image: usize,
    pub patch: usize,
    /// Numbers of a pixel.
    pub channels: usize,
    /// Whether a class token comes before the patches.
    pub class_token: bool,
    /// Whether the patches' convolution has a bias.
    pub patch_bias: bool,
    /// Whether a norm comes before the blocks.
    pub norm_before: bool,
    pub head: ImageHead,
    /// What names of its tensors may begin with.
    pub prefixes: &'static [&'static str],
}

/// Fields of a vision section that are read.
const READ: [&str; 12] = [
    "hidden_act",
    "hidden_size",
    "image_size",
    "intermediate_size",
    "layer_norm_eps",
    "num_attention_heads",
    "num_channels",
    "num_hidden_layers",
    "patch_size",
    "projection_dim",
    "vision_use_head",
    "position_embedding_type",
];

impl ImageConfig {
    /// Reads `config.json` of a folder with an image tower: of a whole model or of the tower alone.
    ///
    /// # Errors
    /// A file that is missing or no JSON; a model of another kind; a field that is impossible or not known.
    pub fn read(folder: &Path) -> Result<ImageConfig> {
        with_config(folder, |fields| {
            let row = row(fields, Tower::Image)?;
            let whole = row.section(Tower::Image).unwrap_or_default();
            let empty = serde_json::Map::new();
            let section = section(fields, whole, &empty)?;
            let projection = if whole.is_empty() { &section } else { fields };
            let projection = projection.size_or("projection_dim", Some(512))?;
            ImageConfig::of(&section, row.family, projection)
        })
    }

    fn of(fields: &Fields, family: Family, projection: usize) -> Result<ImageConfig> {
        keys::check(fields, &READ)?;
        keys::absolute_positions(fields)?;
        let clip = family == Family::Clip;
        let size = |name: &str, default: usize| fields.size_or(name, Some(default));
        let act = if clip { "quick_gelu" } else { "gelu_pytorch_tanh" };
        let blocks = BlocksConfig {
            width: size("hidden_size", 768)?,
            layers: size("num_hidden_layers", 12)?,
            heads: size("num_attention_heads", 12)?,
            inner: size("intermediate_size", 3072)?,
            activation: activation(fields, "hidden_act", act)?,
            norm_eps: fields.positive("layer_norm_eps")?.unwrap_or(if clip { 1e-5 } else { 1e-6 }),
            norms_after: false,
            names: &CLIP_LAYER,
        };
        blocks.check(fields)?;
        if !clip && !fields.bool_or("vision_use_head", true)? {
            let problem = "is false; without its head the model makes no embedding of an image";
            return Err(fields.error("vision_use_head", problem));
        }
        let config = ImageConfig {
            blocks,
            image: side(fields, "image_size", 224)?,
            patch: side(fields, "patch_size", if clip { 32 } else { 16 })?,
            channels: size("num_channels", 3)?,
            class_token: clip,
            patch_bias: !clip,
            norm_before: clip,
            head: if clip { ImageHead::Class(projection) } else { ImageHead::AttentionPooling },
            prefixes: &["vision_model.", ""],
        };
        if config.patch > config.image {
            let problem = format!("is {}, larger than the image of {}", config.patch, config.image);
            return Err(fields.error("patch_size", &problem));
        }
        if config.image > 1 << 14 {
            return Err(fields.error("image_size", &format!("is {}; at most 2^14 is computed", config.image)));
        }
        if config.channels != 3 {
            return Err(fields.error("num_channels", &format!("is {}; images have 3", config.channels)));
        }
        Ok(config)
    }

    /// CLIP's tower of another shape: width, layers, heads, width inside the MLP, side of the image, of a patch, and numbers of an embedding.
    #[cfg(feature = "bench")]
    pub fn clip_shaped([width, layers, heads, inner, image, patch, out]: [usize; 7]) -> ImageConfig {
        let activation = TowerActivation::QuickGelu;
        let norm_eps = 1e-5;
        ImageConfig {
            blocks: BlocksConfig {
                width,
                layers,
                heads,
                inner,
                activation,
                norm_eps,
                norms_after: false,
                names: &CLIP_LAYER,
            },
            image,
            patch,
            channels: 3,
            class_token: true,
            patch_bias: false,
            norm_before: true,
            head: ImageHead::Class(out),
            prefixes: &[""],
        }
    }

    /// Tokens of an image.
    pub fn tokens(&self) -> usize {
        (self.image / self.patch).pow(2) + usize::from(self.class_token)
    }

    /// Numbers of an embedding.
    pub fn width(&self) -> usize {
        match self.head {
            ImageHead::Class(width) => width,
            ImageHead::AttentionPooling => self.blocks.width,
        }
    }
}

/// A section of a whole model's file, with what its older form says instead; the file itself where the name is empty.
pub(super) fn section<'a>(
    fields: &Fields<'a>,
    name: &str,
    empty: &'a serde_json::Map<String, Value>,
) -> Result<Fields<'a>> {
    if name.is_empty() {
        return Ok(fields.clone());
    }
    keys::check(fields, &["projection_dim", "vision_config", "text_config", "vision_config_dict", "text_config_dict"])?;
    // The older form has the last word, and where it says nothing the class's defaults do.
    let older = fields.object(&format!("{name}_dict"))?;
    Ok(older.or(fields.object(name)?).unwrap_or_else(|| Fields::new(fields.path, empty)))
}

/// Pixels of a side: a number, or two of the same.
fn side(fields: &Fields, name: &str, default: usize) -> Result<usize> {
    match fields.get(name).and_then(Value::as_array) {
        None => fields.size_or(name, Some(default)),
        Some(sides) => {
            let first = sides.first().and_then(Value::as_u64).filter(|n| (1..=1 << 14).contains(n));
            let same = sides.len() == 2 && sides.first() == sides.last();
            first.filter(|_| same).map(|n| n as usize).ok_or_else(|| {
                fields.error(
                    name,
                    &format!("is {}; one number, or two that are equal, is needed", Value::from(sides.clone())),
                )
            })
        }
    }
}
