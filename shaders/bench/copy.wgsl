// Moves vectors and does nothing else: what memory gives.

struct Params { vectors: u32, }

override GROUP: u32 = 64u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> from_vectors: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> to_vectors: array<vec4<u32>>;

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var i = id.x; i < params.vectors; i += groups.x * GROUP) { to_vectors[i] = from_vectors[i]; }
}
