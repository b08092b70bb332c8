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
    let key = block.row * params.key_stride + head_place(head);
    // The queries whose own keys these are.
    let own = vec4<u32>(bitcast<u32>(block.lower)) + vec4<u32>(0u, 1u, 2u, 3u);
    var keys: Rows4;
    load2(&keys, held, key, params.key_stride, 0u);
    var values: Rows4;
    load3(&values, held, key, params.key_stride, 0u);
    var more_keys: Rows4;
    var more_values: Rows4;
    if (WIDTH4 > REST) {
        load2(&more_keys, held, key, params.key_stride, REST);
        load3(&more_values, held, key, params.key_stride, REST);
    }
    var key_gradient: Rows4;
    var value_gradient: Rows4;
    var more_key_gradient: Rows4;
    var more_value_gradient: Rows4;
    let end = end_of_queries(block);
    for (var shared_head = 0u; shared_head < params.shared_by; shared_head += 1u) {
        let query_head = head * params.shared_by + shared_head;
        for (var i = first_query(block); i < end; i += 1u) {
            let row = block.first_query + i;
            let place = row * params.query_stride + head_place(query_head);
            let s = stat(row, query_head);
            var scores = dots1(&keys, place, 0u);
            var slopes = dots4(&values, place, 0u);
            if (WIDTH4 > REST) {
                scores += dots1(&more_keys, place, REST);
                slopes += dots4(&more_values, place, REST);
            }
            let p = select(vec4<f32>(0.0), probability(params.scale * scores - s.x), in_window(vec4<u32>(i) - own));
            let d = p * (slopes - s.y);
            add4(&value_gradient, p, place, 0u);
            add1(&key_gradient, d, place, 0u);
            if (WIDTH4 > REST) {
                add4(&more_value_gradient, p, place, REST);
                add1(&more_key_gradient, d, place, REST);
            }
        }
    }
    if (params.first + index < params.count) {
        let factors = vec4<f32>(params.scale);
        store_rows7(&key_gradient, held, key, params.key_stride, factors, 0u);
        store_rows8(&value_gradient, held, key, params.key_stride, vec4<f32>(1.0), 0u);
        if (WIDTH4 > REST) {
            store_rows7(&more_key_gradient, held, key, params.key_stride, factors, REST);
            store_rows8(&more_value_gradient, held, key, params.key_stride, vec4<f32>(1.0), REST);
        }
    }
}

#import "common/elements.wgsl"
