// Sine and cosine of a position's angles.
//
// Frequencies are fractions of a turn in 64 bits, so that the angle is exact modulo a turn whatever the position, and sine and
// cosine are polynomials: WGSL promises little of its own beyond pi.

struct Turn {
    sine: vec4<f32>,
    cosine: vec4<f32>,
}

// Upper words of the products of 32 bits by 32.
fn product_high(a: u32, b: vec4<u32>) -> vec4<u32> {
    let a0 = vec4<u32>(a & 0xffffu);
    let a1 = vec4<u32>(a >> 16u);
    let b0 = b & vec4<u32>(0xffffu);
    let b1 = b >> vec4<u32>(16u);
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> vec4<u32>(16u));
    let other = a0 * b1 + (middle & vec4<u32>(0xffffu));
    return a1 * b1 + (middle >> vec4<u32>(16u)) + (other >> vec4<u32>(16u));
}

// Of four frequencies, by their high and low words.
fn turn(position: u32, high: vec4<u32>, low: vec4<u32>) -> Turn {
    let turns = position * high + product_high(position, low);
    // The nearest quarter turn, and the rest in [-pi / 4, pi / 4].
    let quarter = (turns + vec4<u32>(0x20000000u)) >> vec4<u32>(30u);
    let angle = vec4<f32>(bitcast<vec4<i32>>(turns - (quarter << vec4<u32>(30u)))) * 1.4629180792671596e-9;
    let z = angle * angle;
    let s = angle + angle * z * (-1.6666654611e-1 + z * (8.3321608736e-3 - z * 1.9515295891e-4));
    let c = 1.0 - 0.5 * z + z * z * (4.166664568298827e-2 + z * (-1.388731625493765e-3 + z * 2.443315711809948e-5));
    let swap = (quarter & vec4<u32>(1u)) == vec4<u32>(1u);
    let sine = select(s, c, swap);
    let cosine = select(c, -s, swap);
    let negative = (quarter & vec4<u32>(2u)) == vec4<u32>(2u);
    return Turn(select(sine, -sine, negative), select(cosine, -cosine, negative));
}
