// Result at binding $ of attention by vectors of a head that begins at `first`; those beyond it are left out.

#import "result" $

fn store_vector$(first: u32, c: u32, value: vec4<f32>) {
    if (c >= WIDTH4) { return; }
    if (PAIR == 0u) {
        write$(first + c, value);
    } else {
        write_pair$(first + 2u * c, value.xy);
        if (c + 1u < WIDTH4) { write_pair$(first + 2u * c + 1u, value.zw); }
    }
}
