//! SigLIP's head: a learned query attends to all rows of an image, and an MLP follows.

use super::blocks::{BlockSpace, Mlp, heads_of};
use super::heads::HeadShape;
use super::load::{Linear, Loader, Norm, Then, act};
use crate::device::{Buffer, Device, Purpose, Recorder, Tensor};
use crate::io::encoder::BlocksConfig;
use crate::kernels::nn::attention::{self, Sequences};
use crate::kernels::nn::gate::Act;
use crate::kernels::nn::{elementwise, embedding};
use crate::{ElementType, Result};

/// The head's parameters.
#[derive(Clone, Debug)]
pub(super) struct AttentionPooling {
    /// The learned query behind its projection, `[1, heads · width]`: the same for every image.
    query: Tensor,
    k: Linear,
    v: Linear,
    o: Linear,
    norm: Norm,
    mlp: Mlp,
    heads: HeadShape,
    act: Act,
}

/// What it reads for a number of images.
#[derive(Clone, Debug)]
pub(super) struct PoolingRows {
    /// The query's row, once for each image.
    zeros: Buffer,
    /// Those rows in f32, where products read others.
    queries: Option<Tensor>,
    /// Each image's query, and its tokens.
    sequences: Sequences,
}

impl PoolingRows {
    /// For queries that will be `q`, a row to an image.
    pub fn new(device: &Device, q: &Tensor, sequences: Sequences) -> Result<Self> {
        let (images, label) = (q.rows(), (Purpose::Activations, "the query of each image"));
        let zeros = device.buffer(label.1, 4 * images as u64)?;
        let narrow = q.element_type() != ElementType::F32;
        let queries = narrow.then(|| Tensor::labelled(device, label, (images, q.width()), ElementType::F32));
        Ok(PoolingRows { zeros, queries: queries.transpose()?, sequences })
    }
}

impl AttentionPooling {
    /// The head whose tensors' names begin with `prefix` and a dot.
    pub fn load(loader: &mut Loader<'_>, config: &BlocksConfig, prefix: &str) -> Result<Self> {
        let d = config.width;
        let heads = HeadShape { count: config.heads, width: d / config.heads };
        let name = |part: &str| format!("{prefix}.{part}");
        let probe = loader.numbers(&name("probe"), &[1, 1, d])?;
        let weight = name("attention.in_proj_weight");
        let (all, biases) =
            (loader.numbers(&weight, &[3 * d, d])?, loader.numbers(&name("attention.in_proj_bias"), &[3 * d])?);
        let dot = |row: &[f32]| row.iter().zip(&probe).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum::<f64>();
        let query: Vec<f32> =
            all.chunks_exact(d).zip(&biases).take(d).map(|(row, &b)| (dot(row) + f64::from(b)) as f32).collect();
        let part = |i: usize| {
            let rows = heads.rows(&all[i * d * d..(i + 1) * d * d], d);
            let bias = heads.rows(&biases[i * d..(i + 1) * d], 1);
            let bias = Some(Tensor::from_f32(loader.device, &bias, heads.all())?);
            Ok::<_, crate::Error>(Linear { weight: loader.made(&weight, &[3 * d, d], (&rows, d))?, bias })
        };
        let (k, v) = (part(1)?, part(2)?);
        let out = name("attention.out_proj.weight");
        let columns = heads.columns(&loader.numbers(&out, &[d, d])?);
        let o = Linear {
            weight: loader.made(&out, &[d, d], (&columns, heads.all()))?,
            bias: Some(loader.row(&name("attention.out_proj.bias"), d)?),
        };
        Ok(AttentionPooling {
            query: Tensor::from_f32(loader.device, &heads.rows(&query, 1), heads.all())?,
            k,
            v,
            o,
            norm: loader.norm(&name("layernorm"), d, config.norm_eps)?,
            mlp: Mlp::load(loader, [&name("mlp.fc1"), &name("mlp.fc2")], [d, config.inner])?,
            heads,
            act: act(config.activation),
        })
    }

    /// Records one row for each image, from the rows that `all.normed` holds.
    pub fn forward(
        &self,
        recorder: &mut Recorder,
        rows: &PoolingRows,
        (all, few): (&BlockSpace, &BlockSpace),
    ) -> Result<Tensor> {
        self.k.forward(recorder, &all.normed, (&all.k, Then::Nothing))?;
        self.v.forward(recorder, &all.normed, (&all.v, Then::Nothing))?;
        embedding::gather(recorder, &self.query, None, &rows.zeros, rows.queries.as_ref().unwrap_or(&few.q))?;
        if let Some(queries) = &rows.queries {
            elementwise::cast(recorder, queries, &few.q)?;
        }
        let (heads, keys) = (heads_of(self.heads), (&all.k, &all.v));
        attention::forward(recorder, heads, &rows.sequences, &few.q, keys.0, keys.1, &few.attended, &few.sums)?;
        self.o.forward(recorder, &few.attended, (&few.middle, Then::Nothing))?;
        self.norm.forward(recorder, &few.middle, &few.normed)?;
        self.mlp.forward(recorder, self.act, (&few.normed, &few.middle), (&few.inner, &few.stream))?;
        Ok(few.stream.clone())
    }
}
