//! CLIP's image tower and BERT's encoder in candle-transformers, random weights, f32, on the host.

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{VarBuilder, VarMap, linear_no_bias};
use candle_transformers::models::bert::{BertModel, Config};
use candle_transformers::models::clip::text_model::Activation;
use candle_transformers::models::clip::vision_model::{ClipVisionConfig, ClipVisionTransformer};

use crate::{Peer, measure, numbers};

/// Of ViT-B/32 and ViT-L/14 for 336 pixels: width, width inside the MLP, layers, heads, side of the image, of a patch, numbers of an embedding.
const SMALL: [usize; 7] = [768, 3072, 12, 12, 224, 32, 512];
const LARGE: [usize; 7] = [1024, 4096, 24, 16, 336, 14, 768];

type Cases = Vec<(&'static str, [f64; 3])>;

/// A shape with as many images at a time as `counts` says.
fn tower(
    [width, inner, layers, heads, side, patch, out]: [usize; 7],
    counts: &[(&'static str, usize)],
    seconds: f64,
) -> Result<Cases> {
    if counts.is_empty() {
        return Ok(Vec::new());
    }
    let (map, device) = (VarMap::new(), Device::Cpu);
    let weights = VarBuilder::from_varmap(&map, DType::F32, &device);
    let config = ClipVisionConfig {
        embed_dim: width,
        activation: Activation::QuickGelu,
        intermediate_size: inner,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        projection_dim: out,
        num_channels: 3,
        image_size: side,
        patch_size: patch,
    };
    let model = ClipVisionTransformer::new(weights.pp("vision_model"), &config)?;
    let projection = linear_no_bias(width, out, weights.pp("visual_projection"))?;
    let mut cases = Vec::new();
    for &(name, count) in counts {
        let pixels = Tensor::from_vec(numbers(1, count * 3 * side * side), (count, 3, side, side), &device)?;
        let call = || projection.forward(&model.forward(&pixels).expect("a tower")).expect("a projection");
        cases.push((name, measure(seconds, || drop(call()))));
    }
    Ok(cases)
}

/// Texts of 6 to 25 tokens as realign's case has them; here they are filled up to the longest, and filling is masked.
fn texts(counts: &[(&'static str, usize)], seconds: f64) -> Result<Cases> {
    if counts.is_empty() {
        return Ok(Vec::new());
    }
    let (map, device) = (VarMap::new(), Device::Cpu);
    let weights = VarBuilder::from_varmap(&map, DType::F32, &device);
    let config = Config {
        hidden_size: 384,
        num_hidden_layers: 6,
        num_attention_heads: 12,
        intermediate_size: 1536,
        ..Config::default()
    };
    let model = BertModel::load(weights, &config)?;
    let mut cases = Vec::new();
    for &(name, count) in counts {
        let lengths: Vec<usize> = (0..count).map(|i| 6 + 7 * i % 20).collect();
        let most = lengths.iter().copied().max().unwrap_or(1);
        let ids: Vec<u32> = (0..(count * most) as u32).map(|i| i * 7919 % 30_522).collect();
        let seen: Vec<u32> = lengths.iter().flat_map(|&n| (0..most).map(move |i| u32::from(i < n))).collect();
        let shape = (count, most);
        let (ids, seen) = (Tensor::from_vec(ids, shape, &device)?, Tensor::from_vec(seen, shape, &device)?);
        let kinds = ids.zeros_like()?;
        let call = || model.forward(&ids, &kinds, Some(&seen)).expect("an encoder");
        cases.push((name, measure(seconds, || drop(call()))));
    }
    Ok(cases)
}

pub fn run((quick, filter): (bool, &str), seconds: f64) -> Peer {
    let wanted = |cases: [(&'static str, usize); 2], all: bool| {
        let few = cases.into_iter().filter(|(name, count)| name.contains(filter) && (all || *count == 1));
        few.collect::<Vec<_>>()
    };
    let of_texts = [("MiniLM-L6-shaped encoder of 1 text", 1), ("MiniLM-L6-shaped encoder of 32 texts", 32)];
    let small = [("ViT-B/32-shaped encoder of 1 image", 1), ("ViT-B/32-shaped encoder of 32 images", 32)];
    let large = [("ViT-L/14-336-shaped encoder of 1 image", 1), ("ViT-L/14-336-shaped encoder of 32 images", 32)];
    let mut cases = texts(&wanted(of_texts, true), seconds).expect("candle encodes texts");
    cases.extend(tower(SMALL, &wanted(small, true), seconds).expect("candle encodes images"));
    cases.extend(tower(LARGE, &wanted(large, !quick), seconds).expect("candle encodes images"));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Peer { version: "0.11", device: format!("cpu, {threads} threads"), cases }
}
