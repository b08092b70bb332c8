// Rotary position embedding in place: elements j and j + half of what turns of a head turn by position x frequency j, where heads and halves
// are whole vectors.

#import "nn/rotary_params.wgsl"

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let half4 = params.turning / 4u;
    let j = at % half4;
    let head = (at / half4) % params.heads;
    let row = at / (half4 * params.heads);
    let first = row * params.width4 + head * (params.head / 4u) + j;
    let t = turn(positions[row], frequencies[j], frequencies[half4 + j]);
    let sine = params.sine * t.sine;
    let cosine = params.cosine * t.cosine;
    let a = read3(first);
    let b = read3(first + half4);
    if (index < params.count) {
        write3(first, a * cosine - b * sine);
        write3(first + half4, b * cosine + a * sine);
    }
}

#import "common/elements.wgsl"
