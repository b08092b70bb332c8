// Sums over rows, by column, where an invocation is a CPU's vector lane: each has four columns. The order is fixed. One of the
// interchangeable `columns_*` files.

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    for (var first = group.x * GROUP; first < params.width4; first += groups.x * GROUP) {
        let column = min(first + local, params.width4 - 1u);
        let start = params.first + group.y * params.slice;
        let end = min(start + params.slice, params.end);
        // In slabs, whose sums err less than one long sum.
        var total = vec4<f32>(0.0);
        for (var slab = start; slab < end; slab += 256u) {
            var sum = vec4<f32>(0.0);
            for (var row = slab; row < min(slab + 256u, end); row += 1u) { sum += term(row, column); }
            total += sum;
        }
        if (first + local < params.width4) {
            let place = group.y * params.width4 + column;
            let before = sums[place];
            sums[place] = select(total, before + total, params.accumulate == 1u);
        }
    }
}
