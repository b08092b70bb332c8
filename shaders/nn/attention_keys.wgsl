// Gradients of attention by keys and values: 4 keys of one head to an invocation, which goes over all queries that see them in a fixed
// order: dv = sum_i p_i dout_i, dk = scale sum_i p_i (dout_i . v - dout_i . out_i) q_i.

#import "nn/attention_rows.wgsl"
#import "nn/attention_operand.wgsl" 1
#import "nn/attention_operand.wgsl" 2
#import "nn/attention_operand.wgsl" 3
#import "nn/attention_operand.wgsl" 4
#import "nn/attention_stat.wgsl"
@group(0) @binding(6) var<storage, read> blocks: array<Keys>;
#import "nn/attention_result.wgsl" 7
#import "nn/attention_result.wgsl" 8

fn element(index: u32) {
    let at = min(params.first + index, params.count - 1u);
    let key_heads = params.heads / params.shared_by;
    let head = at % key_heads;
    let block = blocks[at / key_heads];
    let held = block.rows;
    let key = block.row * params.key4 + head * WIDTH4;
    let lower = vec4<i32>(block.lower) + vec4<i32>(0, 1, 2, 3);
    var keys: Rows4;
    load2(&keys, held, key, params.key4);
    var values: Rows4;
    load3(&values, held, key, params.key4);
    var key_gradient: Rows4;
    var value_gradient: Rows4;
    for (var shared_head = 0u; shared_head < params.shared_by; shared_head += 1u) {
        let query_head = head * params.shared_by + shared_head;
        for (var i = u32(max(block.lower, 0)); i < block.queries; i += 1u) {
            let row = block.first_query + i;
            let place = row * params.query4 + query_head * WIDTH4;
            let s = stat(row, query_head);
            let sees = vec4<i32>(i32(i)) >= lower;
            let score = params.scale * dots1(&keys, place) - s.x;
            let p = select(vec4<f32>(0.0), probability(score), sees);
            add4(&value_gradient, p, place);
            add1(&key_gradient, p * (dots4(&values, place) - s.y), place);
        }
    }
    if (params.first + index < params.count) {
        store_rows7(&key_gradient, held, key, params.key4, vec4<f32>(params.scale));
        store_rows8(&value_gradient, held, key, params.key4, vec4<f32>(1.0));
    }
}

#import "common/elements.wgsl"
