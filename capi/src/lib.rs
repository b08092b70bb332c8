//! realign for C and C++: functions around the library's own, behind `include/realign.h`, which `tools/header` makes from these files.
//!
//! Every function that can fail returns a [`RealignStatus`] and leaves its message with the thread ([`status`]); none panics across the
//! boundary. Pointers and lengths are checked in [`input`] and [`output`] before anything is made of them. What holds for all functions (who may
//! call from which thread, who frees what) stands at the header's head, in `cbindgen.toml`.

#![deny(missing_docs, clippy::missing_safety_doc, clippy::undocumented_unsafe_blocks, unsafe_op_in_unsafe_fn)]

mod answer;
mod assistant;
mod device;
mod encoder;
mod input;
mod moments;
mod output;
mod ranking;
mod statistics;
mod status;
#[cfg(test)]
mod tests;
mod version;
mod warnings;

pub use status::RealignStatus;

/// What the header says of threads: most objects may be shared, an answer may be moved. It does not compile where that is not so.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn moved<T: Send>() {}
    shared::<device::RealignDevice>();
    shared::<device::RealignAdapters>();
    shared::<statistics::RealignStatistics>();
    shared::<moments::RealignMoments>();
    shared::<ranking::RealignRanking>();
    shared::<encoder::RealignImageEncoder>();
    shared::<encoder::RealignTextEncoder>();
    shared::<assistant::RealignAssistant>();
    moved::<answer::RealignAnswer>();
};
