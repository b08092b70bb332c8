// Cosine and sine of an angle below some thousands of radians: WGSL promises little of its own. The angle 0 has (1, 0) to the bit.
fn circle(angle: f32) -> vec2<f32> {
    let quarters = round(angle * 0.63661975);
    // A quarter turn in three parts, of which the first two are short.
    let rest = ((angle - quarters * 1.5703125) - quarters * 4.837512969970703e-4) - quarters * 7.549789948768648e-8;
    let z = rest * rest;
    let s = rest + rest * z * (-1.6666654611e-1 + z * (8.3321608736e-3 - z * 1.9515295891e-4));
    let c = 1.0 - 0.5 * z + z * z * (4.166664568298827e-2 + z * (-1.388731625493765e-3 + z * 2.443315711809948e-5));
    let quarter = bitcast<u32>(i32(quarters)) & 3u;
    let swapped = select(vec2<f32>(c, s), vec2<f32>(-s, c), (quarter & 1u) == 1u);
    return select(swapped, -swapped, (quarter & 2u) == 2u);
}
