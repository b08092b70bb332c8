//! A dispatch as a kernel's twin sees it: the parameter block and the buffers as slices of the host's memory.

use crate::{ElementType, Error, Result};

/// One of a kernel's buffers as its twin sees it.
#[derive(Debug)]
pub enum HostSlice<'a> {
    /// Read only.
    Read(&'a [u8]),
    /// Read and written.
    Write(&'a mut [u8]),
}

/// A dispatch on the host: the kernel's parameters and buffers, in the order of its bindings.
#[derive(Debug)]
pub struct HostCall<'a> {
    /// The parameter block.
    pub params: &'a [u8],
    /// The storage buffers.
    pub buffers: Vec<HostSlice<'a>>,
    /// Element types of the input and the output rows.
    pub elements: (ElementType, ElementType),
}

impl<'a> HostCall<'a> {
    /// The parameter block as `T`.
    ///
    /// # Errors
    /// A block of another size.
    pub fn params<T: bytemuck::Pod>(&self) -> Result<T> {
        let size = size_of::<T>();
        // Blocks are filled up to a multiple of 16, as uniforms are.
        let fits = self.params.len() == size || self.params.len() == size.next_multiple_of(16);
        match self.params.get(..size).filter(|_| fits) {
            Some(bytes) => Ok(bytemuck::pod_read_unaligned(bytes)),
            None => Err(Error::shape("host engine", "parameters", size, self.params.len())),
        }
    }

    /// Takes buffer `index` for reading.
    ///
    /// # Errors
    /// No such buffer, or one bound for writing.
    pub fn read(&mut self, index: usize) -> Result<&'a [u8]> {
        match self.buffers.get_mut(index) {
            Some(HostSlice::Read(bytes)) => Ok(bytes),
            _ => Err(Error::shape("host engine", format!("buffer {index}"), "a buffer to read", "none")),
        }
    }

    /// Takes buffer `index` for writing; it is gone from the call afterwards.
    ///
    /// # Errors
    /// No such buffer, or one bound for reading.
    pub fn write(&mut self, index: usize) -> Result<&'a mut [u8]> {
        match self.buffers.get_mut(index).map(|slot| std::mem::replace(slot, HostSlice::Read(&[]))) {
            Some(HostSlice::Write(bytes)) => Ok(bytes),
            _ => Err(Error::shape("host engine", format!("buffer {index}"), "a buffer to write", "none")),
        }
    }
}
