// Grouped-query attention, causal or not, forward, for GPUs.

#import "nn/attention_distances_none.wgsl"
#import "nn/attention_forward_tiled.wgsl"
