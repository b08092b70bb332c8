// What the two passes of phases' noise share: the block, and where a row begins.

struct Params {
    // Planes of all rows.
    count: u32,
    // Of a row.
    planes: u32,
    // Vectors of a row of features, of the drift's parts, and of noise.
    features4: u32,
    drift4: u32,
    noise4: u32,
    // The drift's step.
    tau: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
