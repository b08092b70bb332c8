//! Reads at a place in a file, from several threads at once, and writes.
//!
//! This is the hot path of files: bytes go straight between the page cache and the caller's block. A memory map would
//! save the copy but count every page that it touched as resident, and turn a truncated file into a fatal signal.

use std::fs::File;
use std::io;

use rayon::prelude::*;

/// Blocks up to this size are moved by the calling thread: waking the others would cost as much as the copy.
const PARALLEL_ABOVE: usize = 1 << 20;
/// Pieces are multiples of a page, so that no two threads fill the same one.
const PAGE: usize = 4096;

/// Fills `out` from the bytes at `offset`; `UnexpectedEof` if the file ends before.
pub(super) fn read(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    if out.len() <= PARALLEL_ABOVE {
        return read_piece(file, out, offset);
    }
    let piece = piece_bytes(out.len());
    out.par_chunks_mut(piece).enumerate().try_for_each(|(i, part)| read_piece(file, part, offset + (i * piece) as u64))
}

/// Writes all of `bytes` at `offset`. On one thread: file systems let one writer at a time into a file, and others spin.
pub(super) fn write(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    write_piece(file, bytes, offset)
}

/// Makes the file `len` bytes long and takes the room for them from the disk, so that a full disk shows before the work. Where
/// the system can: there, writing the bytes then takes a third less of its time, for the file system has no blocks to count and
/// to find.
pub(super) fn reserve(file: &File, len: u64) -> io::Result<()> {
    file.set_len(len)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len) {
        Err(e) if matches!(e, rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => return Err(e.into()),
        // Some file systems cannot; then the room is taken as the bytes come.
        _ => {}
    }
    Ok(())
}

fn piece_bytes(len: usize) -> usize {
    len.div_ceil(rayon::current_num_threads()).next_multiple_of(PAGE)
}

#[cfg(unix)]
fn read_piece(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(unix)]
fn write_piece(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_piece(file: &File, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !out.is_empty() {
        match file.seek_read(out, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                out = &mut out[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(windows)]
fn write_piece(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        match file.seek_write(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_above_the_parallel_size_come_back_whole() {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..PARALLEL_ABOVE * 3 + 12_345).map(|i| (i % 251) as u8).collect();
        write(&file, &bytes, 7).unwrap();
        let mut back = vec![0; bytes.len()];
        read(&file, &mut back, 7).unwrap();
        assert!(back == bytes);
        let error = read(&file, &mut back, 8).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
