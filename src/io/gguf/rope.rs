//! The rotary embedding's scaling: keys and tensors of factors to `rope_scaling`.

use serde_json::{Value, json};

use super::dequantize::dequantize;
use super::header::GgufFile;
use crate::{Error, Result};

/// Llama 3's stretching, as all published models have it but for the factor.
const LOW: f64 = 1.0;
const HIGH: f64 = 4.0;
const ORIGINAL: [f64; 4] = [8192.0, 4096.0, 2048.0, 16384.0];
/// Factors are stored as f32 of numbers that were computed in f32.
const NEAR: f64 = 1e-4;
/// Half of the widest head.
const MAX_FACTORS: usize = 4096;

/// `rope_scaling` of the file, if it has any. `positions` is the longest context.
///
/// # Errors
/// A kind of scaling that is unknown, or factors that are no numbers.
pub(super) fn scaling(file: &GgufFile, prefix: &str, (head, theta): (usize, f64)) -> Result<Option<Value>> {
    let key = |name: &str| format!("{prefix}.rope.scaling.{name}");
    let original = file.integer(&key("original_context_length"))?;
    if let (Some(long), Some(short)) =
        (factors(file, "rope_factors_long.weight")?, factors(file, "rope_factors_short.weight")?)
    {
        let mut scaling =
            json!({"rope_type": "longrope", "type": "longrope", "long_factor": long, "short_factor": short});
        put(&mut scaling, "original_max_position_embeddings", original.map(|n| n as f64));
        put(&mut scaling, "attention_factor", file.number(&key("attn_factor"))?);
        return Ok(Some(scaling));
    }
    if let Some(factors) = factors(file, "rope_freqs.weight")? {
        return Ok(by_factors(&factors, (head, theta)));
    }
    let legacy = file.number(&format!("{prefix}.rope.scale_linear"))?.filter(|factor| *factor != 1.0);
    let factor = file.number(&key("factor"))?;
    let kind = file.text(&key("type"))?.unwrap_or(if legacy.is_some() { "linear" } else { "none" });
    match kind {
        "none" => Ok(None),
        "linear" => {
            let factor = factor.or(legacy).filter(|factor| *factor > 0.0);
            let problem =
                || Error::format(file.path(), format!("has linear scaling without a {:?} above 0", key("factor")));
            Ok(Some(json!({"rope_type": "linear", "factor": factor.ok_or_else(problem)?})))
        }
        "yarn" => yarn(file, &key, factor, original).map(Some),
        other => {
            let problem =
                format!("key {:?} is {other:?}; known are none, linear, yarn and factors in tensors", key("type"));
            Err(Error::format(file.path(), problem))
        }
    }
}

fn yarn(file: &GgufFile, key: &dyn Fn(&str) -> String, factor: Option<f64>, original: Option<u64>) -> Result<Value> {
    let Some(factor) = factor.filter(|factor| *factor > 0.0) else {
        return Err(Error::format(file.path(), format!("has YaRN scaling without a {:?} above 0", key("factor"))));
    };
    let mut scaling = json!({"rope_type": "yarn", "factor": factor});
    put(&mut scaling, "original_max_position_embeddings", original.map(|n| n as f64));
    put(&mut scaling, "beta_fast", file.number(&key("yarn_beta_fast"))?);
    put(&mut scaling, "beta_slow", file.number(&key("yarn_beta_slow"))?);
    let attention = match file.number(&key("yarn_attn_factor"))? {
        None => file.number(&key("attn_factor"))?,
        given => given,
    };
    // llama.cpp multiplies YaRN's own factor, where Hugging Face's setting replaces it.
    put(&mut scaling, "attention_factor", attention.filter(|x| *x != 1.0).map(|x| x * (0.1 * factor.ln() + 1.0)));
    for other in ["yarn_log_multiplier", "yarn_ext_factor"] {
        if let Some(x) = file.number(&key(other))?.filter(|x| *x != 0.0 && *x != 1.0) {
            return Err(Error::format(file.path(), format!("key {:?} is {x}, which is not followed", key(other))));
        }
    }
    Ok(scaling)
}

fn put(object: &mut Value, name: &str, number: Option<f64>) {
    let Some(number) = number else { return };
    // Whole numbers stay so: they are read as such.
    object[name] = if number.fract() == 0.0 { json!(number as i64) } else { json!(number) };
}

/// A tensor of factors, one for each pair of a head's numbers.
fn factors(file: &GgufFile, name: &str) -> Result<Option<Vec<f64>>> {
    let Some(stored) = file.tensors().get(name) else { return Ok(None) };
    let wrong = |problem: String| Error::format(file.path(), format!("tensor {name:?} {problem}"));
    let count: usize = stored.shape.iter().product();
    if count == 0 || count > MAX_FACTORS || !count.is_multiple_of(stored.kind.block()) {
        return Err(wrong(format!(
            "has the shape {:?}; one factor for each pair of a head's numbers is needed",
            stored.shape
        )));
    }
    let mut raw = vec![0; stored.bytes as usize];
    file.read_raw(&mut raw, stored.offset, name)?;
    let mut numbers = vec![0f32; count];
    dequantize(stored.kind, &raw, &mut numbers);
    match numbers.iter().find(|x| !x.is_finite() || **x <= 0.0) {
        Some(x) => Err(wrong(format!("holds {x}, but factors are above 0"))),
        None => Ok(Some(numbers.into_iter().map(f64::from).collect())),
    }
}

/// What says the same as these divisors of the frequencies: Llama 3's stretching, where it gives them; else LongRoPE's form, which can say
/// anything.
fn by_factors(factors: &[f64], (head, theta): (usize, f64)) -> Option<Value> {
    if factors.iter().all(|x| *x == 1.0) {
        return None;
    }
    let factor = factors.iter().copied().fold(1.0, f64::max);
    for original in ORIGINAL {
        let same = |(i, given): (usize, &f64)| {
            (llama3(i, (head, theta), factor, (LOW, HIGH, original)) / given - 1.0).abs() < NEAR
        };
        if factors.len() * 2 == head && factors.iter().enumerate().all(same) {
            return Some(json!({
                "rope_type": "llama3", "factor": factor, "low_freq_factor": LOW, "high_freq_factor": HIGH,
                "original_max_position_embeddings": original as u64,
            }));
        }
    }
    Some(json!({
        "rope_type": "longrope", "type": "longrope", "long_factor": factors, "short_factor": factors, "attention_factor": 1.0,
    }))
}

/// By what Llama 3's stretching divides the i-th frequency; the bounds are the low and the high frequency's factor and the original context.
pub(super) fn llama3(
    i: usize,
    (head, theta): (usize, f64),
    factor: f64,
    (low, high, original): (f64, f64, f64),
) -> f64 {
    let frequency = theta.powf(-((2 * i) as f64) / head as f64);
    let wavelength = 2.0 * std::f64::consts::PI / frequency;
    if wavelength < original / high {
        return 1.0;
    }
    if wavelength > original / low {
        return factor;
    }
    let smooth = (original / wavelength - low) / (high - low);
    1.0 / ((1.0 - smooth) / factor + smooth)
}
