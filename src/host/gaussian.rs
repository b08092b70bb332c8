//! Standard normal numbers by position, the twin of `shaders/common/gaussian.wgsl`: Philox 4x32-10 and Box-Muller.

fn philox(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let p0 = u64::from(0xD251_1F53_u32) * u64::from(c[0]);
        let p1 = u64::from(0xCD9E_8D57_u32) * u64::from(c[2]);
        c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

/// ln(m / 2²⁴) for 1 <= m <= 2²⁴.
fn log_fraction(m: u32) -> f32 {
    let bits = (m as f32).to_bits();
    let mut e = ((bits >> 23) as i32 - 151) as f32;
    let mut f = f32::from_bits((bits & 0x7f_ffff) | 0x3f80_0000);
    if f > std::f32::consts::SQRT_2 {
        f *= 0.5;
        e += 1.0;
    }
    let z = (f - 1.0) / (f + 1.0);
    let z2 = z * z;
    let series = 2.0 + z2 * (0.666_666_7 + z2 * (0.4 + z2 * (0.285_714_3 + z2 * 0.222_222_22)));
    e * std::f32::consts::LN_2 + z * series
}

/// (cos, sin)(2 pi q / 2³²), by octant.
fn circle(q: u32) -> [f32; 2] {
    let octant = q >> 29;
    let part = q & 0x1fff_ffff;
    let folded = if octant % 2 == 1 { 0x2000_0000 - part } else { part };
    let x = folded as f32 * 1.462_918_1e-9;
    let x2 = x * x;
    let s = x * (1.0 + x2 * (-0.166_666_67 + x2 * (0.008_333_333 + x2 * (-1.984_127e-4 + x2 * 2.755_731_9e-6))));
    let c =
        1.0 + x2 * (-0.5 + x2 * (0.041_666_668 + x2 * (-0.001_388_888_9 + x2 * (2.480_158_7e-5 - x2 * 2.755_732e-7))));
    let (cosine, sine) = if (octant + 1) & 2 != 0 { (s, c) } else { (c, s) };
    [if (octant + 2) & 4 != 0 { -cosine } else { cosine }, if octant >= 4 { -sine } else { sine }]
}

/// Four standard normal numbers at `counter` (row low, row high, column / 4, 0) under `key`.
pub fn gaussian4(counter: [u32; 4], key: [u32; 2]) -> [f32; 4] {
    let r = philox(counter, key);
    let radius = |m: u32| (-2.0 * log_fraction((m >> 8) + 1)).sqrt();
    let ([c0, s0], [c1, s1]) = (circle(r[1]), circle(r[3]));
    [radius(r[0]) * c0, radius(r[0]) * s0, radius(r[2]) * c1, radius(r[2]) * s1]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published known answer of Random123 for a zero counter and key.
    #[test]
    fn philox_known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
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
        let n = 250_000;
        let mut m = [0f64; 4];
        for i in 0..n {
            for g in gaussian4([i, 0, 7, 0], [1, 2]) {
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
