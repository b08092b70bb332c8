// Rows by id: of the table or, where the id's highest bit is set, of the visual rows. An id beyond the rows gives zeros, or with
// `keep` leaves what is there: the other shards of a table in several buffers come after the first.

struct Params {
    count: u32,
    width4: u32,
    table_rows: u32,
    visual_rows: u32,
    // The id of the table's first row.
    first: u32,
    keep: u32,
    // What rows of the table and visual rows are multiplied by.
    scale: f32,
    visual_scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> visual: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> ids: array<u32>;
@group(0) @binding(4) var<storage, read_write> out_rows: array<vec4<f32>>;

#import "table"

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let id = ids[at / params.width4];
    let column = at % params.width4;
    let is_visual = (id & 0x80000000u) != 0u;
    // Before the first row the difference wraps to beyond the last.
    let row = (id & 0x7fffffffu) - select(params.first, 0u, is_visual);
    let from_table = read_table(min(row, params.table_rows - 1u) * params.width4 + column);
    // Without visual rows something else is bound, which has one vector at least.
    let visual_place = min(row, max(params.visual_rows, 1u) - 1u) * params.width4 + column;
    let from_visual = visual[select(0u, visual_place, params.visual_rows > 0u)];
    let known = row < select(params.table_rows, params.visual_rows, is_visual);
    let scaled = select(params.scale * from_table, params.visual_scale * from_visual, is_visual);
    let value = select(vec4<f32>(0.0), scaled, known);
    if (index < params.count && (known || params.keep == 0u)) { out_rows[index] = value; }
}

#import "common/elements.wgsl"
