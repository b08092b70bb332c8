// Attention forward with a term of each score by how far the key is from its query, for drivers that run on a CPU.

#import "nn/attention_distances.wgsl"
#import "nn/attention_forward.wgsl"
