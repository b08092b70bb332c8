//! Rotary embeddings as a `config.json` asks for them, with the precedence of Transformers 5: `rope_scaling` wins over `rope_parameters`,
//! what stands inside over what stands beside it, but for `original_max_position_embeddings`, which wins where it stands at the top.

use std::f64::consts::TAU;

use super::super::fields::Fields;
use super::family::{Family, Row};
use crate::{Error, Result};

/// How the frequencies of a rotary embedding are stretched for long contexts, by `rope_type`.
#[derive(Clone, PartialEq, Debug)]
pub enum RopeScaling {
    /// `default`: not at all.
    None,
    /// `linear`: all are divided.
    Linear {
        /// By this.
        factor: f64,
    },
    /// `dynamic`: the base grows with the length of the sequence, from the model's own length on (NTK).
    Dynamic {
        /// How much longer the sequences may be.
        factor: f64,
        /// The model's own length, in tokens.
        positions: usize,
    },
    /// `yarn` (arXiv 2309.00071): low frequencies are divided, high ones stay, in between is a ramp.
    Yarn {
        /// By what the low ones are divided.
        factor: f64,
        /// What sines and cosines are multiplied by.
        amplitude: f64,
        /// Turns over the original length that bound the ramp: fast and slow.
        turns: (f64, f64),
        /// Whether the ramp's ends are whole numbers.
        truncate: bool,
        /// The context length, in tokens, before it was stretched.
        original_positions: usize,
    },
    /// `longrope` (arXiv 2402.13753): each frequency has a divisor, one for sequences up to the original length and one beyond.
    LongRope {
        /// Divisors up to the original length.
        short: Vec<f64>,
        /// Divisors beyond.
        long: Vec<f64>,
        /// What sines and cosines are multiplied by.
        amplitude: f64,
        /// The context length, in tokens, before it was stretched.
        original_positions: usize,
    },
    /// `llama3`: long wavelengths are divided, short ones stay, in between it is a blend.
    Llama3 {
        /// Frequencies whose wavelength exceeds `original_positions / low_frequency_factor` are divided by this.
        factor: f64,
        /// Bounds the long wavelengths.
        low_frequency_factor: f64,
        /// Wavelengths below `original_positions / high_frequency_factor` stay.
        high_frequency_factor: f64,
        /// The context length, in tokens, before it was stretched.
        original_positions: usize,
    },
}

/// One rotary embedding of a model.
#[derive(Clone, PartialEq, Debug)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Elements of a head whose number makes the frequencies, the first ones of it: those beyond do not turn.
    pub width: usize,
    /// Stretching.
    pub scaling: RopeScaling,
}

impl Rope {
    /// Without stretching, of whole heads.
    pub fn plain(theta: f64, head_dim: usize) -> Rope {
        Rope { theta, width: head_dim, scaling: RopeScaling::None }
    }

    /// Which frequencies a sequence of `length` tokens has: those of [`Rope::frequencies`] are the same for lengths with the same answer.
    /// It is 0 for all lengths where the length is of no account.
    pub fn set_of(&self, length: usize) -> usize {
        match self.scaling {
            RopeScaling::Dynamic { positions, .. } if length > positions => length,
            RopeScaling::LongRope { original_positions, .. } => usize::from(length > original_positions),
            _ => 0,
        }
    }

    /// The length from which on other frequencies hold than before, where there is one such length.
    pub fn switch(&self) -> Option<usize> {
        match self.scaling {
            RopeScaling::LongRope { original_positions, .. } => Some(original_positions + 1),
            _ => None,
        }
    }

    /// Radians per position of each pair of elements, for a sequence whose [`Rope::set_of`] is `set`; pair j has the elements j and
    /// j + as many pairs as there are.
    pub fn frequencies(&self, set: usize) -> Vec<f64> {
        let width = self.width as f64;
        let theta = match self.scaling {
            RopeScaling::Dynamic { factor, positions } if set > 0 => {
                let stretch = factor * set as f64 / positions as f64 - (factor - 1.0);
                self.theta * stretch.powf(width / (width - 2.0))
            }
            _ => self.theta,
        };
        let plain = |j: usize| theta.powf(-2.0 * j as f64 / width);
        (0..self.width.div_ceil(2)).map(|j| self.scaling.stretched(plain(j), j, set, self)).collect()
    }

    /// What sines and cosines are multiplied by.
    pub fn amplitude(&self) -> f64 {
        match self.scaling {
            RopeScaling::Yarn { amplitude, .. } | RopeScaling::LongRope { amplitude, .. } => amplitude,
            _ => 1.0,
        }
    }
}

impl RopeScaling {
    fn stretched(&self, plain: f64, j: usize, set: usize, rope: &Rope) -> f64 {
        match self {
            RopeScaling::None | RopeScaling::Dynamic { .. } => plain,
            RopeScaling::Linear { factor } => plain / factor,
            RopeScaling::Yarn { factor, turns, truncate, original_positions, .. } => {
                let (low, high) = ramp(rope, *turns, *truncate, *original_positions);
                let kept = 1.0 - ((j as f64 - low) / (high - low)).clamp(0.0, 1.0);
                plain / factor * (1.0 - kept) + plain * kept
            }
            RopeScaling::LongRope { short, long, .. } => plain / if set == 0 { short[j] } else { long[j] },
            RopeScaling::Llama3 {
                factor,
                low_frequency_factor: low,
                high_frequency_factor: high,
                original_positions,
            } => {
                let waves = *original_positions as f64 * plain / TAU;
                if waves < *low {
                    plain / factor
                } else if waves > *high {
                    plain
                } else {
                    let smooth = (waves - low) / (high - low);
                    (1.0 - smooth) * plain / factor + smooth * plain
                }
            }
        }
    }
}

/// The pairs between which YaRN goes from keeping frequencies to dividing them.
fn ramp(rope: &Rope, (fast, slow): (f64, f64), truncate: bool, original: usize) -> (f64, f64) {
    let width = rope.width as f64;
    let pair = |turns: f64| width * (original as f64 / (turns * TAU)).ln() / (2.0 * rope.theta.ln());
    let (mut low, mut high) = (pair(fast), pair(slow));
    if truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(width - 1.0));
    if low == high { (low, high + 0.001) } else { (low, high) }
}

/// What the rest of a file says that rotary embeddings depend on.
pub(super) struct Context<'a> {
    pub row: &'a Row,
    pub head_dim: usize,
    /// `max_position_embeddings`, or the family's default.
    pub positions: usize,
}

/// The embeddings of layers with full attention and of those with a window; without one of its own, those of a window have the same.
pub(super) fn read(fields: &Fields, context: &Context) -> Result<(Rope, Option<Rope>)> {
    let scaling = fields.object("rope_scaling")?.filter(|object| object.names().next().is_some());
    let parameters = fields.object("rope_parameters")?;
    if context.row.family == Family::Gemma3 {
        return by_layer_type(fields, (scaling, parameters), context);
    }
    let chosen = scaling.or(parameters);
    Ok((one(fields, chosen.as_slice(), fields.positive("rope_theta")?, true, context)?, None))
}

/// Gemma 3's: `rope_parameters` has one for each type of layer, and `rope_scaling` is about those with full attention.
fn by_layer_type(
    fields: &Fields,
    (scaling, parameters): (Option<Fields>, Option<Fields>),
    context: &Context,
) -> Result<(Rope, Option<Rope>)> {
    let (mut full, mut sliding) = (scaling.into_iter().collect::<Vec<_>>(), Vec::new());
    if let Some(parameters) = parameters {
        for name in parameters.names() {
            match name {
                "full_attention" => full.extend(parameters.object(name)?),
                "sliding_attention" => sliding.extend(parameters.object(name)?),
                _ => {
                    let problem = "is unknown: this family has one object for \"full_attention\" and one for \"sliding_attention\"";
                    return Err(parameters.error(name, problem));
                }
            }
        }
    }
    let theta = fields.positive("rope_local_base_freq")?.unwrap_or(10_000.0);
    let sliding = one(fields, &sliding, Some(theta), false, context)?;
    Ok((one(fields, &full, fields.positive("rope_theta")?, false, context)?, Some(sliding)))
}

/// One embedding from the objects that describe it, the first of which wins, and θ where they have none. `flat` says that the object is
/// not one of several by type of layer.
fn one(fields: &Fields, objects: &[Fields], theta: Option<f64>, flat: bool, context: &Context) -> Result<Rope> {
    let source = Source { fields, objects, flat, context };
    let theta = match source.positive("rope_theta")? {
        Some(theta) => theta,
        None => theta.unwrap_or(context.row.theta),
    };
    if theta <= 1.0 {
        return Err(source.error("rope_theta", &format!("is {theta}; a base above 1 is needed")));
    }
    let part = source.part()?;
    // As `int(head_dim * partial_rotary_factor)`; an odd number makes one pair more.
    let width = (context.head_dim as f64 * part) as usize;
    if width == 0 || width.next_multiple_of(2) > context.head_dim {
        return Err(source.error("partial_rotary_factor", &format!("turns {width} of {} elements", context.head_dim)));
    }
    let scaling = source.scaling(width)?;
    Ok(Rope { theta, width, scaling })
}

/// Where the fields of one embedding are looked up.
struct Source<'a> {
    fields: &'a Fields<'a>,
    objects: &'a [Fields<'a>],
    flat: bool,
    context: &'a Context<'a>,
}

impl Source<'_> {
    fn error(&self, name: &str, problem: &str) -> Error {
        let inside = self.objects.iter().find(|object| object.get(name).is_some()).or(self.objects.first());
        inside.unwrap_or(self.fields).error(name, problem)
    }

    /// The object that has the field.
    fn of(&self, name: &str) -> Option<&Fields<'_>> {
        self.objects.iter().find(|object| object.get(name).is_some())
    }

    fn positive(&self, name: &str) -> Result<Option<f64>> {
        self.of(name).map_or(Ok(None), |object| object.positive(name))
    }

    fn needed(&self, name: &str) -> Result<f64> {
        self.positive(name)?.ok_or_else(|| self.error(name, "is missing"))
    }

    fn part(&self) -> Result<f64> {
        let part = match self.positive("partial_rotary_factor")? {
            Some(part) => Some(part),
            None => self.fields.positive("partial_rotary_factor")?,
        };
        match part {
            Some(part) if part > 1.0 || (part != 1.0 && self.context.row.family != Family::Phi3) => {
                let problem = format!("is {part}; {:?} turns whole heads", self.context.row.model_type);
                Err(self.error("partial_rotary_factor", &problem))
            }
            part => Ok(part.unwrap_or(1.0)),
        }
    }

    /// The type, by its new name or its old one.
    fn kind(&self) -> Result<&str> {
        for name in ["rope_type", "type"] {
            if let Some(object) = self.of(name) {
                let kind = object.text(name)?.unwrap_or("default");
                // Phi-3's files have had three names for it.
                let phi3 = self.context.row.family == Family::Phi3 && matches!(kind, "su" | "yarn");
                return Ok(if phi3 { "longrope" } else { kind });
            }
        }
        Ok("default")
    }

    /// The context length before stretching. A field at the top wins over one inside.
    fn original_positions(&self) -> Result<usize> {
        let name = "original_max_position_embeddings";
        let phi3 = (self.context.row.family == Family::Phi3).then_some(4096);
        if self.flat && (self.fields.get(name).is_some() || phi3.is_some()) {
            return self.fields.size_or(name, phi3);
        }
        match self.of(name) {
            Some(object) => object.size_or(name, None),
            None => Ok(self.context.positions),
        }
    }

    fn scaling(&self, width: usize) -> Result<RopeScaling> {
        let kind = self.kind()?;
        let own: &[&str] = match kind {
            "default" => &[],
            "linear" | "dynamic" => &["factor"],
            "yarn" => &["factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"],
            "longrope" => &["factor", "attention_factor", "short_factor", "long_factor"],
            "llama3" => &["factor", "low_freq_factor", "high_freq_factor"],
            other => {
                let known =
                    "the decoder knows \"default\", \"linear\", \"dynamic\", \"yarn\", \"longrope\" and \"llama3\"";
                let name = if self.of("rope_type").is_some() { "rope_type" } else { "type" };
                return Err(self.error(name, &format!("is {other:?}; {known}")));
            }
        };
        self.check_names(kind, own)?;
        if matches!(kind, "yarn" | "longrope") && !width.is_multiple_of(2) {
            let problem = format!("makes an odd width of {width}, which {kind:?} lacks");
            return Err(self.error("partial_rotary_factor", &problem));
        }
        match kind {
            "linear" => Ok(RopeScaling::Linear { factor: self.needed("factor")? }),
            "dynamic" => {
                if width <= 2 {
                    return Err(
                        self.error("rope_type", "is \"dynamic\", which needs heads that turn more than 2 elements")
                    );
                }
                Ok(RopeScaling::Dynamic { factor: self.needed("factor")?, positions: self.context.positions })
            }
            "yarn" => self.yarn(),
            "longrope" => self.long_rope(width),
            "llama3" => self.llama3(),
            _ => Ok(RopeScaling::None),
        }
    }

    /// Refuses what the type has no use for.
    fn check_names(&self, kind: &str, own: &[&str]) -> Result<()> {
        const ALL: [&str; 6] = [
            "rope_type",
            "type",
            "rope_theta",
            "partial_rotary_factor",
            "original_max_position_embeddings",
            "finetuned",
        ];
        for object in self.objects {
            let unknown = object.names().find(|n| !ALL.contains(n) && !own.contains(n) && object.get(n).is_some());
            if let Some(name) = unknown {
                let problem = format!("is not known for the rope type {kind:?}; remove it, or correct \"rope_type\"");
                return Err(object.error(name, &problem));
            }
        }
        Ok(())
    }

    fn yarn(&self) -> Result<RopeScaling> {
        let original_positions = self.original_positions()?;
        let factor = match self.positive("factor")? {
            Some(factor) => factor,
            None => self.context.positions as f64 / original_positions as f64,
        };
        let scale = |by: f64| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
        let scales = (self.number("mscale")?, self.number("mscale_all_dim")?);
        let amplitude = match (self.positive("attention_factor")?, scales) {
            (Some(given), _) => given,
            (None, (above, below)) if above != 0.0 && below != 0.0 => scale(above) / scale(below),
            _ => scale(1.0),
        };
        let truncate = self.of("truncate").map_or(Ok(true), |object| object.bool_or("truncate", true))?;
        if !truncate && !self.flat {
            return Err(self.error("truncate", "is false, which has no effect inside of one type of layer; remove it"));
        }
        let or = |value: f64, default: f64| if value == 0.0 { default } else { value };
        let turns = (or(self.number("beta_fast")?, 32.0), or(self.number("beta_slow")?, 1.0));
        if !(turns.0 > 0.0 && turns.1 > 0.0) {
            return Err(self.error("beta_fast", "and \"beta_slow\" must be above 0"));
        }
        Ok(RopeScaling::Yarn { factor, amplitude, turns, truncate, original_positions })
    }

    /// A number, 0 where there is none.
    fn number(&self, name: &str) -> Result<f64> {
        let Some(object) = self.of(name) else { return Ok(0.0) };
        let number = object.get(name).and_then(serde_json::Value::as_f64).filter(|x| x.is_finite());
        number.ok_or_else(|| object.error(name, "must be a number"))
    }

    fn long_rope(&self, width: usize) -> Result<RopeScaling> {
        let original_positions = self.original_positions()?;
        let factor = match self.positive("factor")? {
            Some(factor) => factor,
            None => self.context.positions as f64 / original_positions as f64,
        };
        let amplitude = match self.positive("attention_factor")? {
            Some(given) => given,
            None if factor <= 1.0 => 1.0,
            None if original_positions == 1 => {
                return Err(self.error("original_max_position_embeddings", "is 1; a longer context is needed"));
            }
            None => (1.0 + factor.ln() / (original_positions as f64).ln()).sqrt(),
        };
        let (short, long) = (self.divisors("short_factor", width)?, self.divisors("long_factor", width)?);
        Ok(RopeScaling::LongRope { short, long, amplitude, original_positions })
    }

    fn divisors(&self, name: &str, width: usize) -> Result<Vec<f64>> {
        let pairs = width.div_ceil(2);
        let object = self.of(name).ok_or_else(|| self.error(name, "is missing"))?;
        let list = object.get(name).and_then(serde_json::Value::as_array);
        let list: Option<Vec<f64>> = list.and_then(|list| list.iter().map(serde_json::Value::as_f64).collect());
        let list = list.filter(|list| list.iter().all(|x| x.is_finite() && *x > 0.0));
        let wanted = format!("must be a list of {pairs} numbers above 0, one for each pair of elements that turns");
        list.filter(|list| list.len() == pairs).ok_or_else(|| object.error(name, &wanted))
    }

    fn llama3(&self) -> Result<RopeScaling> {
        let (low, high) = (self.needed("low_freq_factor")?, self.needed("high_freq_factor")?);
        if high <= low {
            return Err(self.error("high_freq_factor", "must be above \"low_freq_factor\""));
        }
        Ok(RopeScaling::Llama3 {
            factor: self.needed("factor")?,
            low_frequency_factor: low,
            high_frequency_factor: high,
            original_positions: self.original_positions()?,
        })
    }
}
