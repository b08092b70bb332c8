//! The adapter and the decoder put together from the host twins alone, in f64: a second implementation of every pass, to be
//! compared with the oracle where f32 would hide a mistake.

use std::collections::BTreeMap;

use realign::host::linalg::matmul::{Stored, multiply};
use realign::host::nn::attention::{self, Operands, Upstream};
use realign::host::nn::cross_entropy::{self, Columns};
use realign::host::nn::embedding::{self, Part};
use realign::host::nn::gate::{self, Act};
use realign::host::nn::norm::{self, Norm};
use realign::host::nn::{bias, elementwise, gelu, rotary};
use realign::io::DecoderConfig;
use realign::kernels::nn::attention::Heads;
use realign::kernels::nn::embedding::VISUAL;
use realign::kernels::nn::gelu::Form;
use realign::train::Batch;

/// Rows of `stride` numbers, a multiple of 4, of which `width` count; the others are zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    pub rows: usize,
    pub width: usize,
    pub data: Vec<f64>,
}

impl Matrix {
    pub fn zeros(rows: usize, width: usize) -> Self {
        Matrix { rows, width, data: vec![0.0; rows * width.next_multiple_of(4)] }
    }

    /// From rows without padding.
    pub fn new(numbers: &[f64], width: usize) -> Self {
        let mut matrix = Matrix::zeros(numbers.len() / width, width);
        let stride = matrix.stride();
        for (to, from) in matrix.data.chunks_exact_mut(stride).zip(numbers.chunks_exact(width)) {
            to[..width].copy_from_slice(from);
        }
        matrix
    }

    pub fn stride(&self) -> usize {
        self.width.next_multiple_of(4)
    }

    /// The rows without padding.
    pub fn tight(&self) -> Vec<f64> {
        self.data.chunks_exact(self.stride()).flat_map(|row| row[..self.width].to_vec()).collect()
    }

    fn like(&self) -> Self {
        Matrix::zeros(self.rows, self.width)
    }

    fn stored(&self, transpose: bool) -> Stored<'_, f64> {
        Stored { data: &self.data, stride: self.stride(), transpose }
    }
}

/// `C = alpha op(A) op(B)`, or that added to C; `true` transposes.
fn product(c: &mut Matrix, (a, ta): (&Matrix, bool), (b, tb): (&Matrix, bool), alpha: f64, accumulate: bool) {
    let k = if ta { a.rows } else { a.width };
    let (shape, stride) = ((c.rows, c.width, k), c.stride());
    multiply((&mut c.data, stride), (a.stored(ta), b.stored(tb)), shape, (alpha, accumulate, false)).unwrap();
}

/// Matrices and vectors by their names in model files.
pub type Tensors = BTreeMap<String, Matrix>;

/// An adapter and a decoder.
pub struct Twin {
    pub config: DecoderConfig,
    pub values: Tensors,
    /// What low-rank additions are multiplied by.
    pub low_rank_scale: f64,
    /// What elements of their inputs are multiplied by, where there is dropout.
    pub mask: Option<Mask>,
}

/// A factor by a layer's name, a row and a column.
pub type Mask = Box<dyn Fn(&str, usize, usize) -> f64>;

fn masked(mask: Option<&Mask>, name: &str, x: &Matrix) -> Option<Matrix> {
    let mask = mask?;
    let (mut out, stride) = (x.like(), x.stride());
    for (i, (out, x)) in out.data.iter_mut().zip(&x.data).enumerate() {
        *out = mask(name, i / stride, i % stride) * x;
    }
    Some(out)
}

/// What a linear layer's backward pass needs: its input, and `x Aᵀ` where it has a low-rank addition.
struct Input<'a> {
    x: &'a Matrix,
    narrow: &'a Option<Matrix>,
}

/// `y = x Wᵀ + b + scale (x Aᵀ) Bᵀ` of the layer `name`, and `x Aᵀ`.
pub fn linear(
    (values, scale, mask): (&Tensors, f64, Option<&Mask>),
    name: &str,
    x: &Matrix,
) -> (Matrix, Option<Matrix>) {
    let weight = &values[&format!("{name}.weight")];
    let mut y = Matrix::zeros(x.rows, weight.rows);
    product(&mut y, (x, false), (weight, true), 1.0, false);
    if let Some(bias) = values.get(&format!("{name}.bias")) {
        y.data.iter_mut().zip(bias.data.iter().cycle()).for_each(|(y, b)| *y += b);
    }
    let (a, b) = (format!("{name}.lora_A.weight"), format!("{name}.lora_B.weight"));
    let narrow = values.get(&a).map(|a| {
        let mut narrow = Matrix::zeros(x.rows, a.rows);
        let left = masked(mask, name, x);
        product(&mut narrow, (left.as_ref().unwrap_or(x), false), (a, true), 1.0, false);
        product(&mut y, (&narrow, false), (&values[&b], true), scale, true);
        narrow
    });
    (y, narrow)
}

/// Adds the gradients of the layer's parameters to `gradients`, and that of its input to `dx`.
pub fn linear_backward(
    (values, scale, mask): (&Tensors, f64, Option<&Mask>),
    gradients: &mut Tensors,
    name: &str,
    (x, narrow): (&Matrix, &Option<Matrix>),
    (dy, dx): (&Matrix, &mut Matrix),
) {
    let weight = format!("{name}.weight");
    product(gradients.get_mut(&weight).unwrap(), (dy, true), (x, false), 1.0, true);
    if let Some(db) = gradients.get_mut(&format!("{name}.bias")) {
        bias::backward(&dy.data, &mut db.data, true);
    }
    product(dx, (dy, false), (&values[&weight], false), 1.0, true);
    let Some(narrow) = narrow else { return };
    let (a, b) = (format!("{name}.lora_A.weight"), format!("{name}.lora_B.weight"));
    let mut dnarrow = narrow.like();
    product(&mut dnarrow, (dy, false), (&values[&b], false), scale, false);
    product(gradients.get_mut(&b).unwrap(), (dy, true), (narrow, false), scale, true);
    let left = masked(mask, name, x);
    product(gradients.get_mut(&a).unwrap(), (&dnarrow, true), (left.as_ref().unwrap_or(x), false), 1.0, true);
    let mut addition = dx.like();
    product(&mut addition, (&dnarrow, false), (&values[&a], false), 1.0, false);
    let addition = masked(mask, name, &addition).unwrap_or(addition);
    dx.data.iter_mut().zip(&addition.data).for_each(|(dx, a)| *dx += a);
}

/// A table that is whole.
pub const WHOLE: Part = Part { first: 0, keep: false };

/// What a scatter needs: ids, where the positions of each begin, the positions.
pub fn scatter_plan(ids: &[u32], visual: bool) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let mut places = BTreeMap::<u32, Vec<u32>>::new();
    for (position, id) in ids.iter().enumerate().filter(|(_, id)| (**id & VISUAL != 0) == visual) {
        places.entry(id & !VISUAL).or_default().push(position as u32);
    }
    let mut firsts = vec![0];
    places.values().for_each(|p| firsts.push(firsts[firsts.len() - 1] + p.len() as u32));
    (places.keys().copied().collect(), firsts, places.into_values().flatten().collect())
}

/// `to[ids[i]] += dx[i]`, for the table's ids or the visual ones.
pub fn scatter(ids: &[u32], visual: bool, dx: &Matrix, to: &mut Matrix) {
    let (ids, firsts, positions) = scatter_plan(ids, visual);
    embedding::scatter((&ids, &firsts, &positions), &dx.data, (&mut to.data, 0), dx.stride());
}

/// Activations of one layer.
struct Kept {
    x: Matrix,
    a: Matrix,
    q: Matrix,
    k: Matrix,
    v: Matrix,
    mixed: Matrix,
    sums: Matrix,
    middle: Matrix,
    b: Matrix,
    gate: Matrix,
    up: Matrix,
    active: Matrix,
    narrow: BTreeMap<&'static str, Option<Matrix>>,
}

/// Activations of the adapter: its layers' outputs, and their GELU.
pub struct AdapterPass {
    pub hidden: Matrix,
    pub active: Matrix,
    pub out: Matrix,
}

/// What a pass over a batch gives.
pub struct Pass {
    /// Of every token, `[n, vocabulary]`.
    pub logits: Matrix,
    /// Negative log-likelihood of each supervised token.
    pub nll: Vec<f64>,
    /// Gradients of the mean of those, by name.
    pub gradients: Tensors,
    /// And that of the embeddings, `[m, d]`.
    pub d_embeddings: Matrix,
}

const PROJECTOR: &str = "model.mm_projector";

impl Twin {
    fn linear(&self, name: &str, x: &Matrix) -> (Matrix, Option<Matrix>) {
        linear((&self.values, self.low_rank_scale, self.mask.as_ref()), name, x)
    }

    fn backward(&self, gradients: &mut Tensors, name: &str, input: Input<'_>, dy: &Matrix, dx: &mut Matrix) {
        let parameters = (&self.values, self.low_rank_scale, self.mask.as_ref());
        linear_backward(parameters, gradients, name, (input.x, input.narrow), (dy, dx));
    }

    /// `Linear → GELU → Linear`.
    pub fn adapter(&self, x: &Matrix) -> AdapterPass {
        let hidden = self.linear(&format!("{PROJECTOR}.0"), x).0;
        let mut active = hidden.like();
        gelu::forward(Form::Erf, &hidden.data, &mut active.data);
        let out = self.linear(&format!("{PROJECTOR}.2"), &active).0;
        AdapterPass { hidden, active, out }
    }

    /// Adds the adapter's gradients; that of `x` comes back.
    pub fn adapter_backward(&self, gradients: &mut Tensors, x: &Matrix, pass: &AdapterPass, dout: &Matrix) -> Matrix {
        let (mut d_active, mut d_hidden) = (pass.active.like(), pass.hidden.like());
        let (second, first) = (format!("{PROJECTOR}.2"), format!("{PROJECTOR}.0"));
        self.backward(gradients, &second, Input { x: &pass.active, narrow: &None }, dout, &mut d_active);
        gelu::backward(Form::Erf, &pass.hidden.data, &d_active.data, &mut d_hidden.data);
        let mut dx = x.like();
        self.backward(gradients, &first, Input { x, narrow: &None }, &d_hidden, &mut dx);
        dx
    }

    fn heads(&self) -> Heads {
        Heads::new(self.config.heads, self.config.kv_heads, self.config.head_dim)
    }

    fn norm(&self) -> Norm<f64> {
        Norm { width: self.config.hidden_size, eps: self.config.norm_eps, center: false, offset: 0.0 }
    }

    fn normed(&self, name: &str, x: &Matrix) -> Matrix {
        let mut y = x.like();
        norm::forward(self.norm(), &x.data, &self.values[name].data, None, &mut y.data);
        y
    }

    /// Adds the norm's gradients; `dx` is added to.
    fn norm_backward(&self, gradients: &mut Tensors, name: &str, (x, dy): (&Matrix, &Matrix), dx: &mut Matrix) {
        let mut scalars = vec![0.0; 4 * x.rows];
        let operands = (&x.data[..], &self.values[name].data[..], &dy.data[..]);
        norm::scalars(self.norm(), operands, &mut scalars);
        norm::backward(self.norm(), operands, &scalars, &mut dx.data, true);
        norm::weight_backward((&x.data, &dy.data), &scalars, &mut gradients.get_mut(name).unwrap().data);
    }

    /// In units of 2⁻⁶⁴ of a turn.
    fn frequencies(&self) -> Vec<u64> {
        let frequencies = self.config.ropes[0].frequencies(0);
        frequencies.into_iter().map(|f| (f / std::f64::consts::TAU * 2f64.powi(64)) as u64).collect()
    }

    fn rotate(&self, batch: &Batch, heads: usize, inverse: bool, x: &mut Matrix) {
        let stride = x.stride();
        let frequencies = self.frequencies();
        let head_width = self.config.head_dim;
        let rotation = rotary::Rotation { frequencies: &frequencies, head_width, amplitude: 1.0 };
        rotary::rotate(rotation, &batch.positions, (heads, inverse), &mut x.data, stride);
    }

    fn layer(&self, index: usize, batch: &Batch, x: Matrix) -> (Kept, Matrix) {
        let (p, heads) = (format!("model.layers.{index}."), self.heads());
        let mut narrow = BTreeMap::new();
        let mut linear = |name: &'static str, x: &Matrix| {
            let (y, kept) = self.linear(&format!("{p}{name}"), x);
            narrow.insert(name, kept);
            y
        };
        let a = self.normed(&format!("{p}input_layernorm.weight"), &x);
        let [mut q, mut k, v] = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"].map(|n| linear(n, &a));
        self.rotate(batch, heads.query, false, &mut q);
        self.rotate(batch, heads.key_value, false, &mut k);
        let (mut mixed, mut sums) = (q.like(), Matrix::zeros(x.rows, heads.query));
        let blocks: Vec<[u32; 4]> = batch.sequences.iter().map(|&(first, count)| [first, count, first, 1]).collect();
        let (operands, stride) = (Operands { q: &q.data, k: &k.data, v: &v.data }, sums.stride());
        attention::forward(
            (heads, attention::Mask::Causal),
            &blocks,
            operands,
            &mut mixed.data,
            (&mut sums.data, stride),
        );
        let mut middle = linear("self_attn.o_proj", &mixed);
        elementwise::add(&x.data, &mut middle.data);
        let b = self.normed(&format!("{p}post_attention_layernorm.weight"), &middle);
        let [gate, up] = ["mlp.gate_proj", "mlp.up_proj"].map(|n| linear(n, &b));
        let mut active = gate.like();
        gate::forward(Act::Silu, 1.0, &gate.data, &up.data, &mut active.data);
        let mut out = linear("mlp.down_proj", &active);
        elementwise::add(&middle.data, &mut out.data);
        (Kept { x, a, q, k, v, mixed, sums, middle, b, gate, up, active, narrow }, out)
    }

    /// From the gradient of a layer's output, in `d`, to that of its input.
    fn layer_backward(&self, gradients: &mut Tensors, index: usize, batch: &Batch, kept: &Kept, d: &mut Matrix) {
        let p = format!("model.layers.{index}.");
        let back = |gradients: &mut Tensors, name: &str, x: &Matrix, dy: &Matrix, dx: &mut Matrix| {
            self.backward(gradients, &format!("{p}{name}"), Input { x, narrow: &kept.narrow[name] }, dy, dx);
        };
        let (mut d_active, mut d_gate, mut d_up) = (kept.active.like(), kept.gate.like(), kept.up.like());
        back(gradients, "mlp.down_proj", &kept.active, d, &mut d_active);
        let to = (&mut d_gate.data[..], &mut d_up.data[..]);
        gate::backward(Act::Silu, (&kept.gate.data, &kept.up.data), &d_active.data, to);
        let mut normed = kept.b.like();
        back(gradients, "mlp.gate_proj", &kept.b, &d_gate, &mut normed);
        back(gradients, "mlp.up_proj", &kept.b, &d_up, &mut normed);
        self.norm_backward(gradients, &format!("{p}post_attention_layernorm.weight"), (&kept.middle, &normed), d);

        let mut d_mixed = kept.mixed.like();
        back(gradients, "self_attn.o_proj", &kept.mixed, d, &mut d_mixed);
        let [d_q, d_k, d_v] = self.attention_backward(batch, kept, &d_mixed);
        let mut normed = kept.a.like();
        for (name, dy) in [("self_attn.q_proj", d_q), ("self_attn.k_proj", d_k), ("self_attn.v_proj", d_v)] {
            back(gradients, name, &kept.a, &dy, &mut normed);
        }
        self.norm_backward(gradients, &format!("{p}input_layernorm.weight"), (&kept.x, &normed), d);
    }

    fn attention_backward(&self, batch: &Batch, kept: &Kept, d_mixed: &Matrix) -> [Matrix; 3] {
        let heads = self.heads();
        let mut stats = vec![0.0; 2 * kept.x.rows * heads.query];
        let rows = (&d_mixed.data[..], &kept.mixed.data[..]);
        attention::delta(heads, rows, (&kept.sums.data, kept.sums.stride()), &mut stats);
        let operands = Operands { q: &kept.q.data, k: &kept.k.data, v: &kept.v.data };
        let upstream = Upstream { dout: &d_mixed.data, stats: &stats };
        let (mut d_q, mut d_k, mut d_v) = (kept.q.like(), kept.k.like(), kept.v.like());
        let queries: Vec<[u32; 4]> = batch.sequences.iter().map(|&(first, count)| [first, count, first, 1]).collect();
        attention::queries_backward((heads, attention::Mask::Causal), &queries, operands, upstream, &mut d_q.data);
        let keys: Vec<[u32; 5]> =
            batch.sequences.iter().map(|&(first, count)| [first, count, first, count, 0]).collect();
        attention::keys_backward(heads, &keys, operands, upstream, (&mut d_k.data, &mut d_v.data));
        self.rotate(batch, heads.query, true, &mut d_q);
        self.rotate(batch, heads.key_value, true, &mut d_k);
        [d_q, d_k, d_v]
    }

    fn output(&self) -> &'static str {
        if self.config.tied_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" }
    }

    fn logits(&self, normed: &Matrix) -> Matrix {
        let table = &self.values[self.output()];
        let mut logits = Matrix::zeros(normed.rows, table.rows);
        product(&mut logits, (normed, false), (table, true), 1.0, false);
        logits
    }

    /// Rows of the adapter as visual tokens, of which it makes several where it is so many times as wide as the decoder.
    fn tokens(&self, rows: Matrix) -> Matrix {
        let width = self.config.hidden_size;
        Matrix { rows: rows.rows * rows.width / width, width, data: rows.data }
    }

    /// A batch's ids; visual ones are rows of [`Self::tokens`], those of a sequence its embedding's in turn.
    fn ids(&self, batch: &Batch, width: usize) -> Vec<u32> {
        let (mut ids, t) = (batch.ids.clone(), width / self.config.hidden_size);
        for &(first, count) in &batch.sequences {
            let visual = ids[first as usize..(first + count) as usize].iter_mut().filter(|id| **id & VISUAL != 0);
            visual.enumerate().for_each(|(i, id)| *id = VISUAL | ((*id & !VISUAL) * t as u32 + (i % t) as u32));
        }
        ids
    }

    /// A batch forward and backward.
    pub fn pass(&self, batch: &Batch, embeddings: &Matrix) -> Pass {
        let adapter = self.adapter(embeddings);
        let table = &self.values["model.embed_tokens.weight"];
        let mut x = Matrix::zeros(batch.ids.len(), table.width);
        let ids = self.ids(batch, adapter.out.width);
        embedding::gather((&table.data, &adapter.out.data), WHOLE, &ids, &mut x.data, table.stride());
        let mut kept = Vec::new();
        for index in 0..self.config.layers {
            let (layer, out) = self.layer(index, batch, x);
            kept.push(layer);
            x = out;
        }
        let mut gradients: Tensors = self.values.iter().map(|(name, value)| (name.clone(), value.like())).collect();
        let logits = self.logits(&self.normed("model.norm.weight", &x));
        let (nll, mut d) = self.loss(&mut gradients, batch, &x);
        for (index, layer) in kept.iter().enumerate().rev() {
            self.layer_backward(&mut gradients, index, batch, layer, &mut d);
        }
        let mut d_tokens = self.tokens(adapter.out.like());
        scatter(&ids, false, &d, gradients.get_mut("model.embed_tokens.weight").unwrap());
        scatter(&ids, true, &d, &mut d_tokens);
        let d_visual = Matrix { data: d_tokens.data, ..adapter.out.like() };
        let d_embeddings = self.adapter_backward(&mut gradients, embeddings, &adapter, &d_visual);
        Pass { logits, nll, gradients, d_embeddings }
    }

    /// Losses of the supervised rows, the gradients of their mean, and that of the residual stream.
    fn loss(&self, gradients: &mut Tensors, batch: &Batch, x: &Matrix) -> (Vec<f64>, Matrix) {
        let chosen = batch.labels.iter().enumerate().filter(|(_, label)| **label >= 0);
        let (rows, labels): (Vec<u32>, Vec<i32>) = chosen.map(|(i, label)| (i as u32, *label)).unzip();
        let mut supervised = Matrix::zeros(rows.len(), x.width);
        embedding::gather((&x.data, &[]), WHOLE, &rows, &mut supervised.data, x.stride());
        let normed = self.normed("model.norm.weight", &supervised);
        let mut logits = self.logits(&normed);
        let columns = Columns { first: 0, width: logits.width };
        let (mut state, mut nll) = (vec![0.0; 4 * rows.len()], vec![0.0; rows.len()]);
        cross_entropy::forward(columns, &logits.data, &labels, &mut state);
        cross_entropy::finish(&state, &labels, &mut nll);
        cross_entropy::backward(columns, &labels, &state, 1.0 / rows.len() as f64, &mut logits.data);
        let mut d_normed = normed.like();
        product(&mut d_normed, (&logits, false), (&self.values[self.output()], false), 1.0, false);
        product(gradients.get_mut(self.output()).unwrap(), (&logits, true), (&normed, false), 1.0, true);
        let mut d_rows = supervised.like();
        self.norm_backward(gradients, "model.norm.weight", (&supervised, &d_normed), &mut d_rows);
        let mut d = x.like();
        scatter(&rows, false, &d_rows, &mut d);
        (nll, d)
    }
}
