//! Values of a GGUF file's metadata.

/// The types of values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::io) enum ValueKind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

impl ValueKind {
    pub fn parse(number: u32) -> Option<ValueKind> {
        use ValueKind as V;
        const ALL: [ValueKind; 13] =
            [V::U8, V::I8, V::U16, V::I16, V::U32, V::I32, V::F32, V::Bool, V::Text, V::Array, V::U64, V::I64, V::F64];
        ALL.get(number as usize).copied()
    }

    #[cfg(feature = "train")]
    pub fn number(self) -> u32 {
        self as u32
    }

    /// Bytes of one in a file; `None` for texts and arrays, which have lengths of their own.
    pub fn bytes(self) -> Option<usize> {
        match self {
            ValueKind::U8 | ValueKind::I8 | ValueKind::Bool => Some(1),
            ValueKind::U16 | ValueKind::I16 => Some(2),
            ValueKind::U32 | ValueKind::I32 | ValueKind::F32 => Some(4),
            ValueKind::U64 | ValueKind::I64 | ValueKind::F64 => Some(8),
            ValueKind::Text | ValueKind::Array => None,
        }
    }
}

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::io) enum Value {
    /// Any of the eight types of integers.
    Integer(i128),
    /// f32 or f64.
    Float(f64),
    Bool(bool),
    Text(String),
    /// Numbers or truth values as they are in the file: arrays are long, and few are asked for.
    Numbers(ValueKind, Vec<u8>),
    Texts(Vec<String>),
    /// An array of arrays, of which no model has use; how many there are.
    Nested(usize),
}

impl Value {
    /// A number or truth value from its little-endian bytes, as many as [`ValueKind::bytes`] says.
    pub fn scalar(kind: ValueKind, raw: &[u8]) -> Option<Value> {
        fn word<const N: usize>(raw: &[u8]) -> Option<[u8; N]> {
            raw.try_into().ok()
        }
        Some(match kind {
            ValueKind::U8 => Value::Integer(u8::from_le_bytes(word(raw)?).into()),
            ValueKind::I8 => Value::Integer(i8::from_le_bytes(word(raw)?).into()),
            ValueKind::U16 => Value::Integer(u16::from_le_bytes(word(raw)?).into()),
            ValueKind::I16 => Value::Integer(i16::from_le_bytes(word(raw)?).into()),
            ValueKind::U32 => Value::Integer(u32::from_le_bytes(word(raw)?).into()),
            ValueKind::I32 => Value::Integer(i32::from_le_bytes(word(raw)?).into()),
            ValueKind::U64 => Value::Integer(u64::from_le_bytes(word(raw)?).into()),
            ValueKind::I64 => Value::Integer(i64::from_le_bytes(word(raw)?).into()),
            ValueKind::F32 => Value::Float(f32::from_le_bytes(word(raw)?).into()),
            ValueKind::F64 => Value::Float(f64::from_le_bytes(word(raw)?)),
            ValueKind::Bool => Value::Bool(raw.first()? != &0),
            ValueKind::Text | ValueKind::Array => return None,
        })
    }

    /// The numbers of an array of integers, floats or truth values (0 and 1).
    pub fn numbers(&self) -> Option<Vec<f64>> {
        let Value::Numbers(kind, raw) = self else { return None };
        let number = |raw: &[u8]| match Value::scalar(*kind, raw)? {
            Value::Integer(n) => Some(n as f64),
            Value::Float(x) => Some(x),
            Value::Bool(b) => Some(f64::from(u8::from(b))),
            _ => None,
        };
        raw.chunks(kind.bytes()?).map(number).collect()
    }

    /// What it is, for messages.
    pub fn describe(&self) -> String {
        match self {
            Value::Integer(n) => n.to_string(),
            Value::Float(x) => x.to_string(),
            Value::Bool(b) => b.to_string(),
            Value::Text(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
            Value::Numbers(kind, raw) => format!("{} numbers", raw.len() / kind.bytes().unwrap_or(1)),
            Value::Texts(list) => format!("{} texts", list.len()),
            Value::Nested(count) => format!("{count} arrays"),
        }
    }
}
