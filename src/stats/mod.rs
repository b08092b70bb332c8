//! Statistics of row sets: streaming, exact, mergeable, saved to a file.

mod covariance;
pub(crate) mod file;
mod ingest;
mod moments;
mod rows;
mod subset;
mod summary;
mod unit;

pub(crate) use covariance::Sums as CovarianceSums;
pub use covariance::{
    BLOCK_ROWS, COVARIANCE_ERROR, Covariance, MAX_COVARIANCE_WIDTH, covariance, covariance_by, covariance_f64,
};
pub use ingest::{Chunk, Ingest, NonFinite, StreamOptions};
pub(crate) use ingest::{decode, first_nonfinite, nonfinite_error, zero_nonfinite};
pub use moments::{Moments, TRACE_RESOLUTION, measure, measure_sampled};
pub use rows::{DatasetRows, MemoryRows, RowSource};
pub use subset::Subset;
pub use summary::Summary;
pub(crate) use unit::Block;
