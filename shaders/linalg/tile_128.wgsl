// Tiles of 128 x 128 results: 16 KiB of workgroup memory. One of the interchangeable `tile_*` files.

const SIDE: u32 = 16u;
const SLICE: u32 = 16u;
const WIDE: bool = true;
const BUFFERS: u32 = 1u;
