// Parameters of the kernels that sum over rows, by column: see `columns_*`.

struct Params {
    // Rows of this dispatch: from `first` to before `end`.
    first: u32,
    end: u32,
    // Vectors of four sums.
    width4: u32,
    accumulate: u32,
    // Rows of a slice; each has a row of sums.
    slice: u32,
}

override GROUP: u32 = 64u;
override LANES: u32 = 1u;

@group(0) @binding(0) var<uniform> params: Params;
