//! Writing behind: blocks go to a thread of their own, so that the next are computed meanwhile.
//!
//! One thread to a file, since file systems let one writer at a time into a file. It calls nothing of rayon, so that a caller on a
//! rayon thread may wait for it.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use crate::Result;

/// Blocks on their way at most. Two would do if a write always took as long as a block's computation.
const BLOCKS: usize = 6;
/// Bytes of a block, unless a single row has more: two of them are in a core's outer cache when they are written.
const BLOCK_BYTES: usize = 1 << 20;

/// What takes whole rows, in order.
pub(super) trait Consume: Send + 'static {
    /// Takes rows in.
    fn write(&mut self, rows: &[u8]) -> Result<()>;
    /// Completes what was taken in.
    fn finish(self) -> Result<()>;
}

/// Hands rows over to a consumer on another thread; of a few bytes in all, does without the thread.
#[derive(Debug)]
pub(super) enum Behind<C> {
    Here(C),
    There(Queue),
}

/// The caller's end of the queue.
#[derive(Debug)]
pub(super) struct Queue {
    row_bytes: usize,
    filled: Option<SyncSender<Message>>,
    empty: Receiver<Vec<u8>>,
    /// Blocks that exist.
    made: usize,
    thread: Option<JoinHandle<Result<()>>>,
}

enum Message {
    Rows(Vec<u8>),
    Finish,
}

impl<C: Consume> Behind<C> {
    /// For rows of `row_bytes`, `total` bytes in all.
    pub fn start(consumer: C, row_bytes: usize, total: u64) -> Behind<C> {
        if total <= BLOCK_BYTES as u64 {
            return Behind::Here(consumer);
        }
        // Room for every block and the end: sending never waits.
        let (filled, to_write) = sync_channel(BLOCKS + 1);
        let (written, empty) = channel();
        let thread = std::thread::spawn(move || run(consumer, &to_write, &written));
        Behind::There(Queue { row_bytes, filled: Some(filled), empty, made: 0, thread: Some(thread) })
    }

    /// Appends whole rows. An error may be that of rows that came before.
    pub fn write(&mut self, rows: &[u8]) -> Result<()> {
        match self {
            Behind::Here(consumer) => consumer.write(rows),
            Behind::There(queue) => queue.write(rows),
        }
    }

    /// Waits until everything is written.
    pub fn finish(self) -> Result<()> {
        match self {
            Behind::Here(consumer) => consumer.finish(),
            Behind::There(mut queue) => {
                queue.send(Message::Finish)?;
                queue.join()
            }
        }
    }
}

fn run<C: Consume>(mut consumer: C, to_write: &Receiver<Message>, written: &Sender<Vec<u8>>) -> Result<()> {
    while let Ok(message) = to_write.recv() {
        match message {
            Message::Rows(block) => {
                consumer.write(&block)?;
                // The caller may not want another block.
                let _ = written.send(block);
            }
            Message::Finish => return consumer.finish(),
        }
    }
    // Dropped half-way: what was written is thrown away.
    Ok(())
}

impl Queue {
    fn write(&mut self, rows: &[u8]) -> Result<()> {
        for piece in rows.chunks((BLOCK_BYTES / self.row_bytes).max(1) * self.row_bytes) {
            let mut block = self.block()?;
            block.clear();
            block.extend_from_slice(piece);
            self.send(Message::Rows(block))?;
        }
        Ok(())
    }

    /// A block to fill: one that was written, unless there may be more of them.
    fn block(&mut self) -> Result<Vec<u8>> {
        if let Ok(block) = self.empty.try_recv() {
            return Ok(block);
        }
        if self.made < BLOCKS {
            self.made += 1;
            return Ok(Vec::new());
        }
        match self.empty.recv() {
            Ok(block) => Ok(block),
            Err(_) => self.ended(),
        }
    }

    fn send(&mut self, message: Message) -> Result<()> {
        match self.filled.as_ref().map(|filled| filled.send(message)) {
            Some(Ok(())) => Ok(()),
            _ => self.ended(),
        }
    }

    /// Why the thread has ended before it should.
    fn ended<T>(&mut self) -> Result<T> {
        self.join()?;
        // Its error was returned before, and the caller went on.
        Err(crate::Error::argument("writer", "failed before; nothing more can be written"))
    }

    /// Waits for the thread. A panic of its goes on here.
    fn join(&mut self) -> Result<()> {
        self.filled = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.filled = None;
        // The file must be closed before its name is removed, as some systems demand. Nobody is left to hear of an error.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    /// Keeps what it gets; refuses to be given more than `room` bytes.
    struct Store {
        bytes: Arc<Mutex<Vec<u8>>>,
        room: usize,
        finished: Arc<Mutex<bool>>,
    }

    impl Consume for Store {
        fn write(&mut self, rows: &[u8]) -> Result<()> {
            let mut bytes = self.bytes.lock().unwrap();
            if bytes.len() + rows.len() > self.room {
                let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
                return Err(Error::io("write", Path::new("rows.npy"))(full));
            }
            assert!(rows.len().is_multiple_of(3) && rows.len() <= BLOCK_BYTES);
            bytes.extend_from_slice(rows);
            Ok(())
        }

        fn finish(self) -> Result<()> {
            *self.finished.lock().unwrap() = true;
            Ok(())
        }
    }

    type Shared<T> = Arc<Mutex<T>>;

    fn start(total: usize, room: usize) -> (Behind<Store>, Shared<Vec<u8>>, Shared<bool>) {
        let (bytes, finished) = (Shared::default(), Shared::default());
        let store = Store { bytes: Arc::clone(&bytes), room, finished: Arc::clone(&finished) };
        (Behind::start(store, 3, total as u64), bytes, finished)
    }

    fn numbers(n: usize) -> Vec<u8> {
        (0..n).map(|i| (i * 7 % 251) as u8).collect()
    }

    #[test]
    fn everything_arrives_in_order_in_whole_rows() {
        for total in [3, 3 * (BLOCK_BYTES / 3), 3 * (BLOCK_BYTES / 3 + 1), 30 * BLOCK_BYTES] {
            let all = numbers(total);
            for block in [3 * 1000, 3 * BLOCK_BYTES, total] {
                let (mut behind, bytes, finished) = start(total, total);
                all.chunks(block).for_each(|rows| behind.write(rows).unwrap());
                behind.finish().unwrap();
                assert!(*finished.lock().unwrap() && *bytes.lock().unwrap() == all, "{total} in blocks of {block}");
            }
        }
    }

    #[test]
    fn an_error_comes_back_once_and_ends_the_writing() {
        let total = 40 * BLOCK_BYTES / 3 * 3;
        let all = numbers(total);
        for room in [0, 5 * BLOCK_BYTES, total - 1] {
            let (mut behind, _, finished) = start(total, room);
            let written = all.chunks(3000).try_for_each(|rows| behind.write(rows));
            let error = match written {
                Err(error) => {
                    let next = behind.write(&all[..3]).unwrap_err();
                    assert!(next.to_string().contains("failed before"), "{next}");
                    behind.finish().unwrap_err();
                    error
                }
                Ok(()) => behind.finish().unwrap_err(),
            };
            assert!(
                matches!(&error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull),
                "{error}"
            );
            assert!(!*finished.lock().unwrap());
        }
    }

    #[test]
    fn what_is_dropped_half_way_is_not_finished() {
        let total = 10 * BLOCK_BYTES / 3 * 3;
        let (mut behind, bytes, finished) = start(total, total);
        behind.write(&numbers(3 * BLOCK_BYTES)).unwrap();
        drop(behind);
        // The thread has ended: its end of the store is gone.
        assert_eq!(Arc::strong_count(&bytes), 1);
        assert!(!*finished.lock().unwrap());
    }

    #[test]
    fn a_panic_goes_on_in_the_caller() {
        struct Panics;
        impl Consume for Panics {
            fn write(&mut self, _rows: &[u8]) -> Result<()> {
                panic!("as a test");
            }
            fn finish(self) -> Result<()> {
                Ok(())
            }
        }
        let mut behind = Behind::start(Panics, 1, u64::MAX);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..100).try_for_each(|_| behind.write(&[0; BLOCK_BYTES])).and_then(|()| behind.finish())
        }));
        assert!(result.is_err());
    }
}
