//! What a case is: what is timed, on how much data, and what it has to move and to compute at least.

use crate::device::{Buffer, Device, DeviceKind, Recorder};
pub(super) use crate::tuning::numbers;
use crate::{Error, Result};

/// Shapes of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Rows of embeddings.
    pub rows: usize,
    /// Their width.
    pub width: usize,
    /// Side of the matrices that are multiplied.
    pub side: usize,
    /// Tokens of a batch.
    pub tokens: usize,
    /// Width of a decoder's stream.
    pub hidden: usize,
    /// Columns of a chunk of the vocabulary.
    pub vocabulary: usize,
    /// Rows of either side whose neighbours are found.
    pub neighbours: usize,
    /// Sequences of a training step.
    pub batch: usize,
}

impl Sizes {
    /// The sizes for a device; `quick` ones take seconds instead of minutes, and on a GPU fit into its caches.
    pub fn of(device: &Device, quick: bool) -> Self {
        let gpu = !matches!(device.capabilities().kind, DeviceKind::Host | DeviceKind::Software);
        match (gpu, quick) {
            (_, true) => Sizes {
                rows: 4000,
                width: 1280,
                side: 512,
                tokens: 128,
                hidden: 1024,
                vocabulary: 4096,
                neighbours: 1000,
                batch: 2,
            },
            (false, false) => Sizes {
                rows: 20_000,
                width: 1280,
                side: 1024,
                tokens: 512,
                hidden: 2048,
                vocabulary: 8192,
                neighbours: 5000,
                batch: 8,
            },
            (true, false) => Sizes {
                rows: 100_000,
                width: 1280,
                side: 4096,
                tokens: 4096,
                hidden: 4096,
                vocabulary: 32_768,
                neighbours: 50_000,
                batch: 32,
            },
        }
    }
}

/// What kind of case it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One kernel.
    Kernel,
    /// A job as users run it, files left out: chunks, transfers and the host's share included.
    EndToEnd,
}

impl Kind {
    /// As results files have it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kernel => "kernel",
            Kind::EndToEnd => "end to end",
        }
    }
}

/// Records a case's commands.
pub type Record = Box<dyn Fn(&mut Recorder) -> Result<()>>;

/// What is done.
pub enum Run {
    /// Commands that are recorded anew for each sample.
    Recorded(Record),
    /// A call.
    Called(Box<dyn FnMut() -> Result<()>>),
    /// A call that gives the seconds of it that count.
    Timed(Box<dyn FnMut() -> Result<f64>>),
}

/// How a result is compared with the host engine's before it is timed.
pub struct Check {
    /// The result.
    pub result: Buffer,
    /// Whether every bit must agree: integers; f32 otherwise, to 2e-5 of the largest value.
    pub exact: bool,
    /// Whether it is f16.
    pub halves: bool,
    /// What tensor cores add to the error, of the largest value.
    pub on_cores: f32,
}

/// Things of which there are so many in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Items {
    /// How many.
    pub count: u64,
    /// Of what, in the plural.
    pub unit: &'static str,
}

/// A case, ready to run on a device.
pub struct Case {
    /// Shapes, for people.
    pub shape: String,
    /// Bytes that must move at least; 0 where that says nothing.
    pub bytes: u64,
    /// FLOPs that the definition has; 0 where that says nothing.
    pub flops: u64,
    /// What throughput counts, if not bytes or FLOPs.
    pub items: Option<Items>,
    /// What is done.
    pub run: Run,
    /// How its result is checked.
    pub check: Option<Check>,
}

impl Case {
    /// A kernel whose result is compared with the host engine's.
    pub(super) fn kernel(
        shape: String,
        (bytes, flops): (u64, u64),
        (result, exact): (&Buffer, bool),
        record: impl Fn(&mut Recorder) -> Result<()> + 'static,
    ) -> Self {
        let check = Some(Check { result: result.clone(), exact, halves: false, on_cores: 0.0 });
        Case { shape, bytes, flops, items: None, run: Run::Recorded(Box::new(record)), check }
    }

    /// A job.
    pub(super) fn job(shape: String, items: Items, call: impl FnMut() -> Result<()> + 'static) -> Self {
        Case { shape, bytes: 0, flops: 0, items: Some(items), run: Run::Called(Box::new(call)), check: None }
    }

    /// With FLOPs.
    pub(super) fn with_flops(self, flops: u64) -> Self {
        Case { flops, ..self }
    }

    /// The same with a result of f16.
    pub(super) fn in_halves(mut self) -> Self {
        self.check.iter_mut().for_each(|check| check.halves = true);
        self
    }

    /// The same where tensor cores add an error of so much of the largest value.
    pub(super) fn rounding_on_cores(mut self, error: f32) -> Self {
        self.check.iter_mut().for_each(|check| check.on_cores = error);
        self
    }

    /// Runs it once, and gives its result's bytes.
    ///
    /// # Errors
    /// What the device says; a case without a result.
    pub fn result(&self, device: &Device) -> Result<Vec<u8>> {
        let (Run::Recorded(record), Some(check)) = (&self.run, &self.check) else {
            return Err(Error::argument("case", "has no result"));
        };
        let mut recorder = device.recorder();
        record(&mut recorder)?;
        recorder.submit()?.wait()?;
        device.read_blocking(&check.result)
    }
}
