// Tiles of 64 x 64 results: for small products, which would leave a large GPU idle otherwise. One of the interchangeable `tile_*` files.

const SIDE: u32 = 8u;
const SLICE: u32 = 16u;
const WIDE: bool = true;
const BUFFERS: u32 = 1u;
