//! Text towers: tables of tokens and positions, and the blocks behind them.

use super::blocks::{BlockSpace, Blocks, Chosen};
use super::load::{Loader, Norm};
use super::text::Batch;
use crate::Result;
use crate::device::{Device, Recorder, Tensor};
use crate::io::encoder::{BUCKETS, MAX_DISTANCE, TextConfig, bucket_of};
use crate::kernels::nn::add_rows;
use crate::kernels::nn::attention::{Mask, Sequence, Sequences};
use crate::kernels::nn::embedding::{self, Scales};
use crate::nn::ShardedMatrix;

/// A tower of CLIP's, SigLIP's or BERT's kind.
#[derive(Debug)]
pub(super) struct TextTower {
    table: ShardedMatrix,
    /// With the first kind of tokens added, where a model has kinds.
    positions: Tensor,
    norm: Option<Norm>,
    blocks: Blocks,
    last_norm: Option<Norm>,
    causal: bool,
}

impl TextTower {
    /// The tower whose tensors' names begin with `prefix`.
    pub fn load(loader: &mut Loader<'_>, config: &TextConfig, prefix: &str) -> Result<Self> {
        let (width, eps, names) = (config.blocks.width, config.blocks.norm_eps, config.names);
        let name = |part: &str| format!("{prefix}{part}");
        let table = loader.matrix(&name(names.tokens), &[config.vocabulary, width], width)?;
        let mut positions = loader.numbers(&name(names.positions), &[config.position_rows, width])?;
        positions.drain(..config.first_position.min(config.position_rows) * width);
        if config.types > 0 {
            let types = loader.numbers(&name(names.types), &[config.types, width])?;
            let first = &types[..width];
            let rows = positions.chunks_exact_mut(width);
            rows.for_each(|row| row.iter_mut().zip(first).for_each(|(x, t)| *x += t));
        }
        let norm = |loader: &mut Loader<'_>, part: Option<&str>| {
            part.map(|part| loader.norm(&name(part), width, eps)).transpose()
        };
        let mut blocks = Blocks::load(loader, &config.blocks, prefix)?;
        if config.relative {
            blocks = blocks.with_distances(distances(loader, config, prefix)?);
        }
        Ok(TextTower {
            table,
            positions: Tensor::from_f32(loader.device, &positions, width)?,
            norm: norm(loader, names.norm)?,
            blocks,
            last_norm: norm(loader, names.last_norm)?,
            causal: config.causal,
        })
    }

    /// An encoder of BERT's kind and of this shape, whose numbers are made up.
    #[cfg(feature = "bench")]
    pub fn random(device: &Device, config: &TextConfig) -> Result<Self> {
        TextTower::load(&mut Loader::random(device), config, "")
    }

    /// Work space for so many tokens.
    pub fn space(&self, device: &Device, tokens: usize) -> Result<BlockSpace> {
        BlockSpace::new(device, &self.blocks, tokens)
    }

    /// The chosen rows, and what each one's query sees.
    fn chosen(&self, device: &Device, batch: &Batch) -> Result<Option<Chosen>> {
        let Some(rows) = &batch.chosen else { return Ok(None) };
        let (mut first, mut list) = (0, Vec::with_capacity(rows.len()));
        for (i, (&row, &length)) in rows.iter().zip(&batch.lengths).enumerate() {
            let seen = if self.causal { row - first + 1 } else { length };
            list.push(Sequence { q_first: i as u32, q_count: 1, k_first: first, k_count: seen });
            first += length;
        }
        Ok(Some(Chosen {
            rows: device.buffer_from("rows of texts", bytemuck::cast_slice(rows))?,
            sequences: Sequences::masked(device, Mask::Full, &list)?,
        }))
    }

    /// Records the rows of a batch's tokens, or those that are chosen.
    pub fn record(&self, recorder: &mut Recorder, batch: &Batch, space: &BlockSpace) -> Result<Tensor> {
        let device = &recorder.device().clone();
        let words = |name, words: &[u32]| device.buffer_from(name, bytemuck::cast_slice(words));
        let (space, texts) = (space.first_rows(batch.ids.len())?, batch.lengths.len());
        let ids = words("tokens", &batch.ids)?;
        let embedded = if self.norm.is_some() { &space.middle } else { &space.stream };
        embedding::gather_shards(recorder, self.table.shards(), None, &ids, (embedded, Scales::default()))?;
        add_rows::record(recorder, &self.positions, &words("places of tokens", &batch.places)?, embedded)?;
        if let Some(norm) = &self.norm {
            norm.forward(recorder, embedded, &space.stream)?;
        }
        let mask = if self.causal { Mask::Causal } else { Mask::Full };
        let sequences = Sequences::packed_masked(device, mask, &batch.lengths)?;
        let chosen = self.chosen(device, batch)?;
        let few = chosen.as_ref().map(|_| BlockSpace::new(device, &self.blocks, texts)).transpose()?;
        let rows = self.blocks.forward(recorder, (&sequences, chosen.as_ref()), (&space, few.as_ref()))?;
        let Some(norm) = &self.last_norm else { return Ok(rows.clone()) };
        let normed = few.as_ref().map_or(&space.middle, |few| &few.middle);
        norm.forward(recorder, rows, normed)?;
        Ok(normed.clone())
    }
}

/// What each head adds to scores at each distance, `[heads, 2 reach + 1]`: files have it by kinds of distances.
fn distances(loader: &mut Loader<'_>, config: &TextConfig, prefix: &str) -> Result<Tensor> {
    let heads = config.blocks.heads;
    let kinds = loader.numbers(&format!("{prefix}{}", config.names.distances), &[BUCKETS, heads])?;
    let reach = MAX_DISTANCE as isize;
    let row = |head: usize| (-reach..=reach).map(move |key| (bucket_of(key), head));
    let table: Vec<f32> = (0..heads).flat_map(row).map(|(kind, head)| kinds[kind * heads + head]).collect();
    Tensor::from_f32(loader.device, &table, 2 * MAX_DISTANCE + 1)
}

/// Made-up texts of some lengths for a tower of made-up numbers, time and again.
#[cfg(feature = "bench")]
pub(crate) struct RandomTexts {
    device: Device,
    tower: TextTower,
    batch: Batch,
    space: BlockSpace,
}

#[cfg(feature = "bench")]
impl RandomTexts {
    pub fn new(device: &Device, config: &TextConfig, lengths: Vec<u32>) -> Result<Self> {
        let tokens = lengths.iter().sum::<u32>();
        let tower = TextTower::random(device, config)?;
        let space = tower.space(device, tokens as usize)?;
        let batch = Batch {
            ids: (0..tokens).map(|i| i.wrapping_mul(7919) % config.vocabulary as u32).collect(),
            places: lengths.iter().flat_map(|length| 0..*length).collect(),
            lengths,
            chosen: None,
            spans: Vec::new(),
        };
        Ok(RandomTexts { device: device.clone(), tower, batch, space })
    }

    /// Computes all rows of the texts, and waits for them.
    pub fn run_blocking(&self) -> Result<()> {
        let mut recorder = self.device.recorder();
        self.tower.record(&mut recorder, &self.batch, &self.space)?;
        recorder.submit()?.wait()
    }
}
