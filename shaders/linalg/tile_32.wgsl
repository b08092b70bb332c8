// Tiles of 32 x 32 results, 4 x 4 to an invocation: for products too small to fill a GPU otherwise. One of the interchangeable `tile_*` files.

const SIDE: u32 = 8u;
const SLICE: u32 = 16u;
const WIDE: bool = false;
const BUFFERS: u32 = 1u;
