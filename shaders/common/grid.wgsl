// The part of a kernel's grid that a dispatch runs, so that no dispatch runs long. The engine writes it behind the parameters, in
// the same block of 256 bytes.

struct Grid {
    parameters: array<vec4<u32>, 15>,
    // Workgroups of the dispatches before, and of the whole grid.
    first: u32,
    groups: u32,
}

@group(0) @binding(15) var<uniform> grid: Grid;
