//! Warnings: what the library says beside errors, for those who want to hear it.

use std::ffi::{c_char, c_void};
use std::sync::{OnceLock, PoisonError, RwLock};

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::RealignStatus;
use super::status::{Failure, c_string, guard};

/// Gets a warning: UTF-8 that is gone when it returns, and what realign_set_on_warning was given. It is called on any thread, on several at once, and must not
/// throw, nor leave by longjmp.
pub type RealignOnWarning = Option<unsafe extern "C" fn(text: *const c_char, user_data: *mut c_void)>;

/// Who hears warnings.
#[derive(Clone, Copy)]
struct Listener {
    on_warning: unsafe extern "C" fn(text: *const c_char, user_data: *mut c_void),
    user_data: *mut c_void,
}

// SAFETY: the data are only handed back, and who gave them answers for what becomes of them on other threads.
unsafe impl Send for Listener {}
// SAFETY: as above.
unsafe impl Sync for Listener {}

static LISTENER: RwLock<Option<Listener>> = RwLock::new(None);

/// The process's logger: hands on what realign says from warnings on.
struct Warnings;

impl Log for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn && metadata.target().split("::").next() == Some("realign")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // A copy: the function may set another one.
        let listener = *LISTENER.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(Listener { on_warning, user_data }) = listener {
            let text = c_string(&record.args().to_string());
            // SAFETY: the text lives until it returns; who set the function answers for it and its data.
            unsafe { on_warning(text.as_ptr(), user_data) };
        }
    }

    fn flush(&self) {}
}

/// Sets what gets warnings, of the whole process: such as settings of a model that are ignored, or faults of a driver that no call can report. Without it, and
/// with NULL, they are not heard. A call that began before may still reach the function that was set before.
///
/// # Safety
/// `on_warning` is NULL or may be called with `user_data`, on any thread, until another one is set and calls that began before have returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_set_on_warning(on_warning: RealignOnWarning, user_data: *mut c_void) -> RealignStatus {
    static SET: OnceLock<bool> = OnceLock::new();
    guard(|| {
        let set = SET.get_or_init(|| {
            let set = log::set_logger(&Warnings).is_ok();
            if set {
                log::set_max_level(LevelFilter::Warn);
            }
            set
        });
        if !set {
            return Err(Failure::new(RealignStatus::Other, "another logger of Rust's is set in this process"));
        }
        let listener = on_warning.map(|on_warning| Listener { on_warning, user_data });
        *LISTENER.write().unwrap_or_else(PoisonError::into_inner) = listener;
        Ok(())
    })
}
