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

use std::ffi::c_char;

pub use status::RealignStatus;

/// The version of this header's functions and structs: it grows when one of them changes or goes. A program compares it with
/// realign_abi_version(), which is the library's.
pub const REALIGN_ABI: u32 = 1;

/// The version of the library's functions and structs: a program that was compiled with a header of another REALIGN_ABI must not call it.
#[unsafe(no_mangle)]
pub extern "C" fn realign_abi_version() -> u32 {
    REALIGN_ABI
}

/// The version of realign, such as "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn realign_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

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
