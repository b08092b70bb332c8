// Tiles of 128 x 128 results from shallow slices: half the workgroup memory, so that more groups run at a time. One of the interchangeable
// `tile_*` files.

const SIDE: u32 = 16u;
const SLICE: u32 = 8u;
const WIDE: bool = true;
const BUFFERS: u32 = 1u;
