//! The adapter's input: image embeddings as they are, or text embeddings aligned on the fly [paper section 5], with noise.

use std::path::Path;

use super::Batch;
use super::noise::noise;
use super::settings::{NoiseShape, Settings, Stage};
use crate::align::{Aligner, Method, OnDevice, Statistics, Target};
use crate::device::{Buffer, Device, Tensor};
use crate::geometry::symmetric_eigen;
use crate::host::{norm_of, to_unit};
use crate::io::{AdapterWeights, Dataset, EmbeddingRows, EncoderId, IdIndex, Ids, OpenOptions};
use crate::kernels::align::apply::{first_bad_row, status_buffer};
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::stats::{DatasetRows, StreamOptions, covariance};
use crate::{ElementType, Error, Result};

/// Embeddings on disk and the names of their rows.
#[derive(Debug)]
pub struct NamedEmbeddings {
    /// The rows.
    pub rows: EmbeddingRows,
    /// Their names.
    pub index: IdIndex,
}

/// Which files, and what in them.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingFiles<'a> {
    /// Files, folders or patterns.
    pub inputs: &'a [std::path::PathBuf],
    /// The list of the rows' ids, for npy and safetensors files.
    pub ids: Option<&'a Path>,
    /// The tensor in safetensors files.
    pub key: Option<&'a str>,
    /// The column in parquet files.
    pub column: Option<&'a str>,
    /// The column or field of ids.
    pub id_column: Option<&'a str>,
}

impl EmbeddingFiles<'_> {
    /// Opens them, with the names of all rows.
    ///
    /// # Errors
    /// Files that cannot be read or differ in width; no ids, or another number of them; an id twice.
    pub fn open(&self) -> Result<NamedEmbeddings> {
        let dataset = self.dataset()?;
        let ids = Ids::of_dataset(&dataset, self.ids, self.id_column)?;
        let origin = self.ids.or(self.inputs.first().map(|p| p.as_path())).unwrap_or(Path::new("embeddings"));
        Ok(NamedEmbeddings { index: IdIndex::new(ids, origin)?, rows: EmbeddingRows::open(&dataset)? })
    }

    /// Opens the rows alone.
    ///
    /// # Errors
    /// Files that cannot be read or differ in width.
    pub fn dataset(&self) -> Result<Dataset> {
        let options = OpenOptions {
            key: self.key.map(str::to_owned),
            column: self.column.map(str::to_owned),
            ..Default::default()
        };
        Dataset::open(self.inputs, &options)
    }
}

/// Noise on the adapter's input, `σ F g` with `g` standard normal; F is the identity if there is none.
#[derive(Debug)]
struct Noise {
    sigma: f32,
    seed: u64,
    /// F transposed, `[d, d]`: F F' is the images' covariance, scaled to the trace d.
    shape: Option<Tensor>,
}

/// Makes the adapter's input for batches.
pub struct VisualInputs {
    device: Device,
    rows: EmbeddingRows,
    aligner: Option<Alignment>,
    noise: Option<Noise>,
    /// Whether rows are divided by their norms as they are read.
    unit: bool,
    block: Vec<f32>,
}

struct Alignment {
    method: Method,
    operator: Box<dyn OnDevice>,
    status: Buffer,
}

impl std::fmt::Debug for VisualInputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let method = self.aligner.as_ref().map(|a| a.method);
        f.debug_struct("VisualInputs").field("rows", &self.rows).field("aligner", &method).finish_non_exhaustive()
    }
}

impl VisualInputs {
    /// Rows as they are, or mapped by an operator.
    ///
    /// # Errors
    /// An operator for another width; no memory.
    pub fn new(device: &Device, rows: EmbeddingRows, aligner: Option<&dyn Aligner>) -> Result<Self> {
        let aligner = aligner.filter(|a| a.method() != Method::None).map(|a| {
            if a.width() != rows.width() {
                let want = format!("width {}, as the statistics", a.width());
                return Err(Error::shape("align embeddings", "embeddings", want, format!("width {}", rows.width())));
            }
            Ok(Alignment { method: a.method(), operator: a.on(device)?, status: status_buffer(device)? })
        });
        let (aligner, noise, block) = (aligner.transpose()?, None, Vec::new());
        Ok(VisualInputs { device: device.clone(), rows, aligner, noise, unit: false, block })
    }

    /// The same for an adapter of which its file says that it learnt from rows of length 1, or not, or nothing (`learnt`). Rows that are an encoder's
    /// own (`made`), of any length, are divided by their norms where it did; of all others that may not suit it is warned.
    #[must_use]
    pub fn suited_to(mut self, learnt: Option<bool>, made: bool) -> Self {
        self.unit = made && learnt == Some(true);
        if !self.gives_unit_rows() && self.read_first().is_some() {
            warn_of_lengths(&self.block, self.rows.width(), (learnt, made));
        }
        self
    }

    /// Whether the adapter's input has length 1, but for noise: aligned rows have.
    fn gives_unit_rows(&self) -> bool {
        self.unit || self.aligner.is_some()
    }

    /// Whether the first rows have length 1 as the adapter gets them; so do those that cannot be read, which is said where they are used.
    pub(super) fn are_of_length_1(&mut self) -> bool {
        let width = self.rows.width();
        self.gives_unit_rows() || self.read_first().is_none() || odd_length(&self.block, width).is_none()
    }

    fn read_first(&mut self) -> Option<()> {
        let first: Vec<u32> = (0..self.rows.rows().min(8) as u32).collect();
        self.read(&first).ok()
    }

    /// The inputs that a run's settings ask for.
    ///
    /// # Errors
    /// Statistics or images that cannot be read or do not fit; no memory.
    pub fn of_settings(device: &Device, rows: EmbeddingRows, settings: &Settings) -> Result<Self> {
        let aligner = match (&settings.stats, settings.stage) {
            (Some(path), Stage::One) => aligner(path, settings.aligner, (rows.encoders(), settings.any_encoder))?,
            _ => None,
        };
        let mut inputs = VisualInputs::new(device, rows, aligner.as_deref())?;
        if let Some(adapter) = &settings.init_adapter {
            let made = settings.stage == Stage::Two && settings.vision_model.is_some();
            inputs = inputs.suited_to(AdapterWeights::load(adapter)?.unit_rows(), made);
        }
        if settings.noise > 0.0 {
            let shape = match settings.noise_shape {
                NoiseShape::Isotropic => None,
                NoiseShape::Covariance => Some(inputs.shape_of(settings)?),
            };
            inputs.noise = Some(Noise { sigma: settings.noise as f32, seed: settings.seed, shape });
        }
        Ok(inputs)
    }

    /// d.
    pub fn width(&self) -> usize {
        self.rows.width()
    }

    /// A factor of the images' covariance, transposed.
    fn shape_of(&self, settings: &Settings) -> Result<Tensor> {
        let files = EmbeddingFiles {
            inputs: &settings.noise_images,
            ids: None,
            key: settings.key.as_deref(),
            column: settings.column.as_deref(),
            id_column: None,
        };
        let dataset = files.dataset()?;
        let d = self.width();
        if dataset.width() != d {
            let got = format!("width {}", dataset.width());
            return Err(Error::shape("shape the noise", "noise_images", format!("width {d}"), got));
        }
        let covariance = covariance(&self.device, &mut DatasetRows::new(&dataset), StreamOptions::default())?;
        let trace = covariance.trace();
        if trace <= 0.0 {
            return Err(Error::degenerate(
                "noise_images: all rows are equal, so they give the noise no shape".to_owned(),
            ));
        }
        let eigen = symmetric_eigen(&covariance.matrix, d)?;
        // Row k of F' is the k-th direction times its standard deviation.
        let scales = eigen.values.iter().map(|value| (value.max(0.0) * d as f64 / trace).sqrt());
        let rows = eigen.vectors.chunks_exact(d).zip(scales);
        let factor: Vec<f32> = rows.flat_map(|(row, scale)| row.iter().map(move |x| (x * scale) as f32)).collect();
        Tensor::from_f32(&self.device, &factor, d)
    }

    /// The adapter's input for a batch, `[m, d]` f32, without noise.
    ///
    /// # Errors
    /// A row that is not there or not finite; no memory; the device was lost.
    pub fn clean(&mut self, batch: &Batch) -> Result<Tensor> {
        self.rows(&batch.embedding_rows)
    }

    /// The adapter's input for these rows of the embeddings, `[m, d]` f32, without noise.
    ///
    /// # Errors
    /// As [`Self::clean`].
    pub fn rows(&mut self, rows: &[u32]) -> Result<Tensor> {
        self.read(rows)?;
        let tensor = Tensor::from_f32(&self.device, &self.block, self.rows.width())?;
        match &self.aligner {
            None => Ok(tensor),
            Some(alignment) => self.align(alignment, &tensor, rows),
        }
    }

    /// The adapter's input for a batch at an optimiser step, `[m, d]` f32: with noise, if the settings have it. A sample's
    /// noise depends on the seed, the step and its number alone.
    ///
    /// # Errors
    /// As [`Self::clean`].
    pub fn noisy(&mut self, batch: &Batch, step: u64) -> Result<Tensor> {
        let clean = self.clean(batch)?;
        let Some(Noise { sigma, seed, shape }) = &self.noise else { return Ok(clean) };
        let samples: Vec<u32> = batch.visual_sequences.iter().map(|i| batch.samples[*i as usize]).collect();
        let width = self.rows.width();
        let mut recorder = self.device.recorder();
        let drawn = noise(width, &samples, (*seed, step));
        match shape {
            None => {
                let scaled: Vec<f32> = drawn.iter().map(|g| sigma * g).collect();
                let scaled = Tensor::from_f32(&self.device, &scaled, width)?;
                crate::kernels::nn::elementwise::add(&mut recorder, &scaled, &clean)?;
            }
            Some(factor) => {
                let drawn = Tensor::from_f32(&self.device, &drawn, width)?;
                let product = Product { alpha: *sigma, accumulate: true, upper: false };
                let operands = (Operand::new(&drawn), Operand::new(factor));
                matmul::record(&mut recorder, product, operands, (&clean, 0))?;
            }
        }
        recorder.submit()?;
        Ok(clean)
    }

    fn read(&mut self, rows: &[u32]) -> Result<()> {
        self.block.resize(rows.len() * self.rows.width(), 0.0);
        self.rows.read(rows, &mut self.block)?;
        if self.unit {
            for row in self.block.chunks_exact_mut(self.rows.width()) {
                to_unit(row);
            }
        }
        Ok(())
    }

    /// Records the operator. C3's noise goes by the row of the data, so with it each row is recorded alone.
    fn align(&self, alignment: &Alignment, tensor: &Tensor, rows: &[u32]) -> Result<Tensor> {
        let new = |n| Tensor::new(&self.device, n, tensor.width(), ElementType::F32);
        let output = new(rows.len())?;
        let mut recorder = self.device.recorder();
        let status = &alignment.status;
        if alignment.method != Method::C3 {
            let target = Target { output: &output, status, first_row: 0 };
            alignment.operator.record(&mut recorder, tensor, rows.len(), target)?;
        } else {
            let one = (new(1)?, new(1)?);
            for (i, row) in rows.iter().enumerate() {
                recorder.copy_rows((tensor, i), (&one.0, 0), 1)?;
                let target = Target { output: &one.1, status, first_row: u64::from(*row) };
                alignment.operator.record(&mut recorder, &one.0, 1, target)?;
                recorder.copy_rows((&one.1, 0), (&output, i), 1)?;
            }
        }
        recorder.submit()?;
        Ok(output)
    }

    /// Whether every row so far could be aligned; [`EmbeddingRows::read`] has refused what is not finite already, so this
    /// finds sums that overflow.
    ///
    /// # Errors
    /// A row that could not; the device was lost.
    pub fn check(&self) -> Result<()> {
        self.status().map_or(Ok(()), |status| judge(&self.device.read_blocking(status)?))
    }

    /// What [`judge`] reads, if there is an aligner.
    pub(super) fn status(&self) -> Option<&Buffer> {
        self.aligner.as_ref().map(|alignment| &alignment.status)
    }
}

/// A length other than 1 among those of rows `[n, width]`; rows of zeros have none.
fn odd_length(rows: &[f32], width: usize) -> Option<f64> {
    let mut lengths = rows.chunks_exact(width.max(1)).map(norm_of).filter(|length| *length > 0.0);
    lengths.find(|length| (length - 1.0).abs() > 0.05)
}

/// Warns where rows `[n, width]` have another length than 1 and go to an adapter that learnt from rows of length 1, or may have: `learnt` is what its
/// file says, see [`AdapterWeights::unit_rows`]; `made` tells rows that are an encoder's own from those that were given.
pub fn warn_of_lengths(rows: &[f32], width: usize, (learnt, made): (Option<bool>, bool)) {
    let Some(length) = odd_length(rows, width) else { return };
    match learnt {
        Some(true) => log::warn!(
            "embeddings have lengths such as {length:.3}, but the adapter learnt from rows of length 1; divide them by their norms"
        ),
        None if made => log::warn!(
            "the adapter's file does not say whether it learnt from rows of length 1; those of pictures have lengths such as {length:.3}"
        ),
        _ => {}
    }
}

/// Whether the aligner's status says that every row could be aligned.
pub(super) fn judge(status: &[u8]) -> Result<()> {
    match first_bad_row(status) {
        None => Ok(()),
        Some(_) => Err(Error::degenerate("a text embedding is too large to be aligned; check the embeddings")),
    }
}

/// The operator of a statistics file, or the one called `method` with the file's means and traces, for rows that these encoders made; with `any`
/// they may be others than the statistics' own.
///
/// # Errors
/// A file that cannot be read, or one that lacks what the method needs; rows of another encoder.
pub fn aligner(
    path: &Path,
    method: Option<Method>,
    (encoders, any): (&[EncoderId], bool),
) -> Result<Option<Box<dyn Aligner>>> {
    let statistics = Statistics::load(path)?;
    let method = method.unwrap_or(statistics.method);
    if method == Method::None {
        return Ok(None);
    }
    if method == Method::Centre {
        let problem = "centre moves the pictures, too, and a run keeps no mean to move those of its second stage and of questions by: they would \
                       lie apart from the texts that it learnt from; choose mean-shift, which moves texts alone to where the pictures are";
        return Err(Error::argument("aligner", problem));
    }
    statistics.check_source_encoders(encoders, any)?;
    statistics.as_method(method).map(|s| Some(s.aligner())).map_err(|error| match error {
        Error::Argument { problem, .. } => Error::format(path, problem),
        error => error,
    })
}
