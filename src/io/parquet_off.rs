//! Stands in for the parquet reader and writer where the feature `parquet` is off: no value of these types exists.

use std::fs::File;
use std::path::Path;

use super::dataset::{Found, Shard};
use super::source::Source;
use crate::{ElementType, Error, Result};

#[derive(Clone, Debug)]
pub(super) enum Column {}

#[derive(Debug)]
pub(super) enum Reader {}

#[derive(Debug)]
pub(super) enum Writer {}

#[cfg(all(feature = "encode", feature = "pictures"))]
#[derive(Debug)]
pub(super) enum NamedWriter {}

fn off(path: &Path) -> Error {
    Error::format(
        path,
        "this build can neither read nor write parquet or arrow; build realign with the feature `parquet`",
    )
}

pub(super) fn inspect(_file: Source, path: &Path, _column: Option<&str>) -> Result<Found> {
    Err(off(path))
}

pub(super) fn read_ids(path: &Path, _column: &str, _ids: &mut super::Ids) -> Result<()> {
    Err(off(path))
}

/// Fails early where a parquet file is to be written.
pub(super) fn check_available(path: &Path) -> Result<()> {
    Err(off(path))
}

pub(super) fn write_table(path: &Path, _force: bool, _columns: Vec<(&str, super::TableColumn)>) -> Result<()> {
    Err(off(path))
}

impl Reader {
    pub(super) fn open(
        _file: Source,
        _path: &Path,
        column: &Column,
        _kind: (usize, ElementType),
        _start: u64,
    ) -> Result<Reader> {
        match *column {}
    }

    pub(super) fn read(&mut self, _rows: usize, _out: &mut [u8]) -> Result<()> {
        match *self {}
    }
}

impl Writer {
    pub(super) fn create(_file: File, path: &Path, _input: &Shard, _kind: (usize, ElementType)) -> Result<Writer> {
        Err(off(path))
    }

    pub(super) fn write(&mut self, _rows: &[u8]) -> Result<()> {
        match *self {}
    }

    pub(super) fn finish(self) -> Result<()> {
        match self {}
    }
}

#[cfg(all(feature = "encode", feature = "pictures"))]
impl NamedWriter {
    pub(super) fn create(
        _file: File,
        path: &Path,
        _kind: (usize, ElementType),
        _notes: &std::collections::BTreeMap<String, String>,
    ) -> Result<NamedWriter> {
        Err(off(path))
    }

    pub(super) fn write<'a>(
        &mut self,
        _ids: &mut dyn Iterator<Item = std::borrow::Cow<'a, str>>,
        _rows: &[u8],
    ) -> Result<()> {
        match *self {}
    }

    pub(super) fn finish(self) -> Result<()> {
        match self {}
    }
}
