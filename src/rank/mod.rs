//! Search over several collections at once, of pictures, texts or anything that one encoder embeds: scores of all of them on one scale.
//!
//! The modality gap makes every text score above every picture, whatever is asked. What a query scores in a collection has a place among what it
//! scores in the whole collection, and that place can be compared. So a [`Ranking`] keeps of each collection a reference sample of its rows, with
//! their exact mean and covariance; no pairs, no training, no re-embedding, no re-indexing: the database's own dot products are what [`Ranking::scores`]
//! takes. Several modalities or several styles of one (captions, titles, OCR) are the same case.
//!
//! ```
//! use realign::Device;
//! use realign::rank::{RankOptions, Ranking};
//! use realign::stats::MemoryRows;
//!
//! # fn main() -> realign::Result<()> {
//! // [n, 2] rows: texts point one way, pictures another.
//! let cloud = |x: f32, y: f32| (0..64).flat_map(move |i| [x + 0.01 * (i as f32).sin(), y + 0.01 * (i as f32).cos()]);
//! let (text, image): (Vec<f32>, Vec<f32>) = (cloud(1.0, 0.1).collect(), cloud(0.1, 1.0).collect());
//! let (mut texts, mut images) = (MemoryRows::f32("text", &text, 2)?, MemoryRows::f32("image", &image, 2)?);
//! let device = Device::host();
//! let mut collections: [realign::rank::Named; 2] = [("text", &mut texts), ("image", &mut images)];
//! let ranking = Ranking::fit(&device, &mut collections, &mut [], &RankOptions::default())?;
//!
//! // What a database returned for a query: dot products of unit rows. The picture's is far lower, and yet the better answer.
//! let query = [1.0, 0.12];
//! let text = ranking.scores(&query, "text", &[0.99980])?;
//! let image = ranking.scores(&query, "image", &[0.2400])?;
//! assert!(image[0] > text[0]);
//! # Ok(())
//! # }
//! ```
//!
//! [`Score`] has the ways that there are, [`search`] is exact top-k in every collection and then in all, [`compare`] holds the ways against graded
//! answers.

mod bank;
mod compare;
mod distribution;
mod evaluation;
mod file;
mod hits;
mod map;
mod neighbours;
#[cfg(feature = "report")]
mod pages;
mod prepared;
mod profile;
mod ranking;
mod relevance;
mod sample;
mod score;
mod scorer;
mod screen;
mod search;

pub use bank::NnnOptions;
pub use compare::{Calibrated, CompareOptions, Compared, Comparison, NOMINAL_SHARES, compare};
pub use distribution::Distribution;
pub use evaluation::{Estimate, TOP};
pub use hits::{Hits, write_hits};
pub use map::RowMap;
pub use profile::Profile;
pub use ranking::{MAX_SAMPLE_ROWS, Named, RankOptions, Ranking, SAMPLE_ROWS};
pub use relevance::Relevance;
pub use sample::Sample;
pub use score::Score;
pub use scorer::{QueryScale, Scorer};
pub use search::{Hit, SearchOptions, read_queries, search};
