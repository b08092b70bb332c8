// An invocation to a query, where it is a CPU's vector lane. One of the interchangeable `nearest_*` files.
//
// The lanes of a vector share a loop until the last has left it, and a condition spares none of them its body: hence a small loop over
// candidates that are worse, and one insertion for all lanes that have found a better one.

fn insert(place: u32, found: vec2<u32>) {
    var at = params.k - 1u;
    while (at > 0u) {
        let above = lists[place + at - 1u];
        if (!better(found, above)) { break; }
        lists[place + at] = above;
        at -= 1u;
    }
    lists[place + at] = found;
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let query = (grid.first + group.y * groups.x + group.x) * GROUP + local;
    if (query >= params.queries) { return; }
    let place = (params.query + query) * params.k;
    let own = excluded[params.query + query];
    var worst = lists[place + params.k - 1u];
    var p = params.first;
    while (p < params.end) {
        var keys = vec4<u32>(0u);
        for (; p < params.end; p += 4u) {
            keys = keys4(query, p);
            let indices = vec4<u32>(params.candidate + p) + vec4<u32>(0u, 1u, 2u, 3u);
            let equal = (keys == vec4<u32>(worst.x)) & (indices < vec4<u32>(worst.y));
            if (any((keys > vec4<u32>(worst.x)) | equal)) { break; }
        }
        for (var i = 0u; i < 4u; i += 1u) {
            let found = vec2<u32>(keys[i], params.candidate + p + i);
            if (p + i < params.end && found.y != own && better(found, worst)) {
                insert(place, found);
                worst = lists[place + params.k - 1u];
            }
        }
        p += 4u;
    }
}
