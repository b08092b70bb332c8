// Matrix product for adapters whose subgroups are a CPU's vectors: a subgroup of 8 makes 32 x 32 results, each invocation four
// columns of it. A row of op(A) is read by one invocation and broadcast, which is one instruction there, where reading it takes
// a hundred; results are variables, not an array, and every index is a constant, so that they stay in registers.

#import "linalg/blocks.wgsl"

const SIDE: u32 = 32u;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let row = (group.y + params.first_tile) * SIDE;
    let column = (group.x + params.first_column) * SIDE;
    if (UPPER == 1u && column + SIDE <= row) { return; }
    let i4 = row / 4u + lane;
    let j4 = column / 4u + lane;
    var r0 = vec4<f32>(0.0);
    var r1 = vec4<f32>(0.0);
    var r2 = vec4<f32>(0.0);
    var r3 = vec4<f32>(0.0);
    var r4 = vec4<f32>(0.0);
    var r5 = vec4<f32>(0.0);
    var r6 = vec4<f32>(0.0);
    var r7 = vec4<f32>(0.0);
    var r8 = vec4<f32>(0.0);
    var r9 = vec4<f32>(0.0);
    var r10 = vec4<f32>(0.0);
    var r11 = vec4<f32>(0.0);
    var r12 = vec4<f32>(0.0);
    var r13 = vec4<f32>(0.0);
    var r14 = vec4<f32>(0.0);
    var r15 = vec4<f32>(0.0);
    var r16 = vec4<f32>(0.0);
    var r17 = vec4<f32>(0.0);
    var r18 = vec4<f32>(0.0);
    var r19 = vec4<f32>(0.0);
    var r20 = vec4<f32>(0.0);
    var r21 = vec4<f32>(0.0);
    var r22 = vec4<f32>(0.0);
    var r23 = vec4<f32>(0.0);
    var r24 = vec4<f32>(0.0);
    var r25 = vec4<f32>(0.0);
    var r26 = vec4<f32>(0.0);
    var r27 = vec4<f32>(0.0);
    var r28 = vec4<f32>(0.0);
    var r29 = vec4<f32>(0.0);
    var r30 = vec4<f32>(0.0);
    var r31 = vec4<f32>(0.0);
    let end = (params.k + 3u) / 4u;
    for (var k4 = params.k_first / 4u; k4 < end; k4 += 1u) {
        let b = block_b(k4, j4);
        // Column i is row 4 lane + i.
        let a = masked_a(i4, k4);
        r0 += b * subgroupBroadcast(a[0], 0u);
        r1 += b * subgroupBroadcast(a[1], 0u);
        r2 += b * subgroupBroadcast(a[2], 0u);
        r3 += b * subgroupBroadcast(a[3], 0u);
        r4 += b * subgroupBroadcast(a[0], 1u);
        r5 += b * subgroupBroadcast(a[1], 1u);
        r6 += b * subgroupBroadcast(a[2], 1u);
        r7 += b * subgroupBroadcast(a[3], 1u);
        r8 += b * subgroupBroadcast(a[0], 2u);
        r9 += b * subgroupBroadcast(a[1], 2u);
        r10 += b * subgroupBroadcast(a[2], 2u);
        r11 += b * subgroupBroadcast(a[3], 2u);
        r12 += b * subgroupBroadcast(a[0], 3u);
        r13 += b * subgroupBroadcast(a[1], 3u);
        r14 += b * subgroupBroadcast(a[2], 3u);
        r15 += b * subgroupBroadcast(a[3], 3u);
        r16 += b * subgroupBroadcast(a[0], 4u);
        r17 += b * subgroupBroadcast(a[1], 4u);
        r18 += b * subgroupBroadcast(a[2], 4u);
        r19 += b * subgroupBroadcast(a[3], 4u);
        r20 += b * subgroupBroadcast(a[0], 5u);
        r21 += b * subgroupBroadcast(a[1], 5u);
        r22 += b * subgroupBroadcast(a[2], 5u);
        r23 += b * subgroupBroadcast(a[3], 5u);
        r24 += b * subgroupBroadcast(a[0], 6u);
        r25 += b * subgroupBroadcast(a[1], 6u);
        r26 += b * subgroupBroadcast(a[2], 6u);
        r27 += b * subgroupBroadcast(a[3], 6u);
        r28 += b * subgroupBroadcast(a[0], 7u);
        r29 += b * subgroupBroadcast(a[1], 7u);
        r30 += b * subgroupBroadcast(a[2], 7u);
        r31 += b * subgroupBroadcast(a[3], 7u);
    }
    put(row, j4, r0);
    put(row + 1u, j4, r1);
    put(row + 2u, j4, r2);
    put(row + 3u, j4, r3);
    put(row + 4u, j4, r4);
    put(row + 5u, j4, r5);
    put(row + 6u, j4, r6);
    put(row + 7u, j4, r7);
    put(row + 8u, j4, r8);
    put(row + 9u, j4, r9);
    put(row + 10u, j4, r10);
    put(row + 11u, j4, r11);
    put(row + 12u, j4, r12);
    put(row + 13u, j4, r13);
    put(row + 14u, j4, r14);
    put(row + 15u, j4, r15);
    put(row + 16u, j4, r16);
    put(row + 17u, j4, r17);
    put(row + 18u, j4, r18);
    put(row + 19u, j4, r19);
    put(row + 20u, j4, r20);
    put(row + 21u, j4, r21);
    put(row + 22u, j4, r22);
    put(row + 23u, j4, r23);
    put(row + 24u, j4, r24);
    put(row + 25u, j4, r25);
    put(row + 26u, j4, r26);
    put(row + 27u, j4, r27);
    put(row + 28u, j4, r28);
    put(row + 29u, j4, r29);
    put(row + 30u, j4, r30);
    put(row + 31u, j4, r31);
}
