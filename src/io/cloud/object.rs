//! Reading one object by ranges.

use std::io;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta};

use super::address::Address;
use super::ahead::Ahead;
use super::store::{self, Store};
use super::tries::{Failure, Tries, changed};
use crate::{Error, Result};

/// What is read out of any order comes in blocks of this size: headers, footers, names of rows.
const BLOCK: u64 = 512 << 10;
/// So many of them are kept.
const BLOCKS: usize = 32;

/// What an object was when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    size: u64,
    /// Its entity tag; another tag is another object.
    tag: Option<String>,
    /// When it was written, in milliseconds, where it has no tag.
    modified: i64,
}

impl Pin {
    pub fn of(meta: &ObjectMeta) -> Pin {
        Pin { size: meta.size, tag: meta.e_tag.clone(), modified: meta.last_modified.timestamp_millis() }
    }

    pub fn len(&self) -> u64 {
        self.size
    }

    /// The tag that a request may name. Weak ones match nothing there.
    fn condition(&self) -> Option<String> {
        self.tag.clone().filter(|tag| !tag.starts_with("W/"))
    }

    /// What an answer tells of another object.
    fn check(&self, meta: &ObjectMeta) -> Result<(), Failure> {
        if meta.size != self.size {
            return Err(changed(&format!("it had {} bytes when it was opened and has {} now", self.size, meta.size)));
        }
        match (&self.tag, &meta.e_tag) {
            (Some(then), Some(now)) if then != now => Err(changed(&format!("its entity tag was {then} and is {now}"))),
            (Some(_), _) => Ok(()),
            (None, _) if meta.last_modified.timestamp_millis() != self.modified => {
                Err(changed(&format!("it was written again, at {}", meta.last_modified)))
            }
            (None, _) => Ok(()),
        }
    }
}

/// An object that is read.
#[derive(Debug)]
pub(crate) struct Object {
    asked: Arc<Asked>,
    ahead: Mutex<Ahead>,
    /// The last is the one that was used last.
    blocks: Mutex<Vec<(u64, Arc<Vec<u8>>)>>,
}

/// What each request needs.
#[derive(Debug)]
pub(super) struct Asked {
    store: Arc<Store>,
    path: PathBuf,
    key: Path,
    pin: Pin,
}

impl Object {
    /// Looks how long an object is, and what marks it.
    pub fn open(path: &FilePath) -> Result<Object> {
        let address = Address::parse(path)?;
        let (key, store) = (address.object(path)?, store::connect(&address, path)?);
        let pin = look(&store, path, &key).map_err(Error::io("open", path))?;
        Ok(Object::new(store, path, key, pin))
    }

    /// The object of before, without a look.
    pub fn pinned(path: &FilePath, pin: Pin) -> Result<Object> {
        let address = Address::parse(path)?;
        let (key, store) = (address.object(path)?, store::connect(&address, path)?);
        Ok(Object::new(store, path, key, pin))
    }

    fn new(store: Arc<Store>, path: &FilePath, key: Path, pin: Pin) -> Object {
        let asked = Arc::new(Asked { store, path: path.to_path_buf(), key, pin });
        Object { asked, ahead: Mutex::default(), blocks: Mutex::default() }
    }

    pub fn pin(&self) -> Pin {
        self.asked.pin.clone()
    }

    pub fn len(&self) -> u64 {
        self.asked.pin.size
    }

    /// What will be read, in order.
    pub fn plan(&self, ranges: impl IntoIterator<Item = Range<u64>>) {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Ahead::new(ranges);
    }

    /// Fills `out`, from what was fetched ahead where it was planned.
    pub fn read(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.check(out.len(), offset)?;
        let done = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).read(&self.asked, out, offset)?;
        self.read_unplanned(&mut out[done..], offset + done as u64)
    }

    /// Fills `out` without a look at the plan.
    pub fn read_apart(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.check(out.len(), offset)?;
        self.read_unplanned(out, offset)
    }

    fn check(&self, len: usize, offset: u64) -> io::Result<()> {
        let inside = offset.checked_add(len as u64).is_some_and(|end| end <= self.len());
        if inside { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn read_unplanned(&self, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
        if out.len() as u64 > BLOCK {
            let range = offset..offset + out.len() as u64;
            let done = Ahead::new([range]).read(&self.asked, out, offset)?;
            debug_assert_eq!(done, out.len(), "a plan of a range has all of it");
            return Ok(());
        }
        while !out.is_empty() {
            let block = self.block(offset / BLOCK)?;
            let from = (offset % BLOCK) as usize;
            let n = out.len().min(block.len() - from);
            let (now, later) = std::mem::take(&mut out).split_at_mut(n);
            now.copy_from_slice(&block[from..from + n]);
            (out, offset) = (later, offset + n as u64);
        }
        Ok(())
    }

    fn block(&self, number: u64) -> io::Result<Arc<Vec<u8>>> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match blocks.iter().position(|(there, _)| *there == number) {
            Some(at) => blocks.remove(at).1,
            None => {
                let range = number * BLOCK..((number + 1) * BLOCK).min(self.len());
                if blocks.len() >= BLOCKS {
                    blocks.remove(0);
                }
                Arc::new(store::wait(self.asked.clone().fetch(range, Vec::new()))?)
            }
        };
        blocks.push((number, found.clone()));
        Ok(found)
    }
}

/// Asks for an object's length, tag and time.
pub(super) fn look(store: &Arc<Store>, path: &FilePath, key: &Path) -> io::Result<Pin> {
    let (objects, key) = (store.objects.clone(), key.clone());
    let head = GetOptions { head: true, ..GetOptions::default() };
    let look = move || {
        let (objects, key, head) = (objects.clone(), key.clone(), head.clone());
        async move { objects.get_opts(&key, head).await }
    };
    store::persist(path, store.service, look).map(|answer| Pin::of(&answer.meta))
}

impl Asked {
    /// All bytes of a range, in memory that may be used again; what is cut off is asked for from there on.
    pub async fn fetch(self: Arc<Asked>, range: Range<u64>, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let whole = (range.end - range.start) as usize;
        bytes.clear();
        bytes.reserve_exact(whole);
        let mut tries = Tries::new(&self.path, self.store.service);
        while bytes.len() < whole {
            let before = bytes.len();
            let left = range.start + before as u64..range.end;
            let result = self.attempt(left, whole, &mut bytes).await;
            if bytes.len() > before {
                tries.progress();
            }
            if let Err(failure) = result {
                tries.wait(failure).await?;
            }
        }
        Ok(bytes)
    }

    async fn attempt(&self, range: Range<u64>, whole: usize, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        let service = self.store.service;
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.clone())),
            if_match: self.pin.condition(),
            ..GetOptions::default()
        };
        let answer = self.store.objects.get_opts(&self.key, options).await;
        let answer = answer.map_err(|e| gone(Failure::of(e, service)))?;
        self.pin.check(&answer.meta)?;
        if answer.range != range {
            let what = format!("the server gives the bytes {:?} for {range:?}", answer.range);
            return Err(Failure::Final(io::ErrorKind::InvalidData, what));
        }
        let mut parts = answer.into_stream();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|e| Failure::of(e, service))?;
            if bytes.len() + part.len() > whole {
                let what = format!("the server sends more than the {whole} bytes that were asked for");
                return Err(Failure::Final(io::ErrorKind::InvalidData, what));
            }
            bytes.extend_from_slice(&part);
        }
        if bytes.len() < whole {
            return Err(Failure::Passing(format!("an answer ends {} bytes early", whole - bytes.len())));
        }
        Ok(())
    }
}

/// An object that was there is not missing: it was removed.
fn gone(failure: Failure) -> Failure {
    match failure {
        Failure::Final(io::ErrorKind::NotFound, _) => changed("it is gone"),
        other => other,
    }
}
