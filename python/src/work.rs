//! How work is done: without the interpreter's lock, stopped by Ctrl-C, refused after a fork, and never with a panic across the boundary.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use pyo3::prelude::*;
use realign::{Error, Result};

use crate::errors::{Kind, raised};
use crate::warnings;

/// How often the main thread looks for Ctrl-C.
const LOOK: Duration = Duration::from_millis(50);
/// Bytes of rows that take so little time that nobody wants to stop it: a thread of its own would cost more than it is worth.
pub const QUICK: usize = 16 << 20;

/// Whether someone wants the work to end.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    pub fn ask(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// # Errors
    /// [`Error::Stopped`] once someone asked for the end.
    pub fn check(&self) -> Result<()> {
        if self.asked() { Err(Error::Stopped) } else { Ok(()) }
    }
}

/// The process that the threads of the library live in, once there are any.
static HOME: AtomicU32 = AtomicU32::new(0);

/// Refuses a process that was forked after realign had worked in its parent: threads do not survive a fork, and work would wait for them forever.
pub fn check_process() -> PyResult<()> {
    let here = std::process::id();
    match HOME.compare_exchange(0, here, Ordering::SeqCst, Ordering::SeqCst) {
        Err(home) if home != here => Err(Kind::Base.error(
            "this process was forked after realign had been used, and its threads did not come along; \
             use multiprocessing's start method \"spawn\" or \"forkserver\", or fork first",
        )),
        _ => Ok(()),
    }
}

/// Runs `work` without the interpreter's lock, on a thread of its own unless it is `quick`, so that Ctrl-C is heeded meanwhile.
///
/// # Errors
/// What the work says, as an exception; `KeyboardInterrupt`; a warning that is to be an error.
pub fn run<T: Send>(py: Python<'_>, quick: bool, work: impl FnOnce(&Stop) -> Result<T> + Send) -> PyResult<T> {
    check_process()?;
    let stop = Stop::default();
    let guarded = || catch_unwind(AssertUnwindSafe(|| work(&stop))).unwrap_or_else(|panic| Err(bug(&*panic)));
    let (result, interrupt) = match quick {
        true => (py.detach(guarded), None),
        false => py.detach(|| aside(guarded, &stop)),
    };
    finished(py, result, interrupt)
}

/// What a call comes to: an interrupt first, then the error, then warnings that are errors.
fn finished<T>(py: Python<'_>, result: Result<T>, interrupt: Option<PyErr>) -> PyResult<T> {
    let shown = warnings::show(py);
    if let Some(interrupt) = interrupt {
        return Err(interrupt);
    }
    let value = result.map_err(raised)?;
    shown?;
    Ok(value)
}

/// Runs work on a thread while this one looks for signals.
fn aside<T: Send>(work: impl FnOnce() -> Result<T> + Send, stop: &Stop) -> (Result<T>, Option<PyErr>) {
    std::thread::scope(|scope| {
        let (sender, receiver) = channel();
        let spawned = std::thread::Builder::new().name("realign".to_owned()).spawn_scoped(scope, move || {
            // The receiver waits for it, whatever happens.
            let _ = sender.send(work());
        });
        if let Err(problem) = spawned {
            return (Err(Error::io("start", "a thread")(problem)), None);
        }
        let (found, interrupt) = wait(&receiver, stop, true);
        (found.unwrap_or_else(|| Err(bug(&"the thread of the work ended"))), interrupt)
    })
}

/// Waits for what a thread sends; a signal asks it to stop, and is kept. `None` where the thread is gone, or without patience at a signal.
fn wait<T>(receiver: &Receiver<T>, stop: &Stop, patient: bool) -> (Option<T>, Option<PyErr>) {
    let mut interrupt = None;
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(found) => return (Some(found), interrupt),
            Err(RecvTimeoutError::Disconnected) => return (None, interrupt),
            Err(RecvTimeoutError::Timeout) => {
                if let Err(signal) = Python::attach(|py| py.check_signals()) {
                    stop.ask();
                    interrupt = Some(signal);
                    if !patient {
                        return (None, interrupt);
                    }
                }
            }
        }
    }
}

/// The next thing that a thread of a run or an answer sends, `None` at its end. `ask` tells it to, while no other thread waits; where it says false,
/// there is nothing to wait for.
///
/// # Errors
/// As [`run`]; a signal asks the thread to stop, and what it still sends is given up.
pub fn next<T: Send>(
    py: Python<'_>,
    receiver: &Mutex<Receiver<Result<T>>>,
    stop: &Stop,
    ask: impl FnOnce() -> bool + Send,
) -> PyResult<Option<T>> {
    receive(py, receiver, (stop, true), ask)
}

/// As [`next`], of a thread that is left alone at a signal: it ends when nobody hears what it sends.
///
/// # Errors
/// As there.
pub fn first<T: Send>(py: Python<'_>, receiver: &Mutex<Receiver<Result<T>>>, stop: &Stop) -> PyResult<Option<T>> {
    receive(py, receiver, (stop, false), || true)
}

fn receive<T: Send>(
    py: Python<'_>,
    receiver: &Mutex<Receiver<Result<T>>>,
    (stop, patient): (&Stop, bool),
    ask: impl FnOnce() -> bool + Send,
) -> PyResult<Option<T>> {
    check_process()?;
    let (found, interrupt) = py.detach(|| {
        let receiver = receiver.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if ask() { wait(&receiver, stop, patient) } else { (None, None) }
    });
    finished(py, found.transpose(), interrupt)
}

/// A panic is a bug of ours; it is said, and does not end the interpreter.
pub fn bug(panic: &dyn std::any::Any) -> Error {
    let words = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let words = words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Error::degenerate(format!("realign has a bug, please report it with what led to it: {words}"))
}
