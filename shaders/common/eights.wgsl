// Operand $: f16, eight elements to an entry.

@group(0) @binding($) var<storage, read> operand$: array<Eight>;
