//! Why the kernels' indices are in range: what their shaders and the wrappers that record them see to together. wgpu's checks are left out
//! of what these reasons stand for, so that a change of a shader or of a wrapper's checks has to keep them true.
//!
//! Of all of them: a wrapper records nothing where there is nothing to do, so that no count is zero; divisors are counts, widths, heads or
//! constants; loops count up to a parameter by a step above zero; every word of workgroup memory is written before it is read. Tensors fill
//! up rows to whole vectors of four elements.

/// An invocation's index is clamped below `count`, and every other index is made of it; the wrapper checks that the operands hold as many.
pub(crate) const ELEMENTS: &str = "indices are clamped below the count, which every operand holds";

/// As [`ELEMENTS`]; spans have a row at least and end at the operand's last, which the wrapper checks against the list that they are made of.
pub(crate) const SPANS: &str = "indices are clamped below the count, and spans end at the operand's rows";

/// An invocation's index is clamped below `count`; its sum's pixels are those of an entry of the table, which end at the picture's side: the
/// wrapper checks the table's when it is made, and that the picture has such a side. Lines and columns are clamped to the picture's last ones.
pub(crate) const PICTURES: &str = "indices are clamped below the count, and sums end at the picture's sides";

/// A team's row is clamped below `rows`, its vectors end at `width4`, and only a team's own row is written; the wrapper checks that the
/// operands hold so many rows of this width. Workgroup memory is indexed by the invocation, of 256 at most, or by its block of 16 or its
/// subgroup of 4 or more. A lane's column is clamped below `width4`; it holds 8 vectors at most, see `RowShape`, and one where a team is one invocation.
pub(crate) const ROWS: &str = "rows are clamped below their number, and vectors end at the width";

/// A team's block is clamped below `blocks`, and an element's index below `count`; only a team's own block is written. The wrapper checks
/// that the operands hold so many vectors and blocks.
pub(crate) const BLOCKS: &str = "blocks are clamped below their number, and elements below the count";

/// A column is clamped below `width4`, a slice of rows ends at `end`, and there is a row of sums to each slice.
pub(crate) const COLUMNS: &str = "columns are clamped below the width, and slices of rows end at the last";

/// As [`ROWS`], with the scalars of 64 rows of a tile, or of 8 of a batch, in workgroup memory that is sized for them and for the most vectors; a
/// batch has 16 vectors and 4 sums in registers at most, see `Shape`; slots of the sums count up to the layout's, which the wrapper checks.
pub(crate) const MOMENTS: &str = "rows and columns end at their numbers, and slots are those of the layout";

/// `linalg/blocks.wgsl` clamps rows, columns and k to the operands' last ones, and writes below m and the row's end alone. The wrapper checks
/// the operands' shapes; without k, where there is no last one, it has the kernel checked. Tensor cores' kernel reads what is inside the operands
/// alone; its places in workgroup memory are made of an invocation's index, below the workgroup's size, and constants.
pub(crate) const PRODUCTS: &str = "rows, columns and k are clamped to the operands' last ones";

/// A workgroup's columns are compared with their numbers before anything is read, words of rows end at `words`, and only sums of columns that
/// there are are written. The wrapper checks that digits and sums hold as many.
pub(crate) const EXACT: &str = "columns are below their numbers, and words end at the last";

/// Rows are clamped to their block's last one and vectors to the head's; blocks come from sequences that were checked against the operands,
/// and hold a row at least. Places in workgroup memory are made of an invocation's two coordinates, below 8, and constants. Tensor cores' kernels
/// read rows below their number and vectors below the head's alone, and their places are made of an invocation's index, below 128, and constants.
/// Distances are clamped to those that a head's row of the table has; the wrapper checks that there is a row for each head.
pub(crate) const ATTENTION: &str =
    "rows are clamped to their block's last, vectors to the head's, distances to the table's";

/// Queries and candidates end at the tile's; lists have k entries, of which there is one at least and 256 at most; a workgroup meets four
/// candidates an invocation at most before it merges them. Bins are clamped below their number, which has one edge more.
pub(crate) const LISTS: &str = "queries, candidates and bins end at their numbers";

/// As [`ELEMENTS`]; a plane is clamped below `planes`, and a knot below `knots`, of which there is one at least. A search's step halves down to
/// 0. The wrapper checks that tables hold as many, and the offset as many vectors as a row.
pub(crate) const KNOTS: &str = "indices are clamped below the count, planes and knots below their numbers";

/// An index is compared with the number of columns, of words or of elements before anything is read; rows end at theirs. Of a pair both columns are
/// below their number, and no column is in two pairs of a round. Places in workgroup memory are made of an invocation's index, below 64, and constants.
/// The wrapper checks that buffers hold as many.
pub(crate) const ANGLES: &str = "columns, words and elements are below their numbers, and rows end at theirs";

/// What memory is moved, and what is counted, ends at the buffers' vectors.
pub(crate) const BENCH: &str = "indices end at the buffers' vectors";
