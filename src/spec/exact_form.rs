//! In which form a device multiplies integers exactly.

use std::fmt;

use crate::ElementType;

/// The form of the integers of an exact product: results have the same bits in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExactForm {
    /// Six digits of 8 bits, four rows to an instruction: `dot4I8Packed` (`kernels::linalg::exact_product`).
    #[default]
    Digits,
    /// Five slices of 9 bits as f32, by the kernels of matrix products (`kernels::linalg::slices`).
    Floats,
    /// The same as f16, which tensor cores multiply where a device has them.
    Halves,
}

impl ExactForm {
    /// All of them.
    pub const ALL: [ExactForm; 3] = [ExactForm::Digits, ExactForm::Floats, ExactForm::Halves];

    /// The elements of slices.
    pub fn slices(self) -> Option<ElementType> {
        match self {
            ExactForm::Digits => None,
            ExactForm::Floats => Some(ElementType::F32),
            ExactForm::Halves => Some(ElementType::F16),
        }
    }

    /// The name in files of tunings.
    pub const fn name(self) -> &'static str {
        match self {
            ExactForm::Digits => "digits",
            ExactForm::Floats => "floats",
            ExactForm::Halves => "halves",
        }
    }

    /// The form of a name.
    pub fn of_name(name: &str) -> Option<ExactForm> {
        ExactForm::ALL.into_iter().find(|form| form.name() == name)
    }
}

impl fmt::Display for ExactForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
