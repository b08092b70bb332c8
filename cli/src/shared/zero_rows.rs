//! What is said of rows of zeros.

use realign::io::{Dataset, Shard};
use realign::stats::ZeroRows;

/// Warns of rows of zeros in a data set that was read.
pub fn warn(dataset: &Dataset, zero: ZeroRows) {
    let (Some(first), count @ 1..) = (zero.first, zero.count) else { return };
    let (shard, row) = place(dataset, first);
    let path = shard.map_or_else(String::new, |shard| format!("{}: ", shard.path().display()));
    let what = match zero.at_end == count {
        true => format!(
            "all at the end, as of a memory-mapped file that was allocated for more rows than were written; cut them off (a[:{row}])"
        ),
        false => "as failed downloads and memory-mapped files that were not filled leave; take them out".to_owned(),
    };
    let all = dataset.rows();
    log::warn!("{path}{count} of {all} rows are zero, the first is row {row}: they count like all others; {what}");
}

/// Warns of rows of zeros that were counted before, so that only their number is known.
pub fn warn_of_counted(name: &str, (count, rows): (u64, u64)) {
    if count > 0 {
        let what = "as failed downloads and memory-mapped files that were allocated too large leave";
        log::warn!("{name}: {count} of {rows} rows are zero, {what}; they count like all others");
    }
}

/// The file that has a row, and the row's number in it.
fn place(dataset: &Dataset, row: u64) -> (Option<&Shard>, u64) {
    let mut row = row;
    for shard in dataset.shards() {
        if row < shard.rows() {
            return (Some(shard), row);
        }
        row -= shard.rows();
    }
    (None, row)
}
