// A workgroup to a query, for GPUs: candidates that are better than the worst of the list come into workgroup memory, where each counts
// those before it, list and candidates alike, which is its place in the new list. One of the interchangeable `nearest_*` files.
//
// Of a block about as many are better as the list is long, if it is not larger than what was seen before: hence blocks that grow.

// The longest list.
const MOST: u32 = 256u;
// The list before and after.
var<workgroup> best: array<vec2<u32>, 512>;
// The first block; the kernel's wrapper knows it too.
const START: u32 = 64u;
// Of a block of candidates, at most four to an invocation, those that are better.
var<workgroup> met: array<vec2<u32>, 1024>;
var<workgroup> count: atomic<u32>;

fn meet(query: u32, p: u32, end: u32, own: u32, worst: vec2<u32>) {
    if (p >= end) { return; }
    let keys = keys4(query, p);
    for (var i = 0u; i < 4u; i += 1u) {
        let found = vec2<u32>(keys[i], params.candidate + p + i);
        if (p + i < end && found.y != own && better(found, worst)) {
            met[atomicAdd(&count, 1u)] = found;
        }
    }
}

fn merge(before: u32, after: u32, added: u32, local: u32) {
    for (var i = local; i < params.k + added; i += GROUP) {
        var entry = best[before + min(i, params.k - 1u)];
        var rank = i;
        if (i >= params.k) {
            entry = met[i - params.k];
            rank = 0u;
            // What is as good was there before: a candidate that is met again comes behind itself, and every place gets an entry.
            for (var j = 0u; j < params.k; j += 1u) { rank += select(1u, 0u, better(entry, best[before + j])); }
        }
        for (var j = 0u; j < added; j += 1u) { rank += select(0u, 1u, better(met[j], entry)); }
        if (rank < params.k) { best[after + rank] = entry; }
    }
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let unit = grid.first + group.y * groups.x + group.x;
    let query = min(unit, params.queries - 1u);
    let place = (params.query + query) * params.k;
    let own = excluded[params.query + query];
    for (var i = local; i < params.k; i += GROUP) { best[i] = lists[place + i]; }
    if (local == 0u) { atomicStore(&count, 0u); }
    workgroupBarrier();
    var before = 0u;
    var end = params.first;
    for (var first = params.first; first < params.end; first = end) {
        end = min(first + min(max(first - params.first, START), 4u * GROUP), params.end);
        meet(query, first + 4u * local, end, own, best[before + params.k - 1u]);
        workgroupBarrier();
        let added = atomicLoad(&count);
        if (added > 0u) {
            merge(before, MOST - before, added, local);
            before = MOST - before;
        }
        workgroupBarrier();
        if (local == 0u) { atomicStore(&count, 0u); }
        workgroupBarrier();
    }
    if (unit >= params.queries) { return; }
    for (var i = local; i < params.k; i += GROUP) { lists[place + i] = best[before + i]; }
}
