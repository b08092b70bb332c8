//! Rows of zeros: what a memory-mapped file that was allocated too large, or a download that failed, leaves behind.

use super::NonFinite;
use super::ingest::decode;
use crate::ElementType;

/// Rows of norm below this count as zero, here as in the moments.
const TINY: f64 = 1e-10;

/// Rows of zeros in a source, as far as it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZeroRows {
    /// How many there are.
    pub count: u64,
    /// The first one's index in the source.
    pub first: Option<u64>,
    /// How many of them come after the last row that is not zero.
    pub at_end: u64,
    /// Rows looked at.
    seen: u64,
}

impl ZeroRows {
    /// Looks at tight rows of `width` numbers, the first of index `start`; those that were seen before are passed over.
    pub(super) fn look(
        &mut self,
        rows: &[u8],
        start: u64,
        (width, element): (usize, ElementType),
        nonfinite: NonFinite,
    ) {
        for (row, index) in rows.chunks_exact(width * element.bytes()).zip(start..) {
            if index < self.seen {
                continue;
            }
            self.seen = index + 1;
            if !is_zero(row, element, nonfinite) {
                self.at_end = 0;
                continue;
            }
            self.count += 1;
            self.at_end += 1;
            self.first.get_or_insert(index);
        }
    }
}

/// Whether a row counts as zero. The first number tells of nearly every row that it does not.
fn is_zero(row: &[u8], element: ElementType, nonfinite: NonFinite) -> bool {
    let mut square = 0.0;
    for number in row.chunks_exact(element.bytes()) {
        let value = decode(number, element);
        let value = if nonfinite == NonFinite::Zero && !value.is_finite() { 0.0 } else { value };
        if value.is_nan() || value.abs() >= TINY {
            return false;
        }
        square += value * value;
    }
    square < TINY * TINY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(rows: &[f32], starts: &[usize], nonfinite: NonFinite) -> ZeroRows {
        let mut zero = ZeroRows::default();
        for start in starts {
            zero.look(bytemuck::cast_slice(&rows[start * 2..]), *start as u64, (2, ElementType::F32), nonfinite);
        }
        zero
    }

    #[test]
    fn rows_are_counted_once_in_any_number_of_passes() {
        let rows = [1.0, 0.0, 0.0, -0.0, 0.0, 1e-9, 1e-11, -1e-11, 0.0, 0.0];
        for starts in [&[0][..], &[0, 0, 0], &[0, 2, 4]] {
            let zero = look(&rows, starts, NonFinite::Error);
            assert_eq!((zero.count, zero.first, zero.at_end), (3, Some(1), 2), "{starts:?}");
        }
        // Two numbers below the bound whose norm is above it.
        assert_eq!(look(&[9e-11, 9e-11], &[0], NonFinite::Error).count, 0);
    }

    #[test]
    fn numbers_that_are_none_are_zero_where_they_are_read_as_such() {
        let rows = [f32::NAN, 0.0, f32::INFINITY, f32::NAN, f32::NAN, 1.0];
        assert_eq!(look(&rows, &[0], NonFinite::Error).count, 0);
        assert_eq!(look(&rows, &[0], NonFinite::Zero).count, 2);
    }
}
