// Grouped-query attention, causal or not, forward: out = softmax(scale q kT) v, for drivers that run on a CPU.

#import "nn/attention_distances_none.wgsl"
#import "nn/attention_forward.wgsl"
