//! What a call came to: a number, and a message that the thread keeps.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use realign::Error;
use realign::error::{Remedy, Wording};

/// What a call came to. Numbers keep their meaning; later versions may add some.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RealignStatus {
    /// All went well.
    Ok = 0,
    /// A pointer that must not be is null.
    NullPointer = 1,
    /// A string is not UTF-8.
    Utf8 = 2,
    /// A width or a length does not fit: no whole number of rows, another width than the statistics', a buffer that is too short.
    Shape = 3,
    /// A value outside of what is allowed: an unknown name, a pointer that is not aligned, buffers that overlap.
    Argument = 4,
    /// The operating system refused a file operation.
    Io = 5,
    /// A file is damaged, of another kind or of a newer format, or its folder does not exist.
    Format = 6,
    /// A NaN or an infinity in the data; the message names row and column.
    NonFinite = 7,
    /// The data cannot determine what is asked for, such as rows that are all equal.
    Degenerate = 8,
    /// The file is there already, and may not be overwritten.
    OutputExists = 9,
    /// No adapter answers the request.
    NoAdapter = 10,
    /// The adapter cannot do what is needed.
    Unsupported = 11,
    /// The device has no memory left.
    OutOfMemory = 12,
    /// The device was lost; open another one.
    DeviceLost = 13,
    /// The driver refused a command.
    Gpu = 14,
    /// Anything else; the message says what.
    Other = 15,
    /// A fault of realign's own: it panicked, and the panic was caught. Free the handles of the call, do not use them.
    Panic = 16,
}

impl RealignStatus {
    /// All of them.
    const ALL: [(RealignStatus, &str); 17] = [
        (RealignStatus::Ok, "ok\0"),
        (RealignStatus::NullPointer, "null pointer\0"),
        (RealignStatus::Utf8, "not UTF-8\0"),
        (RealignStatus::Shape, "shape\0"),
        (RealignStatus::Argument, "argument\0"),
        (RealignStatus::Io, "input or output\0"),
        (RealignStatus::Format, "format\0"),
        (RealignStatus::NonFinite, "not finite\0"),
        (RealignStatus::Degenerate, "degenerate\0"),
        (RealignStatus::OutputExists, "output exists\0"),
        (RealignStatus::NoAdapter, "no adapter\0"),
        (RealignStatus::Unsupported, "unsupported\0"),
        (RealignStatus::OutOfMemory, "out of memory\0"),
        (RealignStatus::DeviceLost, "device lost\0"),
        (RealignStatus::Gpu, "driver\0"),
        (RealignStatus::Other, "other\0"),
        (RealignStatus::Panic, "panic\0"),
    ];

    fn of(error: &Error) -> RealignStatus {
        match error {
            Error::Io { .. } => RealignStatus::Io,
            Error::Format { .. } => RealignStatus::Format,
            Error::NonFinite { .. } => RealignStatus::NonFinite,
            Error::Shape { .. } => RealignStatus::Shape,
            Error::Degenerate(_) => RealignStatus::Degenerate,
            Error::Argument { .. } | Error::Environment { .. } => RealignStatus::Argument,
            Error::OutputExists(_) => RealignStatus::OutputExists,
            Error::NoAdapter(_) => RealignStatus::NoAdapter,
            Error::Unsupported { .. } => RealignStatus::Unsupported,
            Error::OutOfMemory { .. } => RealignStatus::OutOfMemory,
            Error::DeviceLost { .. } => RealignStatus::DeviceLost,
            Error::Gpu { .. } => RealignStatus::Gpu,
            _ => RealignStatus::Other,
        }
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub status: RealignStatus,
    pub message: String,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub fn new(status: RealignStatus, message: impl Into<String>) -> Failure {
        Failure { status, message: message.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { status: RealignStatus::of(&error), message: error.worded(&Words) }
    }
}

/// Remedies as one who calls from C takes them.
struct Words;

impl Wording for Words {
    fn remedy(&self, remedy: &Remedy) -> String {
        let words = match remedy {
            Remedy::Replace => "choose another name, or pass true for overwrite",
            Remedy::ReadAsZero => "clean the data",
            Remedy::AllowDegenerate => "give more and different rows, or set allow_degenerate in the options",
            Remedy::AnotherDevice => "open another device: realign_adapters_new lists them",
            Remedy::HostEngine => "open the device \"host\", which needs no driver and has no such limit",
            Remedy::GiveSourceRows => "give the source's rows too, or choose the method anchor-trace",
            Remedy::AllowEncoder => "fit on embeddings as these",
            other => return other.to_string(),
        };
        words.to_owned()
    }
}

thread_local! {
    /// The message of the last call on this thread that failed.
    static MESSAGE: RefCell<CString> = RefCell::default();
}

/// Text for C: without the NULs that it cannot hold.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "")).unwrap_or_default()
}

/// What a panic said.
fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(|text| &text[..])).unwrap_or("without a message")
}

/// Runs a call; what it says or how it panics becomes a status and the thread's message.
pub(crate) fn guard(call: impl FnOnce() -> Result<()>) -> RealignStatus {
    // What a panic left half done is in handles that the status forbids to use.
    let failure = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => return RealignStatus::Ok,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            let problem = format!("realign panicked: {}; this is a fault of realign's", words_of(&*panic));
            // A payload may panic when it is dropped.
            std::mem::forget(panic);
            Failure::new(RealignStatus::Panic, problem)
        }
    };
    MESSAGE.with(|message| *message.borrow_mut() = c_string(&failure.message));
    failure.status
}

/// Runs what cannot fail but for a fault of ours, and gives `otherwise` then.
pub(crate) fn guard_value<T>(otherwise: T, call: impl FnOnce() -> T) -> T {
    let mut value = otherwise;
    guard(|| {
        value = call();
        Ok(())
    });
    value
}

/// The message of the last call on this thread that failed: what was wrong, where, and what to do about it, in UTF-8; "" if none did. It is
/// the thread's own and stays until the next call on it fails; copy it to keep it.
#[unsafe(no_mangle)]
pub extern "C" fn realign_last_error_message() -> *const c_char {
    MESSAGE.with(|message| message.borrow().as_ptr())
}

/// A status in a word or two, such as "output exists"; "unknown" for numbers that this version does not give.
#[unsafe(no_mangle)]
pub extern "C" fn realign_status_name(status: i32) -> *const c_char {
    let found = RealignStatus::ALL.iter().find(|(known, _)| *known as i32 == status);
    found.map_or("unknown\0", |(_, name)| name).as_ptr().cast()
}
