// Tiles of 64 x 64 results from deep slices: half the barriers, twice the workgroup memory. One of the interchangeable `tile_*` files.

const SIDE: u32 = 8u;
const SLICE: u32 = 32u;
