//! Objects in buckets (S3, Google Cloud Storage, Azure) and on web servers, through the crate `object_store`.
//!
//! Reading is by ranges, several in flight, and each answer is checked: it must be of the object that was opened, by its entity tag or, where a
//! server has none, its time, and by its length. What is cut off is asked for from where it was cut. Writing is by parts that become an object
//! when all have come, or never.
//!
//! The runtime below is this module's own, and callers block: no async function leaves it.

mod address;
mod ahead;
mod list;
mod object;
mod store;
mod tries;
mod upload;

pub(super) use list::{Listed, expand, folder_of_files};
pub(super) use object::{Object, Pin};
pub(super) use upload::{Upload, check_target, check_writable, put, remove};
