//! Which version this is.

use std::ffi::c_char;

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
