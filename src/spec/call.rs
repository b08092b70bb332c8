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

/// The product of some sides, which parameters gave: how many elements a twin needs. The largest number, which no buffer holds, where the
/// product itself does not fit.
pub fn volume<const N: usize>(sides: [usize; N]) -> usize {
    sides.into_iter().fold(1, usize::saturating_mul)
}

/// Refuses parameters of a dispatch unless they fit: `what` is wrong with them otherwise.
///
/// # Errors
/// They do not fit.
pub fn check_params(fit: bool, what: &str) -> Result<()> {
    if fit { Ok(()) } else { Err(Error::argument("parameters of a dispatch", what)) }
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

    /// Takes buffer `index` for reading, as elements of type `T`, of which the twin reads `at_least` so many.
    ///
    /// # Errors
    /// As [`Self::read`]; fewer elements; bytes that are no whole number of elements, or that are not aligned as elements are.
    pub fn read_as<T: bytemuck::Pod>(&mut self, index: usize, at_least: usize) -> Result<&'a [T]> {
        let bytes = self.read(index)?;
        let elements = if bytes.is_empty() { Some(&[][..]) } else { bytemuck::try_cast_slice(bytes).ok() };
        elements.filter(|e| e.len() >= at_least).ok_or_else(|| unfit::<T>(index, at_least, bytes.len()))
    }

    /// Takes buffer `index` for writing, as elements of type `T`, of which the twin touches `at_least` so many; it is gone from the call
    /// afterwards.
    ///
    /// # Errors
    /// As [`Self::write`] and [`Self::read_as`].
    pub fn write_as<T: bytemuck::Pod>(&mut self, index: usize, at_least: usize) -> Result<&'a mut [T]> {
        let bytes = self.write(index)?;
        let length = bytes.len();
        let elements = if length == 0 { Some(&mut [][..]) } else { bytemuck::try_cast_slice_mut(bytes).ok() };
        elements.filter(|e| e.len() >= at_least).ok_or_else(|| unfit::<T>(index, at_least, length))
    }
}

fn unfit<T>(index: usize, at_least: usize, bytes: usize) -> Error {
    let want = format!("whole elements of {} bytes, at least {at_least}", size_of::<T>());
    Error::shape("host engine", format!("buffer {index}"), want, format!("{bytes} bytes"))
}
