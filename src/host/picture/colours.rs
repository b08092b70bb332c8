//! Twin of `shaders/picture/colours.wgsl`.

/// How a pixel's word is read. Its lowest byte is red, then come green, blue and alpha.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Colours are laid over white by their alpha; else alpha is left aside.
    pub over_white: bool,
    /// The lowest byte is blue and the third is red, as in `Bgra8Unorm`.
    pub blue_first: bool,
}

impl Reading {
    /// As the parameter blocks have it.
    pub(crate) fn bits(self) -> u32 {
        u32::from(self.over_white) | u32::from(self.blue_first) << 1
    }

    pub(crate) fn of_bits(bits: u32) -> Reading {
        Reading { over_white: bits & 1 != 0, blue_first: bits & 2 != 0 }
    }

    /// Red, green and blue of a word.
    pub fn colours(self, word: u32) -> [u8; 3] {
        let [r, g, b, a] = word.to_le_bytes();
        let ordered = if self.blue_first { [b, g, r] } else { [r, g, b] };
        if self.over_white { ordered.map(|x| over_white(x, a)) } else { ordered }
    }
}

/// A colour with an opacity over white, in Pillow's integers (`alpha_composite`).
pub fn over_white(x: u8, a: u8) -> u8 {
    /// Bits behind the point.
    const BITS: u32 = 7;
    let (source, white) = (u32::from(a) << BITS, u32::from(255 - a) << BITS);
    let sum = u32::from(x) * source + 255 * white + (0x80 << BITS);
    // Divided by 255, then cut; it never exceeds 255.
    ((((sum >> 8) + sum) >> 8) >> BITS) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opacity_over_white() {
        for x in 0..=255u8 {
            assert_eq!((over_white(x, 255), over_white(x, 0)), (x, 255));
            let exact = (f64::from(x) * 128.0 + 255.0 * 127.0) / 255.0;
            assert!((f64::from(over_white(x, 128)) - exact).abs() <= 0.51, "{x}");
        }
    }
}
