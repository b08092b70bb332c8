//! What is read at places: a file on a disk, or an object in a bucket.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "cloud")]
use super::cloud;
use super::{positional, url};
use crate::{Error, Result};

/// Something open for reading, which may be shared.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Local(Arc<File>),
    #[cfg(feature = "cloud")]
    Object(Arc<cloud::Object>),
}

/// What an object was when it was first looked at, so that another is not taken for it. Files have none: their length is compared.
#[derive(Clone, Debug)]
pub(super) enum Pin {
    Local,
    #[cfg(feature = "cloud")]
    Object(cloud::Pin),
}

impl Source {
    /// Opens a regular file or an object, and says how long it is. A pipe or a device is refused with the `remedy`: reading it at a place
    /// fails or, worse, blocks.
    pub fn open(path: &Path, remedy: &str) -> Result<(Source, u64)> {
        if url::is_url(path) {
            #[cfg(feature = "cloud")]
            {
                let object = cloud::Object::open(path)?;
                let len = object.len();
                return Ok((Source::Object(Arc::new(object)), len));
            }
            #[cfg(not(feature = "cloud"))]
            return Err(url::off(path));
        }
        let kind = std::fs::metadata(path).map_err(Error::io("open", path))?;
        if !kind.is_file() {
            return Err(Error::format(path, format!("not a regular file; {remedy}")));
        }
        let file = File::open(path).map_err(Error::io("open", path))?;
        let len = file.metadata().map_err(Error::io("read", path))?.len();
        Ok((Source::Local(Arc::new(file)), len))
    }

    /// Opens again what was open before: of an object, that very one, without asking whether it is there.
    pub(super) fn reopen(path: &Path, pin: &Pin, remedy: &str) -> Result<(Source, u64)> {
        match pin {
            Pin::Local => Source::open(path, remedy),
            #[cfg(feature = "cloud")]
            Pin::Object(pin) => {
                let object = cloud::Object::pinned(path, pin.clone())?;
                let len = object.len();
                Ok((Source::Object(Arc::new(object)), len))
            }
        }
    }

    pub(super) fn pin(&self) -> Pin {
        match self {
            Source::Local(_) => Pin::Local,
            #[cfg(feature = "cloud")]
            Source::Object(object) => Pin::Object(object.pin()),
        }
    }

    /// Its length now; of an object, that which it had.
    #[cfg(feature = "parquet")]
    pub fn len(&self) -> io::Result<u64> {
        match self {
            Source::Local(file) => Ok(file.metadata()?.len()),
            #[cfg(feature = "cloud")]
            Source::Object(object) => Ok(object.len()),
        }
    }

    /// Says what will be read with [`Source::read`], in this order: of an object it is fetched ahead, several pieces at once.
    pub fn plan(&self, ranges: impl IntoIterator<Item = Range<u64>>) {
        match self {
            Source::Local(_) => drop(ranges),
            #[cfg(feature = "cloud")]
            Source::Object(object) => object.plan(ranges),
        }
    }

    /// Fills `out` from the bytes at `offset`; `UnexpectedEof` if it ends before.
    pub fn read(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Source::Local(file) => positional::read(file, out, offset),
            #[cfg(feature = "cloud")]
            Source::Object(object) => object.read(out, offset),
        }
    }

    /// The same, out of the order that was planned, which goes on as if nothing had been read.
    pub(super) fn read_apart(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Source::Local(file) => positional::read(file, out, offset),
            #[cfg(feature = "cloud")]
            Source::Object(object) => object.read_apart(out, offset),
        }
    }

    /// Its bytes from a place on, in order.
    #[cfg(all(feature = "cloud", feature = "parquet"))]
    pub fn bytes_from(&self, offset: u64) -> io::Result<SourceBytes> {
        Ok(SourceBytes { end: self.len()?, source: self.clone(), at: offset })
    }
}

/// The bytes of a source from first to last.
#[derive(Debug)]
pub(crate) struct SourceBytes {
    source: Source,
    at: u64,
    end: u64,
}

impl SourceBytes {
    /// Opens a file or an object for its first few bytes: nothing is fetched ahead.
    pub fn of_start(path: &Path) -> Result<SourceBytes> {
        let (source, len) = Source::open(path, "name a file")?;
        Ok(SourceBytes { source, at: 0, end: len })
    }

    /// Opens a file or an object to be read from its start to its end.
    pub fn open(path: &Path, remedy: &str) -> Result<SourceBytes> {
        let (source, len) = Source::open(path, remedy)?;
        source.plan(std::iter::once(0..len));
        Ok(SourceBytes { source, at: 0, end: len })
    }
}

impl Read for SourceBytes {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.end.saturating_sub(self.at).min(out.len() as u64) as usize;
        self.source.read(&mut out[..n], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// All of a file or an object.
pub(crate) fn read_whole(path: &Path) -> Result<Vec<u8>> {
    if !url::is_url(path) {
        return std::fs::read(path).map_err(Error::io("read", path));
    }
    let mut bytes = Vec::new();
    SourceBytes::open(path, "name a file")?.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
}

/// How many bytes a file or an object has.
pub(crate) fn length(path: &Path) -> Result<u64> {
    match url::is_url(path) {
        false => Ok(std::fs::metadata(path).map_err(Error::io("read", path))?.len()),
        true => Source::open(path, "name a file").map(|(_, len)| len),
    }
}

/// Whether there is a file or an object of this name.
pub(super) fn is_there(path: &Path) -> bool {
    if url::is_url(path) { Source::open(path, "name a file").is_ok() } else { path.is_file() }
}
