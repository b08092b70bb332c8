//! Calls into the parquet library that come back as errors even where it panics on a damaged file.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::sync::Once;

use super::damaged;
use crate::Result;

thread_local! {
    /// Whether this thread is inside a guarded call.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Longest part of a panic's message that an error quotes.
const QUOTED: usize = 200;

/// Runs the library's decoder. It asserts here and there what a damaged file can break; its state is not used again
/// after that, because the error ends the reading. Nothing is printed: the panic's message is in the error.
pub(super) fn guarded<T>(path: &Path, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    silence_guarded_threads();
    // A decoder may come back here from within; the outer call stays guarded then.
    let outer = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(decode));
    GUARDED.set(outer);
    result.unwrap_or_else(|panic| {
        let problem = format!("its pages contradict its footer ({})", message(&*panic));
        Err(damaged(problem, path))
    })
}

/// Puts a hook before the one that is there, once: it says nothing on a thread inside a guarded call, and leaves every other
/// panic to the hook that it found.
fn silence_guarded_threads() {
    static INSTALL: Once = Once::new();
    // The hook cannot be changed by a thread that panics, as one that reads in a destructor might; the next call will do it.
    if std::thread::panicking() {
        return;
    }
    INSTALL.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            // Thread-locals are gone where a thread is ending: nothing is guarded there.
            if !GUARDED.try_with(Cell::get).unwrap_or(false) {
                before(info);
            }
        }));
    });
}

/// A panic's message, on one line and not too long.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let line = text.unwrap_or("it stopped without a message").split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
