//! Work without waiting: recordings that take turns on the device, and results that are on their way.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::{Device, Recorder, Submission};
use crate::Result;

/// What a call of [`Pieces::submit`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The next piece was submitted.
    Submitted,
    /// The device is not done with the piece before it.
    Waiting,
    /// All pieces were submitted, and the device is done with them.
    Done,
}

/// Recordings that are submitted one after the other, each when the device is done with the one before: at any time it has one
/// piece to finish before it gets to what else an app asks of it.
#[derive(Debug, Default)]
pub struct Pieces {
    waiting: VecDeque<Recorder>,
    running: Option<Submission>,
}

impl Pieces {
    /// Appends a recording in pieces of at most `dispatches` kernels.
    pub fn push(&mut self, recorder: Recorder, dispatches: usize) {
        self.waiting.extend(recorder.cut(dispatches));
    }

    /// Submits the next piece if it is its turn; waits for nothing. The host engine computes it before this returns.
    ///
    /// # Errors
    /// As [`Recorder::submit`].
    pub fn submit(&mut self) -> Result<Piece> {
        if let Some(running) = &self.running
            && !running.is_done()?
        {
            return Ok(Piece::Waiting);
        }
        self.running = self.waiting.pop_front().map(Recorder::submit).transpose()?;
        Ok(if self.running.is_some() { Piece::Submitted } else { Piece::Done })
    }

    /// Submits all pieces that are left, whatever the device is busy with.
    ///
    /// # Errors
    /// As [`Recorder::submit`].
    pub fn submit_all(&mut self) -> Result<()> {
        self.running = None;
        self.waiting.drain(..).try_for_each(|piece| piece.submit().map(drop))
    }
}

/// A result that is on its way from a device: [`Device::read`] and what is made of it, to be looked at now and then.
pub struct Pending<T>(Pin<Box<dyn Future<Output = Result<T>> + Send>>);

impl<T> std::fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pending")
    }
}

impl<T> Pending<T> {
    /// A future that makes progress when its device is polled.
    pub fn new(future: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Pending(Box::pin(future))
    }

    /// The result, if it is there; does not wait. Once it was given, ask no more.
    ///
    /// # Errors
    /// What the future says; the device was lost.
    pub fn try_take(&mut self, device: &Device) -> Result<Option<T>> {
        device.poll()?;
        match self.0.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result.map(Some),
            Poll::Pending => Ok(None),
        }
    }

    /// The future, for another one to await.
    pub(crate) fn into_future(self) -> Pin<Box<dyn Future<Output = Result<T>> + Send>> {
        self.0
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// As [`Self::try_take`].
    pub fn wait(self, device: &Device) -> Result<T> {
        block_on(device, self.0)
    }
}

/// Waits for a future that makes progress when its device is polled.
pub(crate) fn block_on<T>(device: &Device, future: impl Future<Output = Result<T>>) -> Result<T> {
    let mut future = std::pin::pin!(future);
    loop {
        device.poll()?;
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => return result,
            Poll::Pending => device.wait()?,
        }
    }
}

/// Ready when it is looked at for the second time: where a future must not do all at once.
pub(crate) async fn yield_now() {
    let mut seen = false;
    std::future::poll_fn(|_| if std::mem::replace(&mut seen, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}
