// Integers of 128 bits: four words, the low one first, signed.

fn integer128_plus(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    var sum = a + b;
    // Carries of words that overflowed, the lowest first: a word that a carry overflows is zero then.
    let over = vec4<u32>(sum < a);
    var next = over.x;
    sum.y += next;
    next = over.y | u32(sum.y < next);
    sum.z += next;
    next = over.z | u32(sum.z < next);
    sum.w += next;
    return sum;
}
