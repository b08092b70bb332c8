//! Statistics of row sets: streaming, exact, mergeable, saved to a file.

mod covariance;
pub(crate) mod file;
mod ingest;
mod moments;
pub mod privacy;
mod rows;
mod second_moments;
mod subset;
mod summary;
mod summary_file;
mod unit;
mod zero_rows;

pub(crate) use covariance::stream;
pub use covariance::{BLOCK_ROWS, COVARIANCE_ERROR, Covariance, MAX_COVARIANCE_WIDTH, covariance, covariance_fast};
pub use ingest::{Chunk, Ingest, NonFinite, StreamOptions};
pub(crate) use ingest::{decode, first_nonfinite, nonfinite_error, zero_nonfinite};
pub(crate) use moments::trace_scale;
pub use moments::{Moments, TRACE_RESOLUTION, measure, measure_sampled};
pub use privacy::{Noise, Privacy};
pub use rows::{DatasetRows, MemoryRows, RowSource};
pub(crate) use second_moments::SecondMomentSums;
pub use second_moments::{FRACTION_BITS, MAX_ROWS, SecondMoments};
pub use subset::Subset;
pub use summary::{CovarianceMode, CovarianceSums, Summary};
pub(crate) use unit::{normalise, unit_rows};
pub use zero_rows::ZeroRows;
