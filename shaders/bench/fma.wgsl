// Multiplies and adds in registers and does nothing else: what the arithmetic units give. 32 FMAs of vectors a round, eight of
// them independent of each other.

struct Params { rounds: u32, factor: f32, summand: f32, }

override GROUP: u32 = 64u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> sums: array<vec4<f32>>;

alias State = array<vec4<f32>, 8>;

fn step(s: ptr<function, State>, x: vec4<f32>, y: vec4<f32>) {
    (*s)[0] = fma((*s)[0], x, y);
    (*s)[1] = fma((*s)[1], x, y);
    (*s)[2] = fma((*s)[2], x, y);
    (*s)[3] = fma((*s)[3], x, y);
    (*s)[4] = fma((*s)[4], x, y);
    (*s)[5] = fma((*s)[5], x, y);
    (*s)[6] = fma((*s)[6], x, y);
    (*s)[7] = fma((*s)[7], x, y);
}

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= arrayLength(&sums)) { return; }
    let x = vec4<f32>(params.factor);
    let y = vec4<f32>(params.summand);
    var s: State;
    for (var k = 0u; k < 8u; k += 1u) { s[k] = vec4<f32>(f32(k), f32(id.x % 4u), 1.0, 0.5); }
    for (var round = 0u; round < params.rounds; round += 1u) {
        step(&s, x, y);
        step(&s, x, y);
        step(&s, x, y);
        step(&s, x, y);
    }
    sums[id.x] = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}
