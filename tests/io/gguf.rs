//! GGUF files: every type of numbers bit for bit, malformed headers, and damage.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use realign::ElementType;
use realign::io::{DecoderConfig, TensorFile, Weights};

use super::put;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gguf").join(name)
}

/// The numbers of every type are those that ggml's own package makes of the same blocks, bit for bit, whole and in parts.
#[test]
fn every_type_is_dequantised_to_the_bit() {
    let weights = Weights::open(&golden("types.gguf")).unwrap();
    let expected = TensorFile::open(&golden("types.safetensors")).unwrap();
    assert_eq!(expected.tensors().len(), 14);
    assert_eq!(weights.names().count(), 14);
    for (name, info) in expected.tensors() {
        let shape = &info.shape;
        let bits = |list: &[f32]| list.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
        let want = expected.read_f32(name, shape).unwrap();
        let got = weights.read_f32(name, shape).unwrap();
        assert_eq!(bits(&got), bits(&want), "{name}");
        // A part may begin and end within a block.
        for (first, count) in [(0, 1), (3, 7), (31, 2), (250, 20), (257, 255), (511, 1), (512, 0)] {
            let mut part = vec![0f32; count];
            weights.read(name, shape, first, ElementType::F32, bytemuck::cast_slice_mut(&mut part)).unwrap();
            assert_eq!(bits(&part), bits(&want[first..first + count]), "{name} from {first}");
        }
        for element in [ElementType::F16, ElementType::BF16] {
            let (mut got, mut wanted) = (vec![0u8; 2 * want.len()], vec![0u8; 2 * want.len()]);
            weights.read(name, shape, 0, element, &mut got).unwrap();
            expected.read(name, 0, element, &mut wanted).unwrap();
            assert_eq!(got, wanted, "{name} as {element}");
        }
        let beyond = weights.read(name, shape, 512, ElementType::F32, &mut [0; 4]).unwrap_err().to_string();
        assert!(beyond.contains("a part of 512 numbers"), "{beyond}");
        let other = weights.expect(name, &[256, 2]).unwrap_err().to_string();
        assert!(other.contains(name.as_str()) && other.contains("[2, 256]"), "{other}");
    }
}

/// A file in the making: header fields as they come, so that each can be wrong.
#[derive(Clone)]
struct Maker {
    magic: [u8; 4],
    version: u32,
    entries: Vec<(String, Vec<u8>)>,
    tensors: Vec<(String, Vec<u64>, u32, u64)>,
    data: usize,
    counts: Option<(u64, u64)>,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn string(value: &str) -> Vec<u8> {
    [&8u32.to_le_bytes()[..], &text(value)].concat()
}

fn u32_value(value: u32) -> Vec<u8> {
    [4u32.to_le_bytes(), value.to_le_bytes()].concat()
}

fn f32_value(value: f32) -> Vec<u8> {
    [6u32.to_le_bytes(), value.to_le_bytes()].concat()
}

impl Maker {
    /// A model of one layer, whose one tensor has a row of four numbers.
    fn new() -> Maker {
        let mut entries = vec![("general.architecture".to_owned(), string("llama"))];
        let sizes = [
            ("block_count", 1),
            ("embedding_length", 8),
            ("feed_forward_length", 16),
            ("attention.head_count", 2),
            ("vocab_size", 32),
            ("context_length", 64),
        ];
        entries.extend(sizes.map(|(key, n)| (format!("llama.{key}"), u32_value(n))));
        entries.push(("llama.attention.layer_norm_rms_epsilon".to_owned(), f32_value(1e-5)));
        let tensors = vec![("output_norm.weight".to_owned(), vec![4], 0, 0)];
        Maker { magic: *b"GGUF", version: 3, entries, tensors, data: 16, counts: None }
    }

    fn with(mut self, key: &str, value: Vec<u8>) -> Maker {
        self.entries.retain(|(other, _)| other != key);
        self.entries.push((key.to_owned(), value));
        self
    }

    fn without(mut self, key: &str) -> Maker {
        self.entries.retain(|(other, _)| other != key);
        self
    }

    fn tensor(mut self, name: &str, sides: &[u64], kind: u32, offset: u64) -> Maker {
        self.tensors.push((name.to_owned(), sides.to_vec(), kind, offset));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let counts = self.counts.unwrap_or((self.tensors.len() as u64, self.entries.len() as u64));
        let mut file = self.magic.to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend(counts.0.to_le_bytes());
        file.extend(counts.1.to_le_bytes());
        for (key, value) in &self.entries {
            file.extend(text(key));
            file.extend(value);
        }
        for (name, sides, kind, offset) in &self.tensors {
            file.extend(text(name));
            file.extend((sides.len() as u32).to_le_bytes());
            sides.iter().for_each(|side| file.extend(side.to_le_bytes()));
            file.extend(kind.to_le_bytes());
            file.extend(offset.to_le_bytes());
        }
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend((0..self.data).map(|i| if i % 4 == 3 { 0x3f } else { i as u8 }));
        file
    }

    fn refused(&self, words: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let path = put(folder.path(), "m.gguf", &self.bytes());
        let error = Weights::open(&path).and_then(|_| DecoderConfig::read(&path).map(drop));
        let error = error.expect_err("bad input was accepted").to_string();
        for word in [&["m.gguf"][..], words].concat() {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
    }
}

#[test]
fn a_small_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for version in [2, 3] {
        let maker = Maker { version, ..Maker::new() };
        // By its first bytes, too.
        for name in ["m.gguf", "M.GGUF", "model.bin"] {
            let path = put(folder.path(), name, &maker.bytes());
            let weights = Weights::open(&path).unwrap();
            assert_eq!(weights.read_f32("model.norm.weight", &[4]).unwrap().len(), 4);
            let config = DecoderConfig::read(&path).unwrap();
            assert_eq!((config.hidden_size, config.head_dim, config.kv_heads), (8, 4, 2));
            assert!(
                config.tied_embeddings && config.max_positions == Some(64) && config.norm_eps == f64::from(1e-5f32)
            );
        }
    }
}

#[test]
fn headers_that_are_wrong_are_refused_by_name() {
    Maker { magic: *b"ggjt", ..Maker::new() }.refused(&["not a GGUF file", "ggjt"]);
    Maker { version: 1, ..Maker::new() }.refused(&["version 1"]);
    Maker { version: 4, ..Maker::new() }.refused(&["version 4"]);
    Maker { version: 3u32.swap_bytes(), ..Maker::new() }.refused(&["big-endian"]);
    Maker { counts: Some((1, u64::MAX)), ..Maker::new() }.refused(&["count of keys", "no room", "at byte 24"]);
    Maker { counts: Some((1 << 60, 1)), ..Maker::new() }.refused(&["count of tensors", "no room", "at byte 16"]);
    let twice = |mut maker: Maker| {
        maker.entries.push(maker.entries[0].clone());
        maker
    };
    twice(Maker::new()).refused(&["general.architecture", "twice"]);
    let long = [&8u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat();
    Maker::new().with("general.name", long).refused(&["general.name", "truncated", "18446744073709551615 bytes"]);
    Maker::new().with("general.name", vec![13, 0, 0, 0]).refused(&["general.name", "type 13"]);
    let latin = [&8u32.to_le_bytes()[..], &1u64.to_le_bytes(), &[0xff]].concat();
    Maker::new().with("general.name", latin).refused(&["general.name", "UTF-8"]);
    let array = |kind: u32, count: u64| [&9u32.to_le_bytes()[..], &kind.to_le_bytes(), &count.to_le_bytes()].concat();
    Maker::new().with("x", array(4, 1 << 40)).refused(&["the array of \"x\"", "no room"]);
    Maker::new().with("x", array(8, 1 << 40)).refused(&["the array of \"x\"", "no room"]);
    let mut nested = 9u32.to_le_bytes().to_vec();
    for _ in 0..40 {
        nested.extend(9u32.to_le_bytes());
        nested.extend(1u64.to_le_bytes());
    }
    Maker::new().with("x", nested).refused(&["nested too deeply"]);
    Maker::new().with("general.alignment", u32_value(24)).refused(&["general.alignment", "power of two"]);
    Maker::new()
        .with("split.count", [2u32.to_le_bytes().as_slice(), &3u16.to_le_bytes()].concat())
        .refused(&["one of 3 files", "merge"]);
}

#[test]
fn tensors_that_are_wrong_are_refused_by_name() {
    for (kind, name) in
        [(20, "IQ4_NL"), (16, "IQ2_XXS"), (34, "TQ1_0"), (39, "MXFP4"), (26, "I32"), (15, "Q8_K"), (99, "type 99")]
    {
        Maker::new().tensor("output.weight", &[256, 1], kind, 32).refused(&["output.weight", name, "are read"]);
    }
    Maker::new().tensor("output.weight", &[16, 1], 8, 32).refused(&["output.weight", "[16, 1]", "Q8_0 cannot hold"]);
    Maker::new()
        .tensor("output.weight", &[1 << 30, 1 << 30, 1 << 30], 0, 32)
        .refused(&["output.weight", "cannot hold"]);
    Maker::new().tensor("output.weight", &[], 0, 32).refused(&["output.weight", "0 dimensions"]);
    Maker::new().tensor("output.weight", &[1; 5], 0, 32).refused(&["output.weight", "5 dimensions"]);
    Maker::new().tensor("output.weight", &[1], 0, 4).refused(&["output.weight", "multiple of 32"]);
    Maker::new().tensor("output.weight", &[1], 0, 32).refused(&["output.weight", "ends at", "truncated"]);
    Maker::new().tensor("output.weight", &[1], 0, u64::MAX - 31).refused(&["output.weight", "truncated"]);
    Maker::new().tensor("output.weight", &[1], 0, 0).refused(&["one upon the other"]);
    Maker { data: 64, ..Maker::new() }
        .tensor("output_norm.weight", &[1], 0, 32)
        .refused(&["output_norm.weight", "twice"]);
    let more = Maker { data: 256, ..Maker::new() };
    let expert = more.clone().tensor("blk.0.ffn_gate_exps.weight", &[4, 4, 2], 0, 32);
    expert.refused(&["ffn_gate_exps", "mixture of experts"]);
    more.clone().tensor("blk.0.ffn_gate.1.weight", &[4], 0, 32).refused(&["mixture of experts"]);
    more.clone().tensor("blk.0.ssm_conv1d.weight", &[4], 0, 32).refused(&["ssm_conv1d", "is not one that"]);
    more.clone().tensor("blk.01.attn_v.weight", &[4], 0, 32).refused(&["blk.01.attn_v", "is not one that"]);
    more.clone().tensor("blk.0.attn_q.weight", &[8, 6], 0, 32).refused(&["attn_q", "6 rows", "2 heads"]);
}

#[test]
fn models_that_the_decoder_does_not_know_are_refused_by_name() {
    let set = |key: &str, value| Maker::new().with(key, value);
    set("general.architecture", string("mamba")).refused(&["\"mamba\"", "llama", "qwen3", "granite"]);
    Maker::new().without("general.architecture").refused(&["general.architecture"]);
    set("llama.expert_count", u32_value(8)).refused(&["mixture of experts"]);
    set("llama.attention.q_lora_rank", u32_value(8)).refused(&["llama.attention.q_lora_rank", "unknown"]);
    set("llama.block_count", string("one")).refused(&["llama.block_count", "\"one\"", "integer"]);
    Maker::new().without("llama.embedding_length").refused(&["llama.embedding_length", "missing"]);
    Maker::new().without("llama.attention.layer_norm_rms_epsilon").refused(&["layer_norm_rms_epsilon", "missing"]);
    set("llama.rope.scaling.type", string("ntk")).refused(&["rope.scaling.type", "\"ntk\""]);
    set("llama.rope.scaling.type", string("linear")).refused(&["rope.scaling.factor"]);
    let wide = set("llama.attention.key_length", u32_value(4)).with("llama.attention.value_length", u32_value(6));
    wide.refused(&["value_length"]);
    set("llama.rope.dimension_count", u32_value(6))
        .with("llama.attention.key_length", u32_value(4))
        .refused(&["rope.dimension_count"]);
    let biased = Maker { data: 256, ..Maker::new() }.tensor("blk.0.attn_q.bias", &[4], 0, 32);
    biased.refused(&["biases on some of", "attn_output"]);
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = Maker::new().bytes();
    let at = bytes.len() - 8;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let path = put(folder.path(), "m.gguf", &bytes);
    let error = Weights::open(&path).unwrap().read_f32("model.norm.weight", &[4]).unwrap_err().to_string();
    assert!(error.contains("m.gguf") && error.contains("NaN at number 2"), "{error}");
}

/// Gemma's norms are stored with 1 added.
#[test]
fn norms_of_gemma_lose_the_one_that_was_added() {
    let folder = tempfile::tempdir().unwrap();
    let read = |architecture: &str| {
        let bytes = Maker::new().with("general.architecture", string(architecture)).bytes();
        let path = put(folder.path(), "m.gguf", &bytes);
        Weights::open(&path).unwrap().read_f32("model.norm.weight", &[4]).unwrap()
    };
    let stored = read("qwen3");
    assert!(stored.iter().all(|x| *x > 0.1));
    assert_eq!(read("gemma3"), stored.iter().map(|x| x - 1.0).collect::<Vec<_>>());
}

/// Opens the bytes as a model and reads what it claims to have; any answer will do.
fn survives(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "m.gguf", bytes);
    let _ = DecoderConfig::read(&path);
    #[cfg(feature = "train")]
    let _ = realign::io::Tokenizer::open(&path);
    let Ok(weights) = Weights::open(&path) else { return };
    let names: Vec<String> = weights.names().map(str::to_owned).collect();
    for name in names {
        // The shape is in the message, if it is another.
        for shape in [vec![4], vec![2, 256], vec![32]] {
            let _ = weights.read_f32(&name, &shape);
        }
    }
}

/// Every cut of a file, and every bit of its header flipped.
#[test]
fn cuts_and_flipped_bits_are_survived() {
    let bytes = Maker::new().bytes();
    for end in 0..bytes.len() {
        survives(&bytes[..end]);
    }
    // Of each byte one bit or two, and all bits of every place in a number: 5 has no divisor of 8.
    for bit in (0..bytes.len() * 8).step_by(5) {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        survives(&damaged);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_survived(edits in super::fuzz::edits(), cut in any::<Option<prop::sample::Index>>(), which in 0..4usize) {
        let name = ["types.gguf", "tokenizer_default.gguf", "tokenizer_spm.gguf", "llama.gguf"][which];
        survives(&super::fuzz::damage(std::fs::read(golden(name)).unwrap(), &edits, cut));
    }

    #[test]
    fn random_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        survives(&bytes);
        survives(&[b"GGUF\x03\0\0\0", &bytes[..]].concat());
    }
}
