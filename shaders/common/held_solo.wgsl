// Rows where a team is one invocation, a CPU's vector lane: it holds one vector at a time and reads the row again for each pass. One of the
// interchangeable `held_*` files, see `held_team.wgsl`. HELD is 1 and WHOLE is 0.

override HELD: u32 = 1u;
override WHOLE: u32 = 0u;
const MOST: u32 = 1u;

fn span() -> u32 {
    return params.width4;
}

fn place(tile: u32, k: u32, lane: u32) -> u32 {
    return tile;
}

fn within(column: u32) -> bool {
    return true;
}

fn clamped(column: u32) -> u32 {
    return column;
}
