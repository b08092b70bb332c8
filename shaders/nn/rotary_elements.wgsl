// Rotary position embedding in place, as `rotary.wgsl`, where heads or halves of what turns are no whole vectors: an invocation has a head, whose
// elements, by pairs at least, are its own, and turns them one by one.

#import "nn/rotary_params.wgsl"

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let row = at / params.heads;
    let first = 4u * row * params.width4 + (at % params.heads) * params.head;
    let vectors = (params.turning + 3u) / 4u;
    for (var v = 0u; v < vectors; v += 1u) {
        let t = turn(positions[row], frequencies[v], frequencies[vectors + v]);
        for (var k = 0u; k < min(4u, params.turning - 4u * v); k += 1u) {
            let sine = params.sine * t.sine[k];
            let cosine = params.cosine * t.cosine[k];
            let place = first + 4u * v + k;
            let a = read_element3(place);
            let b = read_element3(place + params.turning);
            if (index < params.count) {
                write_element3(place, a * cosine - b * sine);
                write_element3(place + params.turning, b * cosine + a * sine);
            }
        }
    }
}

#import "common/elements.wgsl"
