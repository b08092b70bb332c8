// Standard normal numbers by position: Philox 4x32-10 on (row, column / 4), then Box-Muller. Logarithm and sine are our
// own polynomials, for drivers' differ by far more than rounding. The host twin is `host::gaussian`.

#import "common/philox.wgsl"

/// ln(m / 2^24) for 1 <= m <= 2^24.
fn log_fraction(m: u32) -> f32 {
    let bits = bitcast<u32>(f32(m));
    var e = f32(i32(bits >> 23u) - 151);
    var f = bitcast<f32>((bits & 0x7fffffu) | 0x3f800000u);
    if (f > 1.4142135) {
        f *= 0.5;
        e += 1.0;
    }
    // ln f = 2 atanh(z), |z| < 0.172
    let z = (f - 1.0) / (f + 1.0);
    let z2 = z * z;
    let series = 2.0 + z2 * (0.6666667 + z2 * (0.4 + z2 * (0.28571429 + z2 * 0.22222222)));
    return e * 0.6931472 + z * series;
}

/// (cos, sin)(2 pi q / 2^32), by octant.
fn circle(q: u32) -> vec2<f32> {
    let octant = q >> 29u;
    let part = q & 0x1fffffffu;
    let folded = select(part, 0x20000000u - part, (octant & 1u) == 1u);
    let x = f32(folded) * 1.4629180792671596e-9; // 2 pi / 2^32
    let x2 = x * x;
    let s = x * (1.0 + x2 * (-0.16666667 + x2 * (0.008333333 + x2 * (-1.9841270e-4 + x2 * 2.7557319e-6))));
    let c = 1.0 + x2 * (-0.5 + x2 * (0.041666667 + x2 * (-0.0013888889 + x2 * (2.4801587e-5 - x2 * 2.7557319e-7))));
    let swap = ((octant + 1u) & 2u) != 0u;
    let cosine = select(c, s, swap);
    let sine = select(s, c, swap);
    return vec2<f32>(
        select(cosine, -cosine, ((octant + 2u) & 4u) != 0u),
        select(sine, -sine, octant >= 4u),
    );
}

/// Four standard normal numbers.
fn gaussian4(counter: vec4<u32>, key: vec2<u32>) -> vec4<f32> {
    let r = philox(counter, key);
    let radius = sqrt(-2.0 * vec2<f32>(log_fraction((r.x >> 8u) + 1u), log_fraction((r.z >> 8u) + 1u)));
    return vec4<f32>(radius.x * circle(r.y), radius.y * circle(r.w));
}
