//! The types of numbers in GGUF files: which there are, and which are read.

use crate::ElementType;

/// A type whose numbers are read. The quantised ones hold blocks of 32 or 256 numbers with scales of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::io) enum Kind {
    F32,
    F16,
    BF16,
    F64,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

/// Number in files, name, numbers of a block, bytes of a block.
const READ: [(u32, Kind, &str, usize, usize); 14] = [
    (0, Kind::F32, "F32", 1, 4),
    (1, Kind::F16, "F16", 1, 2),
    (2, Kind::Q4_0, "Q4_0", 32, 18),
    (3, Kind::Q4_1, "Q4_1", 32, 20),
    (6, Kind::Q5_0, "Q5_0", 32, 22),
    (7, Kind::Q5_1, "Q5_1", 32, 24),
    (8, Kind::Q8_0, "Q8_0", 32, 34),
    (10, Kind::Q2K, "Q2_K", 256, 84),
    (11, Kind::Q3K, "Q3_K", 256, 110),
    (12, Kind::Q4K, "Q4_K", 256, 144),
    (13, Kind::Q5K, "Q5_K", 256, 176),
    (14, Kind::Q6K, "Q6_K", 256, 210),
    (28, Kind::F64, "F64", 1, 8),
    (30, Kind::BF16, "BF16", 1, 2),
];

/// Types that there are and that are not read, so that a refusal can name them.
const OTHERS: [(u32, &str); 23] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
];

impl Kind {
    /// The type of this number, or what to call it.
    pub fn parse(number: u32) -> Result<Kind, String> {
        match READ.iter().find(|(n, ..)| *n == number) {
            Some((_, kind, ..)) => Ok(*kind),
            None => {
                let name = OTHERS.iter().find(|(n, _)| *n == number).map(|(_, name)| (*name).to_owned());
                Err(name.unwrap_or_else(|| format!("type {number}, which is unknown")))
            }
        }
    }

    fn row(self) -> &'static (u32, Kind, &'static str, usize, usize) {
        // Invariant: every kind has a row.
        READ.iter().find(|(_, kind, ..)| *kind == self).unwrap_or(&READ[0])
    }

    /// Its number in files.
    #[cfg(feature = "train")]
    pub fn number(self) -> u32 {
        self.row().0
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Numbers of a block; rows of a tensor are whole blocks.
    pub fn block(self) -> usize {
        self.row().3
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        self.row().4
    }

    /// The float type that holds its numbers exactly: its own, or f32 for a quantised one.
    pub fn element(self) -> ElementType {
        match self {
            Kind::F16 => ElementType::F16,
            Kind::BF16 => ElementType::BF16,
            Kind::F64 => ElementType::F64,
            _ => ElementType::F32,
        }
    }
}
