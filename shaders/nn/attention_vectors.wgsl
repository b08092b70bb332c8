// Operand $ of attention by vectors of a head that begins at `first`; those beyond it are zeros.

#import "operand" $

fn vector$(first: u32, c: u32) -> vec4<f32> {
    let d = place(c);
    if (PAIR == 0u) { return keep(read$(first + d), c); }
    // Of two entries, where the head begins in the middle of one. The last vector is half a one, whose entry is never beyond the row.
    let at = first / 2u + d;
    let entry = read$(at);
    let next = read$(at + select(0u, 1u, d + 1u < WIDTH4));
    let whole = select(entry, vec4<f32>(entry.zw, next.xy), (first & 1u) == 1u);
    return keep(select(whole, vec4<f32>(whole.xy, 0.0, 0.0), d + 1u == WIDTH4), c);
}
