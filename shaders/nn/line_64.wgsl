// For heads of up to 64 elements: vectors of four from a row in workgroup memory to the next, 16 bytes more than a row. One of the interchangeable
// `line_*` files.

const LINE: u32 = 18u;
