//! Element types of rows on disk and on a device.

use std::fmt;

/// The type of one stored number, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// IEEE half precision.
    F16,
    /// The upper half of an IEEE single.
    BF16,
    /// IEEE single precision.
    F32,
    /// IEEE double precision: files only; devices hold such rows as [`ElementType::Fixed`].
    F64,
    /// 32-bit fixed point with one power-of-two exponent per row: how f64 rows travel to a device, which keeps
    /// 2⁻³¹ of a row's largest element. Never in a file.
    Fixed,
    /// GGUF's blocks of 32 integers of 8 bits with a scale in f16, so that 8.5 bits hold a number: matrices on a device that are only read, in
    /// rows of a multiple of 32.
    Q8_0,
}

impl ElementType {
    /// Bytes of one element; of Q8_0 without its share of the scale.
    pub const fn bytes(self) -> usize {
        match self {
            ElementType::F16 | ElementType::BF16 => 2,
            ElementType::F32 | ElementType::Fixed => 4,
            ElementType::F64 => 8,
            ElementType::Q8_0 => 1,
        }
    }

    /// The name in files, and that callers choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            ElementType::F16 => "f16",
            ElementType::BF16 => "bf16",
            ElementType::F32 => "f32",
            ElementType::F64 => "f64",
            ElementType::Fixed => "fixed",
            ElementType::Q8_0 => "q8_0",
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
