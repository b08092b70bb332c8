//! How each type of setting is written in TOML and in plain text.

use std::path::PathBuf;
use std::str::FromStr;

use toml::Value;

use super::{EvalMetric, KeyKind, NoiseShape, Reduce, Trained};
use crate::ElementType;
use crate::align::Method;
use crate::io::{AdapterKind, ChatDate, Join, SkipBad};
use crate::nn::Precision;
use crate::optim::MomentType;
use crate::train::ScheduleKind;

/// A value of a setting.
pub(super) trait Field: Sized {
    /// How many values it takes.
    const KIND: KeyKind = KeyKind::Value;
    /// From plain text.
    fn from_text(text: &str) -> Result<Self, String>;
    /// From TOML.
    fn from_value(value: &Value) -> Result<Self, String>;
    /// To TOML; `None` if it is not set.
    fn to_value(&self) -> Option<Value>;
}

fn wrong<T>(wanted: &str, value: &Value) -> Result<T, String> {
    Err(format!("is {value}, but {wanted} is needed"))
}

macro_rules! integers {
    ($($type:ty),+) => {$(
        impl Field for $type {
            fn from_text(text: &str) -> Result<Self, String> {
                text.trim().replace('_', "").parse().map_err(|_| format!("{text:?} is no integer of at least 0"))
            }

            fn from_value(value: &Value) -> Result<Self, String> {
                if let Some(text) = value.as_str() {
                    return Self::from_text(text);
                }
                match value.as_integer().and_then(|n| Self::try_from(n).ok()) {
                    Some(n) => Ok(n),
                    None => wrong("an integer of at least 0", value),
                }
            }

            fn to_value(&self) -> Option<Value> {
                // TOML's integers end at 2^63 - 1; a larger seed is written as text.
                Some(i64::try_from(*self).map_or_else(|_| Value::String(self.to_string()), Value::Integer))
            }
        }
    )+};
}

integers!(usize, u64);

impl Field for f64 {
    fn from_text(text: &str) -> Result<f64, String> {
        let number = text.trim().parse().ok().filter(|x: &f64| x.is_finite());
        number.ok_or_else(|| format!("{text:?} is no finite number"))
    }

    fn from_value(value: &Value) -> Result<f64, String> {
        let number = value.as_float().or(value.as_integer().map(|n| n as f64)).filter(|x| x.is_finite());
        number.map_or_else(|| wrong("a finite number", value), Ok)
    }

    fn to_value(&self) -> Option<Value> {
        Some(Value::Float(*self))
    }
}

impl Field for bool {
    const KIND: KeyKind = KeyKind::Switch;

    fn from_text(text: &str) -> Result<bool, String> {
        text.trim().parse().map_err(|_| format!("{text:?} is neither true nor false"))
    }

    fn from_value(value: &Value) -> Result<bool, String> {
        value.as_bool().map_or_else(|| wrong("true or false", value), Ok)
    }

    fn to_value(&self) -> Option<Value> {
        Some(Value::Boolean(*self))
    }
}

impl Field for PathBuf {
    fn from_text(text: &str) -> Result<PathBuf, String> {
        if text.is_empty() { Err("an empty path".to_string()) } else { Ok(PathBuf::from(text)) }
    }

    fn from_value(value: &Value) -> Result<PathBuf, String> {
        value.as_str().map_or_else(|| wrong("a path", value), Self::from_text)
    }

    fn to_value(&self) -> Option<Value> {
        let text = self.to_string_lossy().into_owned();
        (!text.is_empty()).then_some(Value::String(text))
    }
}

impl Field for ChatDate {
    fn from_text(text: &str) -> Result<ChatDate, String> {
        text.parse()
    }

    fn from_value(value: &Value) -> Result<ChatDate, String> {
        match value {
            Value::Datetime(date) => Self::from_text(&date.to_string()),
            Value::String(text) => Self::from_text(text),
            other => wrong("a date", other),
        }
    }

    fn to_value(&self) -> Option<Value> {
        Some(Value::String(self.to_string()))
    }
}

impl Field for String {
    fn from_text(text: &str) -> Result<String, String> {
        Ok(text.to_string())
    }

    fn from_value(value: &Value) -> Result<String, String> {
        value.as_str().map_or_else(|| wrong("a text", value), Self::from_text)
    }

    fn to_value(&self) -> Option<Value> {
        Some(Value::String(self.clone()))
    }
}

impl Field for Vec<PathBuf> {
    const KIND: KeyKind = KeyKind::List;

    fn from_text(text: &str) -> Result<Vec<PathBuf>, String> {
        text.split(',').map(|part| PathBuf::from_text(part.trim())).collect()
    }

    fn from_value(value: &Value) -> Result<Vec<PathBuf>, String> {
        match value {
            Value::Array(list) => list.iter().map(PathBuf::from_value).collect(),
            one => Ok(vec![PathBuf::from_value(one)?]),
        }
    }

    fn to_value(&self) -> Option<Value> {
        (!self.is_empty()).then(|| Value::Array(self.iter().filter_map(Field::to_value).collect()))
    }
}

impl Field for Vec<String> {
    const KIND: KeyKind = KeyKind::List;

    fn from_text(text: &str) -> Result<Vec<String>, String> {
        let names: Vec<String> = text.split(',').map(|part| part.trim().to_string()).collect();
        if names.iter().any(String::is_empty) { Err("an empty name".to_string()) } else { Ok(names) }
    }

    fn from_value(value: &Value) -> Result<Vec<String>, String> {
        match value {
            Value::Array(list) => list.iter().map(String::from_value).collect(),
            Value::String(text) => Self::from_text(text),
            other => wrong("a list of names", other),
        }
    }

    fn to_value(&self) -> Option<Value> {
        (!self.is_empty()).then(|| Value::Array(self.iter().filter_map(Field::to_value).collect()))
    }
}

impl<T: Field> Field for Option<T> {
    const KIND: KeyKind = T::KIND;

    fn from_text(text: &str) -> Result<Option<T>, String> {
        T::from_text(text).map(Some)
    }

    fn from_value(value: &Value) -> Result<Option<T>, String> {
        T::from_value(value).map(Some)
    }

    fn to_value(&self) -> Option<Value> {
        self.as_ref().and_then(Field::to_value)
    }
}

impl Field for SkipBad {
    fn from_text(text: &str) -> Result<SkipBad, String> {
        text.parse()
    }

    fn from_value(value: &Value) -> Result<SkipBad, String> {
        match value.as_integer().and_then(|n| u64::try_from(n).ok()) {
            Some(most) => Ok(SkipBad::AtMost(most)),
            None => value.as_str().map_or_else(|| wrong("a number of records or \"all\"", value), Self::from_text),
        }
    }

    fn to_value(&self) -> Option<Value> {
        match self {
            SkipBad::All => Some(Value::String(self.to_string())),
            SkipBad::AtMost(most) => most.to_value(),
        }
    }
}

/// Types that are written as one of several words.
macro_rules! words {
    ($($type:ty: $parse:expr, $name:expr;)+) => {$(
        impl Field for $type {
            fn from_text(text: &str) -> Result<Self, String> {
                $parse(text)
            }

            fn from_value(value: &Value) -> Result<Self, String> {
                value.as_str().map_or_else(|| wrong("a name", value), Self::from_text)
            }

            fn to_value(&self) -> Option<Value> {
                Some(Value::String($name(self).to_string()))
            }
        }
    )+};
}

/// Parses one of the listed names.
fn one_of<T: Copy>(text: &str, names: &[(&str, T)]) -> Result<T, String> {
    let found = names.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        format!("{text:?} is unknown; choose {}", known.join(", "))
    })
}

fn name_of<T: Copy + PartialEq>(value: T, names: &[(&'static str, T)]) -> &'static str {
    names.iter().find(|(_, other)| *other == value).map_or("", |(name, _)| name)
}

const TRAINED: &[(&str, Trained)] = &[("adapter", Trained::Adapter), ("all", Trained::All), ("lora", Trained::Lora)];
const SHAPES: &[(&str, NoiseShape)] = &[("isotropic", NoiseShape::Isotropic), ("covariance", NoiseShape::Covariance)];
const JOINS: &[(&str, Join)] = &[("auto", Join::Auto), ("id", Join::Id), ("image", Join::Image)];
const PRECISIONS: &[(&str, Precision)] = &[("f32", Precision::F32), ("mixed", Precision::Mixed)];
const KINDS: &[(&str, ScheduleKind)] =
    &[("cosine", ScheduleKind::Cosine), ("linear", ScheduleKind::Linear), ("constant", ScheduleKind::Constant)];
const ELEMENTS: &[(&str, ElementType)] =
    &[("f32", ElementType::F32), ("f16", ElementType::F16), ("bf16", ElementType::BF16), ("q8_0", ElementType::Q8_0)];

const OPTIMIZERS: &[(&str, MomentType)] = &[("adamw", MomentType::F32), ("adamw8bit", MomentType::Dynamic8)];

const REDUCTIONS: &[(&str, Reduce)] = &[("f32", Reduce::F32), ("bf16", Reduce::Bf16)];

const METRICS: &[(&str, EvalMetric)] = &[
    ("loss", EvalMetric::Loss),
    ("exact_match", EvalMetric::ExactMatch),
    ("lenient_match", EvalMetric::LenientMatch),
    ("f1", EvalMetric::F1),
];

words! {
    EvalMetric: |text| one_of(text, METRICS), |value: &EvalMetric| value.name();
    Trained: |text| one_of(text, TRAINED), |value: &Trained| name_of(*value, TRAINED);
    NoiseShape: |text| one_of(text, SHAPES), |value: &NoiseShape| name_of(*value, SHAPES);
    Reduce: |text| one_of(text, REDUCTIONS), |value: &Reduce| name_of(*value, REDUCTIONS);
    Join: |text| one_of(text, JOINS), |value: &Join| name_of(*value, JOINS);
    ScheduleKind: |text| one_of(text, KINDS), |value: &ScheduleKind| name_of(*value, KINDS);
    Precision: |text| one_of(text, PRECISIONS), |value: &Precision| value.name();
    MomentType: |text| one_of(text, OPTIMIZERS), |value: &MomentType| name_of(*value, OPTIMIZERS);
    ElementType: |text| one_of(text, ELEMENTS), |value: &ElementType| name_of(*value, ELEMENTS);
    Method: Method::from_str, |value: &Method| value.name();
    AdapterKind: |text| AdapterKind::from_str(text).map_err(|e| e.to_string()), |value: &AdapterKind| value.to_string();
}
