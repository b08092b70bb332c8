// Rows in registers: an invocation reads HELD vectors of a row at once, each on its own, so that so many loads are on their way before the
// first is used. A tile is what a team holds at a time. Where WHOLE is 1, it is the row: then it is read once, and all passes find it in
// registers; else each pass reads it again, tile by tile. One of the interchangeable `held_*` files.

override HELD: u32 = 1u;
override WHOLE: u32 = 0u;
// Vectors that an invocation has registers for; HELD is no more.
const MOST: u32 = 8u;

/// Where the tiles of a row end.
fn span() -> u32 {
    return select(params.width4, HELD * LANES, WHOLE == 1u);
}

/// The column of the `k`-th vector that a lane holds of a tile; beyond the row it is not `within`.
fn place(tile: u32, k: u32, lane: u32) -> u32 {
    return tile + k * LANES + lane;
}

fn within(column: u32) -> bool {
    return column < params.width4;
}

/// A column that may be read, whatever becomes of what is there.
fn clamped(column: u32) -> u32 {
    return min(column, params.width4 - 1u);
}
