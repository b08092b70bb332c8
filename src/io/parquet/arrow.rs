//! Apache Arrow's own format (IPC), as a stream or as a file: the same messages, and in a file a magic word before and an index after them.
//!
//! The messages are walked here, by their headers alone, so that every size is checked against the file's length before anything is
//! allocated for it; decoding them is the library's.

use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::FileDecoder;
use arrow_ipc::{Block, MessageHeader, MetadataVersion, root_as_message};
use arrow_schema::SchemaRef;

use super::guard::guarded;
use super::{arrow_error, damaged};
use crate::io::source::Source;
use crate::{Error, Result};

const MAGIC: &[u8; 6] = b"ARROW1";
/// The magic word, and bytes that align what follows.
const MAGIC_BYTES: u64 = 8;
/// So many they are in files of writers that align further, all of them zeros.
const MOST_MAGIC_BYTES: u64 = 64;
/// Stands before a message's length since format version 0.15.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// A batch of rows, or a part of a dictionary.
#[derive(Clone, Copy, Debug)]
struct Message {
    offset: u64,
    /// Bytes of the header, its length included.
    header: i32,
    body: i64,
    /// Rows; `None` for a dictionary.
    rows: Option<u64>,
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Contents {
    pub schema: SchemaRef,
    version: MetadataVersion,
    messages: Vec<Message>,
    pub rows: u64,
}

impl Contents {
    /// Walks the messages of a file of `len` bytes.
    pub fn read(file: &Source, len: u64, path: &Path) -> Result<Contents> {
        guarded(path, || Contents::walk(file, len, path))
    }

    fn walk(file: &Source, len: u64, path: &Path) -> Result<Contents> {
        let mut at = if starts_with_magic(file, len, path)? { after_magic(file, len, path)? } else { 0 };
        let mut found: Option<(SchemaRef, MetadataVersion)> = None;
        let (mut messages, mut rows) = (Vec::new(), 0u64);
        while let Some((text, start)) = header(file, (at, len), path)? {
            let message =
                root_as_message(&text).map_err(|e| damaged(format!("a message without a header: {e}"), path))?;
            let body = message.bodyLength();
            let end = u64::try_from(body).ok().and_then(|body| (start + text.len() as u64).checked_add(body));
            let Some(end) = end.filter(|end| *end <= len) else {
                let problem = format!("truncated: a batch at byte {at} promises {body} bytes");
                return Err(Error::format(path, format!("{problem}, but the file has {len} in all; copy it again")));
            };
            // No overflow: the header is shorter than i32 says.
            let header = (start - at) as i32 + text.len() as i32;
            let message_rows = match message.header_type() {
                MessageHeader::Schema if found.is_none() => {
                    let schema = message.header_as_schema().ok_or_else(|| damaged("an empty schema", path))?;
                    let schema = try_fb_to_schema(schema).map_err(|e| arrow_error(e, path))?;
                    found = Some((schema.into(), message.version()));
                    at = end;
                    continue;
                }
                MessageHeader::DictionaryBatch => None,
                MessageHeader::RecordBatch => {
                    let batch = message.header_as_record_batch().ok_or_else(|| damaged("an empty batch", path))?;
                    let n = u64::try_from(batch.length()).ok();
                    rows = n
                        .and_then(|n| rows.checked_add(n))
                        .ok_or_else(|| damaged("a batch of fewer than 0 rows", path))?;
                    n
                }
                other => return Err(damaged(format!("a message of type {other:?}"), path)),
            };
            messages.push(Message { offset: at, header, body, rows: message_rows });
            at = end;
        }
        let (schema, version) = found.ok_or_else(|| damaged("it has no schema", path))?;
        Ok(Contents { schema, version, messages, rows })
    }

    /// A reader of one column from row `start` on.
    pub fn batches(self, file: Source, path: &Path, column: usize, start: u64) -> Batches {
        let decoder = FileDecoder::new(self.schema, self.version).with_projection(vec![column]);
        Batches { file, path: path.to_path_buf(), decoder, messages: self.messages.into_iter(), skip: start }
    }
}

/// Whether it is a file, and no stream; a file ends as it starts.
fn starts_with_magic(file: &Source, len: u64, path: &Path) -> Result<bool> {
    let (mut start, mut end) = ([0; MAGIC.len()], [0; MAGIC.len()]);
    if len < MAGIC_BYTES {
        return Err(damaged(format!("it has {len} bytes"), path));
    }
    file.read(&mut start, 0).map_err(Error::io("read", path))?;
    file.read(&mut end, len - MAGIC.len() as u64).map_err(Error::io("read", path))?;
    match (start == *MAGIC, end == *MAGIC) {
        (true, false) => {
            Err(Error::format(path, "truncated: its end, an index of its batches, is missing; copy it again"))
        }
        (is_file, _) => Ok(is_file),
    }
}

/// Where a file's first message starts.
fn after_magic(file: &Source, len: u64, path: &Path) -> Result<u64> {
    let (mut at, mut word) = (MAGIC_BYTES, [0; 8]);
    while at < MOST_MAGIC_BYTES && at + 8 <= len {
        file.read(&mut word, at).map_err(Error::io("read", path))?;
        if word != [0; 8] {
            break;
        }
        at += 8;
    }
    Ok(at)
}

/// The header of the message at `at` and where it starts; nothing at the end of the stream.
fn header(file: &Source, (at, len): (u64, u64), path: &Path) -> Result<Option<(Vec<u8>, u64)>> {
    let mut words = [0; 8];
    let known = (len - at).min(8) as usize;
    file.read(&mut words[..known], at).map_err(Error::io("read", path))?;
    let (prefix, size) = match words.split_at(4) {
        // A stream may end without the word that says so.
        _ if known == 0 => return Ok(None),
        (first, second) if first == CONTINUATION => (8, second),
        (first, _) => (4, first),
    };
    if known < prefix {
        let problem = format!("truncated: it ends inside the length of the message at byte {at}");
        return Err(Error::format(path, format!("{problem}; copy it again")));
    }
    let size = i32::from_le_bytes([size[0], size[1], size[2], size[3]]);
    if size == 0 {
        return Ok(None);
    }
    let start = at + prefix as u64;
    let Some(size) = u64::try_from(size).ok().filter(|size| start + size <= len && *size < 1 << 30) else {
        let problem = format!("truncated or no Arrow file: a header at byte {at} promises {size} bytes");
        return Err(Error::format(path, format!("{problem}, but the file has {len} in all; copy it again")));
    };
    let mut text = vec![0; size as usize];
    file.read(&mut text, start).map_err(Error::io("read", path))?;
    Ok(Some((text, start)))
}

/// Decodes one column, batch by batch.
pub(super) struct Batches {
    file: Source,
    path: PathBuf,
    decoder: FileDecoder,
    messages: std::vec::IntoIter<Message>,
    /// Rows to be passed over.
    skip: u64,
}

impl Batches {
    /// The next batch that has rows; `None` at the end.
    pub fn next(&mut self) -> Result<Option<RecordBatch>> {
        for message in self.messages.by_ref() {
            if let Some(rows) = message.rows
                && self.skip >= rows
            {
                self.skip -= rows;
                continue;
            }
            // `Contents::read` has checked that it is within the file.
            let mut bytes = vec![0; message.header as usize + message.body as usize];
            self.file.read(&mut bytes, message.offset).map_err(Error::io("read", &self.path))?;
            let (buffer, block) =
                (Buffer::from_vec(bytes), Block::new(message.offset as i64, message.header, message.body));
            let (decoder, path) = (&mut self.decoder, &self.path);
            let Some(rows) = message.rows else {
                guarded(path, || decoder.read_dictionary(&block, &buffer).map_err(|e| arrow_error(e, path)))?;
                continue;
            };
            let batch = guarded(path, || decoder.read_record_batch(&block, &buffer).map_err(|e| arrow_error(e, path)))?;
            let batch = batch.filter(|batch| batch.num_rows() as u64 == rows);
            let batch = batch.ok_or_else(|| damaged("a batch of another number of rows than it says", path))?;
            let skip = std::mem::take(&mut self.skip) as usize;
            return Ok(Some(batch.slice(skip, batch.num_rows() - skip)));
        }
        Ok(None)
    }
}
