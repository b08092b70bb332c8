//! What is written is read by Python's safetensors, number by number, and the other way round.
//!
//! Runs where a Python with `safetensors` and `numpy` is found: `REALIGN_TEST_PYTHON`, else `python3`.

use std::path::Path;
use std::process::Command;

use realign::ElementType;
use realign::io::{AdapterWeights, DecoderConfig, ModelWriter, Weights};

use super::{golden, model_folder};

/// A Python that can read the files; `None`, and a line that says so, if there is none.
fn python() -> Option<String> {
    let named = std::env::var("REALIGN_TEST_PYTHON").ok();
    let python = named.clone().unwrap_or_else(|| "python3".to_string());
    let found = Command::new(&python).args(["-c", "import safetensors.numpy"]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(named.is_none(), "REALIGN_TEST_PYTHON is set, but {python} cannot import safetensors.numpy");
    println!("skipped: {python} with safetensors and numpy is not here; set REALIGN_TEST_PYTHON");
    None
}

fn run(python: &str, script: &str, arguments: &[&Path]) {
    let output = Command::new(python).arg("-c").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// All tensors of the model folder `b` are those of the file `a`.
const SAME_MODEL: &str = r#"
import sys, os, json
from safetensors import safe_open
from safetensors.numpy import load_file
a, b = load_file(sys.argv[1]), sys.argv[2]
index = os.path.join(b, 'model.safetensors.index.json')
if os.path.exists(index):
    where = json.load(open(index))
    files = sorted(set(where['weight_map'].values()))
    assert files == sorted(f for f in os.listdir(b) if f.endswith('.safetensors')), files
else:
    where, files = None, ['model.safetensors']
found, total = {}, 0
for f in files:
    part = load_file(os.path.join(b, f))
    for name in part:
        assert where is None or where['weight_map'][name] == f
        total += part[name].nbytes
    with safe_open(os.path.join(b, f), 'np') as open_file:
        assert open_file.metadata()['format'] == 'pt'
    found.update(part)
assert where is None or where['metadata']['total_size'] == total
want = {k: v for k, v in a.items() if 'mm_projector' not in k}
assert found.keys() == want.keys(), found.keys() ^ want.keys()
for name in want:
    w = want[name].astype(found[name].dtype)
    assert w.shape == found[name].shape and (w == found[name]).all(), name
config = json.load(open(os.path.join(b, 'config.json')))
assert config['torch_dtype'] == str(found['model.norm.weight'].dtype), config
"#;

#[test]
fn python_reads_the_decoder() {
    let Some(python) = python() else { return };
    for (kind, element, shard) in [
        ("llama", ElementType::F32, u64::MAX),
        ("qwen2", ElementType::F16, 60_000),
        ("llama", ElementType::F16, 100_000),
    ] {
        let source = model_folder(kind);
        let spot = tempfile::tempdir().unwrap();
        let out = spot.path().join("model");
        let config = DecoderConfig::read(source.path()).unwrap();
        let weights = Weights::open(source.path()).unwrap();
        let mut writer = ModelWriter::create(&out, false, source.path(), &config, element, shard).unwrap();
        for (name, shape) in config.tensors() {
            writer.write(&name, &weights.read_f32(&name, &shape).unwrap()).unwrap();
        }
        writer.commit().unwrap();
        run(&python, SAME_MODEL, &[&source.path().join("model.safetensors"), &out]);
    }
}

#[test]
fn python_reads_and_writes_the_adapter() {
    let Some(python) = python() else { return };
    let spot = tempfile::tempdir().unwrap();
    let (ours, theirs) = (spot.path().join("ours.safetensors"), spot.path().join("theirs.safetensors"));
    let adapter = AdapterWeights::load(&golden("models/llama.safetensors")).unwrap();
    adapter.save(&ours, ElementType::F32, false).unwrap();
    let script = r#"
import sys
from safetensors.numpy import load_file, save_file
want = {k: v for k, v in load_file(sys.argv[1]).items() if 'mm_projector' in k}
found = load_file(sys.argv[2])
assert list(sorted(found)) == ['model.mm_projector.0.bias', 'model.mm_projector.0.weight', 'model.mm_projector.2.bias', 'model.mm_projector.2.weight']
for name in want:
    assert found[name].dtype == want[name].dtype and (found[name] == want[name]).all(), name
save_file({k.replace('model.', ''): v for k, v in found.items()}, sys.argv[3])
"#;
    run(&python, script, &[&golden("models/llama.safetensors"), &ours, &theirs]);
    assert_eq!(AdapterWeights::load(&theirs).unwrap().layers, adapter.layers);
}
