//! Standard normal numbers by position, the twin of `shaders/common/gaussian.wgsl`: Philox 4x32-10 and Box-Muller.

/// Counters that are worked on together, one to a vector lane.
pub const BLOCK: usize = 8;

type Lanes<T> = [T; BLOCK];

/// [`BLOCK`] counters under one key; each of the four words as lanes.
#[inline(always)]
fn philox(mut c: [Lanes<u32>; 4], mut k: [u32; 2]) -> [Lanes<u32>; 4] {
    for _ in 0..10 {
        #[expect(clippy::needless_range_loop, reason = "four arrays by one index")]
        for i in 0..BLOCK {
            let p0 = u64::from(0xD251_1F53_u32) * u64::from(c[0][i]);
            let p1 = u64::from(0xCD9E_8D57_u32) * u64::from(c[2][i]);
            let (a, b) = ((p1 >> 32) as u32 ^ c[1][i] ^ k[0], (p0 >> 32) as u32 ^ c[3][i] ^ k[1]);
            (c[0][i], c[1][i], c[2][i], c[3][i]) = (a, p1 as u32, b, p0 as u32);
        }
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

/// The four random words of each of the [`BLOCK`] counters from `first` on, in order, under `key`; `rest` are the counters' other words.
#[inline(always)]
pub(crate) fn words(first: u32, rest: [u32; 3], key: [u32; 2]) -> [u32; 4 * BLOCK] {
    let counters = std::array::from_fn(|i| first.wrapping_add(i as u32));
    let r = philox([counters, [rest[0]; BLOCK], [rest[1]; BLOCK], [rest[2]; BLOCK]], key);
    std::array::from_fn(|j| r[j % 4][j / 4])
}

/// ln(m / 2²⁴) for 1 <= m <= 2²⁴.
#[inline(always)]
fn log_fraction(m: u32) -> f32 {
    // Signed: below 2^31 the same number, and AVX2 converts no unsigned ones.
    let bits = (m as i32 as f32).to_bits();
    let e = ((bits >> 23) as i32 - 151) as f32;
    let f = f32::from_bits((bits & 0x7f_ffff) | 0x3f80_0000);
    let above = f > std::f32::consts::SQRT_2;
    let (f, e) = (if above { f * 0.5 } else { f }, if above { e + 1.0 } else { e });
    let z = (f - 1.0) / (f + 1.0);
    let z2 = z * z;
    let series = 2.0 + z2 * (0.666_666_7 + z2 * (0.4 + z2 * (0.285_714_3 + z2 * 0.222_222_22)));
    e * std::f32::consts::LN_2 + z * series
}

/// (cos, sin)(2 pi q / 2³²), by octant.
#[inline(always)]
fn circle(q: u32) -> [f32; 2] {
    let octant = q >> 29;
    let part = q & 0x1fff_ffff;
    let folded = if octant % 2 == 1 { 0x2000_0000 - part } else { part };
    let x = folded as i32 as f32 * 1.462_918_1e-9;
    let x2 = x * x;
    let s = x * (1.0 + x2 * (-0.166_666_67 + x2 * (0.008_333_333 + x2 * (-1.984_127e-4 + x2 * 2.755_731_9e-6))));
    let c =
        1.0 + x2 * (-0.5 + x2 * (0.041_666_668 + x2 * (-0.001_388_888_9 + x2 * (2.480_158_7e-5 - x2 * 2.755_732e-7))));
    let (cosine, sine) = if (octant + 1) & 2 != 0 { (s, c) } else { (c, s) };
    [if (octant + 2) & 4 != 0 { -cosine } else { cosine }, if octant >= 4 { -sine } else { sine }]
}

/// Standard normal numbers for the [`BLOCK`] groups of four columns from `first` (column / 4) on, in order, of `row` under
/// `key`. What lies beyond the row's end is as good as the rest, and not used.
#[inline(always)]
pub fn gaussians(row: u64, first: u32, key: [u32; 2]) -> [f32; 4 * BLOCK] {
    let columns = std::array::from_fn(|i| first.wrapping_add(i as u32));
    let r = philox([[row as u32; BLOCK], [(row >> 32) as u32; BLOCK], columns, [0; BLOCK]], key);
    let mut g = [[0f32; BLOCK]; 4];
    for half in [0, 2] {
        for i in 0..BLOCK {
            let radius = (-2.0 * log_fraction((r[half][i] >> 8) + 1)).sqrt();
            let [cosine, sine] = circle(r[half + 1][i]);
            (g[half][i], g[half + 1][i]) = (radius * cosine, radius * sine);
        }
    }
    std::array::from_fn(|j| g[j % 4][j / 4])
}

/// Four standard normal numbers of `row` for columns `4 column` and up, under `key`.
pub fn gaussian4(row: u64, column: u32, key: [u32; 2]) -> [f32; 4] {
    let [a, b, c, d, ..] = gaussians(row, column, key);
    [a, b, c, d]
}

/// `count` standard normal numbers of a seed; each `stream` has its own.
pub fn normals(count: usize, seed: u64, stream: u64) -> Vec<f32> {
    let key = [seed as u32, (seed >> 32) as u32];
    let blocks = (0..count.div_ceil(4) as u32).step_by(BLOCK);
    let mut out: Vec<f32> = blocks.flat_map(|first| gaussians(stream, first, key)).collect();
    out.truncate(count);
    out
}

/// `count` numbers of a seed, uniform in (0, 1); each `stream` has its own.
pub fn uniforms(count: usize, seed: u64, stream: u64) -> Vec<f32> {
    let key = [seed as u32, (seed >> 32) as u32];
    let counter = |i: u32| [stream as u32, (stream >> 32) as u32, i, 1];
    let words = (0..count.div_ceil(4) as u32).flat_map(|i| philox(counter(i).map(|w| [w; BLOCK]), key).map(|w| w[0]));
    words.take(count).map(|w| ((w >> 8) as f32 + 0.5) / 16_777_216.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published known answer of Random123 for a zero counter and key.
    #[test]
    fn philox_known_answers() {
        let zero = [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8];
        assert_eq!(philox([[0; BLOCK]; 4], [0; 2]), zero.map(|word| [word; BLOCK]));
        let ones = [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd];
        assert_eq!(philox([[u32::MAX; BLOCK]; 4], [u32::MAX; 2]), ones.map(|word| [word; BLOCK]));
    }

    #[test]
    fn normals_are_those_of_their_columns() {
        for count in [0, 1, 4, 31, 32, 33, 70] {
            let want: Vec<f32> = (0..18).flat_map(|i| gaussian4(9, i, [7, 0])).take(count).collect();
            assert_eq!(normals(count, 7, 9), want);
        }
    }

    #[test]
    fn polynomials_are_accurate_to_rounding() {
        for i in 0..20_000u32 {
            let q = i.wrapping_mul(214_748);
            let angle = f64::from(q) / 4_294_967_296.0 * std::f64::consts::TAU;
            let [c, s] = circle(q);
            assert!((f64::from(c) - angle.cos()).abs() < 3e-7 && (f64::from(s) - angle.sin()).abs() < 3e-7, "{q}");
            let m = (i * 838 + 1).min(1 << 24);
            let exact = (f64::from(m) / 16_777_216.0).ln();
            assert!((f64::from(log_fraction(m)) - exact).abs() < 1e-6 * (1.0 + exact.abs()), "{m}");
        }
    }

    #[test]
    fn four_moments_of_the_normal_distribution() {
        let n = 250_000u32;
        let mut m = [0f64; 4];
        for i in 0..n {
            for g in gaussian4(u64::from(i), 7, [1, 2]) {
                let g = f64::from(g);
                m.iter_mut().zip([g, g * g, g.powi(3), g.powi(4)]).for_each(|(m, p)| *m += p);
            }
        }
        let n = 4.0 * f64::from(n);
        // Five standard errors of each moment: sqrt of 1, 2, 15, 96 over sqrt(n).
        for ((m, want), variance) in m.iter().zip([0.0, 1.0, 0.0, 3.0]).zip([1.0, 2.0, 15.0, 96.0f64]) {
            assert!((m / n - want).abs() < 5.0 * (variance / n).sqrt(), "{m} {want}");
        }
    }
}
