//! How fast a device runs this crate, against what the same device can do at most.
//!
//! A [`Roofline`] measures a device's bandwidth and arithmetic, [`catalogue`] lists the cases, [`run`] times them, and a
//! [`Report`] holds the outcome, with a JSON form that [`compare`] reads again. Times are of timestamp queries for kernels where
//! the adapter has them, else of the clock; each result says which. Clocks and power states of a device are unknown: compare
//! within a run, or look at the spread; [`in_turns`] and [`Turns`] compare two builds, or devices, whose turns meet the same machine.

mod attention;
mod case;
mod catalogue;
mod compare;
mod cosines;
pub mod decoders;
mod dispatches;
mod elementwise;
mod encoders;
mod end_to_end;
mod host;
mod losses;
#[cfg(feature = "report")]
mod page;
mod phases;
mod pictures;
mod products;
mod report;
mod roofline;
mod rows;
pub mod training;
mod turns;
mod yardsticks;

use crate::tuning::timing;
pub use crate::tuning::timing::{Budget, Timer, Timing, called, recorded, timed};
pub use crate::tuning::{Tried, Tuning, tune};
pub use case::{Case, Check, Items, Kind, Record, Run, Sizes};
pub use catalogue::{Entry, catalogue};
pub use compare::{Compared, Drift, check, compare, drift};
#[cfg(feature = "report")]
pub use page::page;
pub use report::{Dispatching, Options, Outcome, Progress, Report, run};
pub use roofline::Roofline;
pub use turns::{Side, Turns, Verdict, in_turns};
