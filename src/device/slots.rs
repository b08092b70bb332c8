//! Slots for streaming: a tensor and the way in or out of it, used again and again. With two slots the host fills or
//! drains one while the device works on the other.

use super::recorder::Command;
use super::{Device, Engine, Recorder, Storage, Tensor};
use crate::spec::{Purpose, Use};
use crate::{ElementType, Error, Result};

const ROWS: (Purpose, &str) = (Purpose::Data, "rows");

/// A tensor that the host fills directly: in mapped memory where host and device share it, else in a staging buffer.
#[derive(Debug)]
pub struct UploadSlot {
    tensor: Tensor,
    device: Device,
}

impl UploadSlot {
    /// A slot of up to `rows` rows.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn new(device: &Device, rows: usize, width: usize, element: ElementType) -> Result<Self> {
        let tensor = Tensor::with_use(device, ROWS, (rows, width), element, Use::Upload)?;
        Ok(UploadSlot { tensor, device: device.clone() })
    }

    /// The tensor.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Waits until the device is done with the slot, then lets `f` fill its memory, padded rows.
    ///
    /// # Errors
    /// Those of `f`; the device was lost.
    pub fn fill<R>(&mut self, f: impl FnOnce(&mut [u8]) -> Result<R>) -> Result<R> {
        match (&self.device.0.engine, self.tensor.buffer().storage()) {
            (Engine::Gpu(gpu), Storage::Gpu(memory)) => gpu.fill(memory, f),
            (Engine::Host, Storage::Host(memory)) => memory.write(f),
            _ => Err(Error::shape("upload", "slot", "one device", "two")),
        }
    }

    /// Records the transfer; kernels recorded afterwards see the data.
    pub fn record(&self, recorder: &mut Recorder) {
        recorder.push(Command::Upload(self.tensor.buffer().clone()));
    }
}

/// A tensor that the host reads directly.
#[derive(Debug)]
pub struct DownloadSlot {
    tensor: Tensor,
    device: Device,
}

impl DownloadSlot {
    /// A slot of up to `rows` rows.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn new(device: &Device, rows: usize, width: usize, element: ElementType) -> Result<Self> {
        let tensor = Tensor::with_use(device, ROWS, (rows, width), element, Use::Download)?;
        Ok(DownloadSlot { tensor, device: device.clone() })
    }

    /// The tensor.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Records the transfer of what the kernels recorded before wrote.
    pub fn record(&self, recorder: &mut Recorder) {
        recorder.push(Command::Download(self.tensor.buffer().clone()));
    }

    /// Waits until the last submitted transfer is done, then lets `f` read the padded rows.
    ///
    /// # Errors
    /// Those of `f`; the device was lost.
    pub fn read<R>(&self, f: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        match (&self.device.0.engine, self.tensor.buffer().storage()) {
            (Engine::Gpu(gpu), Storage::Gpu(memory)) => gpu.drain(memory, f),
            (Engine::Host, Storage::Host(memory)) => memory.read(f),
            _ => Err(Error::shape("download", "slot", "one device", "two")),
        }
    }
}
