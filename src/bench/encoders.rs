//! Kernels that encoders need besides, and image towers of real models' shapes, their weights seeded random numbers: those run only where a
//! filter names a shape, as decoders' do.

use super::case::{Case, Items, Kind, Sizes, numbers};
use super::catalogue::Entry;
use crate::device::Device;
use crate::device::Tensor;
use crate::encode::{ImageEncoder, RandomTexts};
use crate::io::encoder::{ImageConfig, TextConfig};
use crate::kernels::nn::patches::{self as patch, Cut};
use crate::kernels::nn::pool::{self as pooling, Kind as Pool, Spans};
use crate::kernels::nn::{add_rows as rows, attention as attend, attention_relative};
use crate::{ElementType, Result};

/// Patches of 32 × 32 of images of 224 × 224, as many as there are tokens.
pub(super) fn patches(device: &Device, sizes: &Sizes) -> Result<Case> {
    let cut = Cut { channels: 3, lines: 224, pixels: 224, side: 32 };
    let images = sizes.tokens.div_ceil(cut.patches());
    let x = Tensor::from_f32(device, &numbers(1, images * cut.elements()), cut.elements())?;
    let y = Tensor::new(device, images * cut.patches(), cut.width(), ElementType::F32)?;
    let (count, result) = ((images * cut.elements()) as u64, y.buffer().clone());
    let shape = format!("{images} images of 3 × 224 × 224");
    Ok(Case::kernel(shape, (8 * count, 0), (&result, true), move |r| patch::record(r, cut, &x, &y)))
}

/// To what grows from run to run, and stays in range; the table of 50 positions stays in the caches.
pub(super) fn add_rows(device: &Device, sizes: &Sizes) -> Result<Case> {
    let Sizes { tokens, hidden, .. } = *sizes;
    let table = Tensor::from_f32(device, &numbers(1, 50 * hidden), hidden)?;
    let y = Tensor::from_f32(device, &numbers(2, tokens * hidden), hidden)?;
    let ids: Vec<u32> = (0..tokens as u32).map(|i| i % 50).collect();
    let ids = device.buffer_from("ids", bytemuck::cast_slice(&ids))?;
    let (count, result) = ((tokens * hidden) as u64, y.buffer().clone());
    let shape = format!("[{tokens}, {hidden}] f32");
    Ok(Case::kernel(shape, (8 * count, count), (&result, false), move |r| rows::record(r, &table, &ids, &y)))
}

/// The mean of texts of 32 tokens.
pub(super) fn pool(device: &Device, sizes: &Sizes) -> Result<Case> {
    let Sizes { tokens, hidden, .. } = *sizes;
    let x = Tensor::from_f32(device, &numbers(1, tokens * hidden), hidden)?;
    let list: Vec<[u32; 2]> =
        (0..tokens as u32).step_by(32).map(|first| [first, 32.min(tokens as u32 - first)]).collect();
    let (spans, y) = (Spans::new(device, &list)?, Tensor::new(device, list.len(), hidden, ElementType::F32)?);
    let (count, result) = ((tokens * hidden) as u64, y.buffer().clone());
    let work = (4 * count + 4 * (list.len() * hidden) as u64, count);
    let shape = format!("[{tokens}, {hidden}] f32 to {}", list.len());
    Ok(Case::kernel(shape, work, (&result, false), move |r| pooling::record(r, Pool::Mean, &x, &spans, &y)))
}

/// All tokens of images see all others.
pub(super) fn attention(device: &Device, sizes: &Sizes) -> Result<Case> {
    attention_of(device, sizes, None)
}

/// The same, scores with a term for each of MPNet's distances.
pub(super) fn attention_by_distance(device: &Device, sizes: &Sizes) -> Result<Case> {
    attention_of(device, sizes, Some(257))
}

fn attention_of(device: &Device, sizes: &Sizes, distances: Option<usize>) -> Result<Case> {
    let (heads, length) = ((sizes.hidden / 64).max(1), sizes.tokens.min(197));
    let count = (sizes.tokens / length).max(1);
    let (width, n) = (heads * 64, count * length);
    let make = |seed| Tensor::from_f32(device, &numbers(seed, n * width), width);
    let (q, k, v) = (make(1)?, make(2)?, make(3)?);
    let (out, lse) =
        (Tensor::new(device, n, width, ElementType::F32)?, Tensor::new(device, n, heads, ElementType::F32)?);
    let sequences = attend::Sequences::packed_masked(device, attend::Mask::Full, &vec![length as u32; count])?;
    let (shape, result) = (format!("{count} × {length} tokens, {heads} heads"), out.buffer().clone());
    let work = (16 * (n * width) as u64, 4 * (n * length * width) as u64);
    let of = attend::Heads::new(heads, heads, 64);
    let table = distances.map(|n| Tensor::from_f32(device, &numbers(4, heads * n), n)).transpose()?;
    Ok(Case::kernel(shape, work, (&result, false), move |r| match &table {
        None => attend::forward(r, of, &sequences, &q, &k, &v, &out, &lse),
        Some(table) => attention_relative::forward(r, (of, table), &sequences, &q, &k, &v, &out, &lse),
    }))
}

/// A tower's shape.
#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    /// Width, layers, heads, width inside the MLP, side of the image, of a patch, and numbers of an embedding.
    sizes: [usize; 7],
}

/// A tiny one for trials, CLIP's ViT-B/32 and its ViT-L/14 for images of 336 pixels.
const SHAPES: [Shape; 3] = [
    Shape { name: "ViT-tiny", sizes: [48, 2, 4, 96, 32, 8, 24] },
    Shape { name: "ViT-B/32", sizes: [768, 12, 12, 3072, 224, 32, 512] },
    Shape { name: "ViT-L/14-336", sizes: [1024, 24, 16, 4096, 336, 14, 768] },
];

impl Shape {
    /// FLOPs of an image, all rows of all layers computed.
    fn flops(&self) -> u64 {
        let [width, layers, _, inner, image, patch, out] = self.sizes.map(|x| x as u64);
        let tokens = (image / patch).pow(2) + 1;
        let layer = 2 * tokens * (4 * width * width + 2 * width * inner) + 4 * tokens * tokens * width;
        layers * layer + 2 * (tokens - 1) * 3 * patch * patch * width + 2 * width * out
    }
}

/// A text encoder's shape.
#[derive(Clone, Copy, Debug)]
struct TextShape {
    name: &'static str,
    /// Width, layers, heads, width inside the MLP, and rows of the table.
    sizes: [usize; 5],
}

/// A tiny one for trials, and all-MiniLM-L6-v2.
const TEXT_SHAPES: [TextShape; 2] = [
    TextShape { name: "BERT-tiny", sizes: [48, 2, 4, 96, 500] },
    TextShape { name: "MiniLM-L6", sizes: [384, 6, 12, 1536, 30_522] },
];

impl TextShape {
    /// FLOPs of texts of these lengths.
    fn flops(&self, lengths: &[u32]) -> u64 {
        let [width, layers, _, inner, _] = self.sizes.map(|x| x as u64);
        let text = |tokens: u64| 2 * tokens * (4 * width * width + 2 * width * inner) + 4 * tokens * tokens * width;
        layers * lengths.iter().map(|length| text(u64::from(*length))).sum::<u64>()
    }
}

/// Texts of 6 to 25 tokens, without the tokenizer; a shape by its number.
fn texts<const SHAPE: usize, const COUNT: usize>(device: &Device, _: &Sizes) -> Result<Case> {
    let shape = &TEXT_SHAPES[SHAPE];
    let lengths: Vec<u32> = (0..COUNT as u32).map(|i| 6 + 7 * i % 20).collect();
    let flops = shape.flops(&lengths);
    let texts = RandomTexts::new(device, &TextConfig::bert_shaped(shape.sizes), lengths)?;
    let what = format!("{}, {COUNT} texts of 6 to 25 tokens", shape.name);
    let items = Items { count: COUNT as u64, unit: "texts" };
    Ok(Case::job(what, items, move || texts.run_blocking()).with_flops(flops))
}

/// A shape by its number, and images at a time.
fn images<const SHAPE: usize, const COUNT: usize>(device: &Device, _: &Sizes) -> Result<Case> {
    let shape = &SHAPES[SHAPE];
    let encoder = ImageEncoder::random(device, ImageConfig::clip_shaped(shape.sizes))?;
    let pixels = numbers(1, COUNT * 3 * shape.sizes[4].pow(2));
    let what = format!("{}, {COUNT} × 3 × {1} × {1}", shape.name, shape.sizes[4]);
    let items = Items { count: COUNT as u64, unit: "images" };
    let call = move || encoder.encode_blocking(&pixels).map(drop);
    Ok(Case::job(what, items, call).with_flops(COUNT as u64 * shape.flops()))
}

const fn named(name: &'static str, make: fn(&Device, &Sizes) -> Result<Case>) -> Entry {
    Entry { name, kind: Kind::EndToEnd, wgpu: false, by_shape: true, make }
}

/// All shapes' cases.
pub(super) const ENTRIES: [Entry; 10] = [
    named("ViT-tiny-shaped encoder of 1 image", images::<0, 1>),
    named("ViT-tiny-shaped encoder of 32 images", images::<0, 32>),
    named("ViT-B/32-shaped encoder of 1 image", images::<1, 1>),
    named("ViT-B/32-shaped encoder of 32 images", images::<1, 32>),
    named("ViT-L/14-336-shaped encoder of 1 image", images::<2, 1>),
    named("ViT-L/14-336-shaped encoder of 32 images", images::<2, 32>),
    named("BERT-tiny-shaped encoder of 1 text", texts::<0, 1>),
    named("BERT-tiny-shaped encoder of 32 texts", texts::<0, 32>),
    named("MiniLM-L6-shaped encoder of 1 text", texts::<1, 1>),
    named("MiniLM-L6-shaped encoder of 32 texts", texts::<1, 32>),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_the_models_flops() {
        // As counted of OpenAI's towers: 8.8 and 382 GFLOP, multiplications and additions apart.
        let [_, b, l] = SHAPES.map(|shape| shape.flops() as f64 / 1e9);
        assert!((b - 8.8).abs() < 0.1 && (l - 382.0).abs() < 2.0, "{b} {l}");
    }

    #[test]
    fn a_tiny_tower_runs() {
        let device = Device::host();
        let tiny = [SHAPES[0].name, TEXT_SHAPES[0].name];
        let tried: Vec<_> = ENTRIES.iter().filter(|e| tiny.iter().any(|name| e.name.starts_with(name))).collect();
        assert_eq!(tried.len(), 4);
        for entry in tried {
            let mut case = (entry.make)(&device, &Sizes::of(&device, true)).unwrap();
            let super::super::case::Run::Called(call) = &mut case.run else { panic!("{} is no job", entry.name) };
            call().unwrap();
        }
    }
}
