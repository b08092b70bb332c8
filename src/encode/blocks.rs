//! The blocks of a tower: attention and MLP with norms before them or behind them.

use super::heads::HeadShape;
use super::load::{Linear, Loader, Norm, Then, act};
use crate::device::{Buffer, Device, Purpose, Recorder, Tensor};
use crate::io::encoder::BlocksConfig;
use crate::kernels::nn::attention::{self, Heads, Sequences};
use crate::kernels::nn::gate::Act;
use crate::kernels::nn::{attention_relative, elementwise, embedding};
use crate::nn::Precision;
use crate::{ElementType, Result};

/// Attention's four projections.
#[derive(Clone, Debug)]
pub(super) struct Projections {
    pub q: Linear,
    pub k: Linear,
    pub v: Linear,
    pub o: Linear,
}

/// The two layers of an MLP.
#[derive(Clone, Debug)]
pub(super) struct Mlp {
    pub inner: Linear,
    pub outer: Linear,
}

#[derive(Clone, Debug)]
struct Layer {
    attention: Projections,
    attention_norm: Norm,
    mlp: Mlp,
    mlp_norm: Norm,
}

/// All blocks of a tower.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    layers: Vec<Layer>,
    heads: HeadShape,
    width: usize,
    inner: usize,
    act: Act,
    norms_after: bool,
    precision: Precision,
    /// What distances add to scores in every block, as [`attention_relative`] reads it.
    distances: Option<Tensor>,
}

/// The rows that pooling reads, where it reads single ones: the last block makes no others.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// A row of each sequence, `[sequences]`.
    pub rows: Buffer,
    /// Each row's query, and the keys that it sees.
    pub sequences: Sequences,
}

/// Work space for so many tokens and chosen rows. The stream, sums and what norms read are f32; what products read is as the precision says.
#[derive(Clone, Debug)]
pub(super) struct BlockSpace {
    /// The stream, into which the blocks' input goes, and its norm.
    pub stream: Tensor,
    pub normed: Tensor,
    /// f32, and of no use before and after the blocks.
    pub middle: Tensor,
    /// What products read where norms come after, and the norm, which is added to, has to stay f32.
    rounded: Option<Tensor>,
    pub q: Tensor,
    pub k: Tensor,
    pub v: Tensor,
    pub attended: Tensor,
    pub sums: Tensor,
    pub inner: Tensor,
}

impl BlockSpace {
    pub fn new(device: &Device, blocks: &Blocks, tokens: usize) -> Result<Self> {
        let make =
            |name, width, element| Tensor::labelled(device, (Purpose::Activations, name), (tokens, width), element);
        let (width, all, f32) = (blocks.width, blocks.heads.all(), ElementType::F32);
        let read = blocks.precision.activations();
        let rounds = blocks.norms_after && read != f32;
        Ok(BlockSpace {
            stream: make("stream of a tower", width, f32)?,
            normed: make("norm of a tower's stream", width, if blocks.norms_after { f32 } else { read })?,
            middle: make("stream after attention", width, f32)?,
            rounded: rounds.then(|| make("rounded stream", width, read)).transpose()?,
            q: make("queries", all, read)?,
            k: make("keys", all, read)?,
            v: make("values", all, read)?,
            attended: make("attention outputs", all, read)?,
            sums: make("attention sums", blocks.heads.count, f32)?,
            inner: make("MLP's inner rows", blocks.inner, read)?,
        })
    }

    /// The same memory for the first tokens.
    pub fn first_rows(&self, tokens: usize) -> Result<Self> {
        Ok(BlockSpace {
            stream: self.stream.first_rows(tokens)?,
            normed: self.normed.first_rows(tokens)?,
            middle: self.middle.first_rows(tokens)?,
            rounded: self.rounded.as_ref().map(|t| t.first_rows(tokens)).transpose()?,
            q: self.q.first_rows(tokens)?,
            k: self.k.first_rows(tokens)?,
            v: self.v.first_rows(tokens)?,
            attended: self.attended.first_rows(tokens)?,
            sums: self.sums.first_rows(tokens)?,
            inner: self.inner.first_rows(tokens)?,
        })
    }

    /// Rows in f32 as products read them.
    fn rounded<'a>(&'a self, recorder: &mut Recorder, rows: &'a Tensor) -> Result<&'a Tensor> {
        let Some(rounded) = &self.rounded else { return Ok(rows) };
        elementwise::cast(recorder, rows, rounded)?;
        Ok(rounded)
    }
}

/// The attention of some heads, by the width that files give them.
pub(super) fn heads_of(heads: HeadShape) -> Heads {
    Heads { scale: (1.0 / (heads.width as f64).sqrt()) as f32, ..Heads::new(heads.count, heads.count, heads.stored()) }
}

impl Blocks {
    /// The blocks that a configuration describes, whose tensors' names begin with `prefix`.
    pub fn load(loader: &mut Loader<'_>, config: &BlocksConfig, prefix: &str) -> Result<Self> {
        let heads = HeadShape { count: config.heads, width: config.width / config.heads };
        let layers = (0..config.layers).map(|i| Layer::load(loader, config, (heads, prefix, i)));
        Ok(Blocks {
            layers: layers.collect::<Result<_>>()?,
            heads,
            width: config.width,
            inner: config.inner,
            act: act(config.activation),
            norms_after: config.norms_after,
            precision: loader.precision,
            distances: None,
        })
    }

    /// The same blocks with a term of scores by distance: one for each of the heads and of `2 reach + 1` distances, `[heads, 2 reach + 1]`.
    pub fn with_distances(self, distances: Tensor) -> Self {
        Blocks { distances: Some(distances), ..self }
    }

    /// The type of what products read.
    pub fn reads(&self) -> ElementType {
        self.precision.activations()
    }

    /// Records all blocks on `space.stream`, and gives the tensor with the result: all rows, or `[count, width]` of the chosen ones.
    pub fn forward<'a>(
        &self,
        recorder: &mut Recorder,
        (sequences, chosen): (&Sequences, Option<&Chosen>),
        (space, few): (&'a BlockSpace, Option<&'a BlockSpace>),
    ) -> Result<&'a Tensor> {
        let last = self.layers.len().saturating_sub(1);
        for (index, layer) in self.layers.iter().enumerate() {
            match chosen.zip(few).filter(|_| index == last) {
                Some((chosen, few)) if self.distances.is_none() => {
                    return self.last(recorder, layer, (chosen, space, few));
                }
                // A chosen row's own place would be lost among the others.
                Some((chosen, few)) => {
                    self.layer(recorder, layer, sequences, space)?;
                    embedding::gather(recorder, &space.stream, None, &chosen.rows, &few.stream)?;
                    return Ok(&few.stream);
                }
                None => self.layer(recorder, layer, sequences, space)?,
            }
        }
        Ok(&space.stream)
    }

    /// One block: from `space.stream` to `space.stream`.
    fn layer(&self, recorder: &mut Recorder, layer: &Layer, sequences: &Sequences, s: &BlockSpace) -> Result<()> {
        let read = if self.norms_after {
            s.rounded(recorder, &s.stream)?
        } else {
            layer.attention_norm.forward(recorder, &s.stream, &s.normed)?;
            &s.normed
        };
        layer.attention.q.forward(recorder, read, (&s.q, Then::Nothing))?;
        self.keys(recorder, layer, read, s)?;
        self.rest(recorder, layer, sequences, (s, s))
    }

    /// The last block, of the chosen rows alone: keys and values of all rows, the rest of theirs.
    fn last<'a>(
        &self,
        recorder: &mut Recorder,
        layer: &Layer,
        (chosen, s, few): (&Chosen, &BlockSpace, &'a BlockSpace),
    ) -> Result<&'a Tensor> {
        embedding::gather(recorder, &s.stream, None, &chosen.rows, &few.stream)?;
        let (read, few_read) = if self.norms_after {
            (s.rounded(recorder, &s.stream)?, few.rounded(recorder, &few.stream)?)
        } else {
            layer.attention_norm.forward(recorder, &s.stream, &s.normed)?;
            layer.attention_norm.forward(recorder, &few.stream, &few.normed)?;
            (&s.normed, &few.normed)
        };
        layer.attention.q.forward(recorder, few_read, (&few.q, Then::Nothing))?;
        self.keys(recorder, layer, read, s)?;
        self.rest(recorder, layer, &chosen.sequences, (s, few))?;
        Ok(&few.stream)
    }

    fn keys(&self, recorder: &mut Recorder, layer: &Layer, read: &Tensor, s: &BlockSpace) -> Result<()> {
        layer.attention.k.forward(recorder, read, (&s.k, Then::Nothing))?;
        layer.attention.v.forward(recorder, read, (&s.v, Then::Nothing))
    }

    /// From queries (in `s`), keys and values (in `all`) to the stream of `s`.
    fn rest(
        &self,
        recorder: &mut Recorder,
        layer: &Layer,
        sequences: &Sequences,
        (all, s): (&BlockSpace, &BlockSpace),
    ) -> Result<()> {
        let heads = heads_of(self.heads);
        let (q, k, v, out, sums) = (&s.q, &all.k, &all.v, &s.attended, &s.sums);
        match &self.distances {
            None => attention::forward(recorder, heads, sequences, q, k, v, out, sums)?,
            Some(table) => attention_relative::forward(recorder, (heads, table), sequences, q, k, v, out, sums)?,
        }
        layer.attention.o.forward(recorder, &s.attended, (&s.middle, Then::Add(&s.stream)))?;
        if self.norms_after {
            layer.attention_norm.forward(recorder, &s.middle, &s.normed)?;
            let read = s.rounded(recorder, &s.normed)?;
            layer.mlp.forward(recorder, self.act, (read, &s.normed), (&s.inner, &s.middle))?;
            return layer.mlp_norm.forward(recorder, &s.middle, &s.stream);
        }
        layer.mlp_norm.forward(recorder, &s.middle, &s.normed)?;
        layer.mlp.forward(recorder, self.act, (&s.normed, &s.middle), (&s.inner, &s.stream))
    }
}

impl Mlp {
    /// Records `y = residual + outer(act(inner(x)))`.
    pub fn forward(
        &self,
        recorder: &mut Recorder,
        act: Act,
        (x, residual): (&Tensor, &Tensor),
        (inner, y): (&Tensor, &Tensor),
    ) -> Result<()> {
        self.inner.forward(recorder, x, (inner, Then::Act(act)))?;
        self.outer.forward(recorder, inner, (y, Then::Add(residual)))
    }

    /// The layers `inner` and `outer` of a tower.
    pub fn load(loader: &mut Loader<'_>, [inner, outer]: [&str; 2], [width, wide]: [usize; 2]) -> Result<Self> {
        Ok(Mlp { inner: loader.linear(inner, [wide, width], true)?, outer: loader.linear(outer, [width, wide], true)? })
    }
}

impl Layer {
    fn load(
        loader: &mut Loader<'_>,
        config: &BlocksConfig,
        (heads, prefix, index): (HeadShape, &str, usize),
    ) -> Result<Self> {
        let names = config.names;
        let name = |part: &str| format!("{prefix}{}.{index}.{part}", names.list);
        let project = |loader: &mut Loader<'_>, part: &str| to_heads(loader, &name(part), (heads, config.width));
        let norm = |loader: &mut Loader<'_>, part: &str| loader.norm(&name(part), config.width, config.norm_eps);
        Ok(Layer {
            attention: Projections {
                q: project(loader, names.q)?,
                k: project(loader, names.k)?,
                v: project(loader, names.v)?,
                o: from_heads(loader, &name(names.o), (heads, config.width))?,
            },
            attention_norm: norm(loader, names.attention_norm)?,
            mlp: Mlp::load(loader, [&name(names.inner), &name(names.outer)], [config.width, config.inner])?,
            mlp_norm: norm(loader, names.mlp_norm)?,
        })
    }
}

/// A projection to queries, keys or values.
fn to_heads(loader: &mut Loader<'_>, name: &str, (heads, width): (HeadShape, usize)) -> Result<Linear> {
    if !heads.padded() {
        return loader.linear(name, [width, width], true);
    }
    let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
    let numbers = heads.rows(&loader.numbers(&weight, &[width, width])?, width);
    let row = heads.rows(&loader.numbers(&bias, &[width])?, 1);
    let weight = loader.made(&weight, &[width, width], (&numbers, width))?;
    Ok(Linear { weight, bias: Some(Tensor::from_f32(loader.device, &row, heads.all())?) })
}

/// The projection from attention's results.
fn from_heads(loader: &mut Loader<'_>, name: &str, (heads, width): (HeadShape, usize)) -> Result<Linear> {
    if !heads.padded() {
        return loader.linear(name, [width, width], true);
    }
    let weight = format!("{name}.weight");
    let numbers = heads.columns(&loader.numbers(&weight, &[width, width])?);
    let weight = loader.made(&weight, &[width, width], (&numbers, heads.all()))?;
    Ok(Linear { weight, bias: Some(loader.row(&format!("{name}.bias"), width)?) })
}
