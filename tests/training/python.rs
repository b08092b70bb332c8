//! What is written is read by Python's safetensors, number by number, and the other way round.
//!
//! Runs where a Python with `safetensors` and `numpy` is found: `REALIGN_TEST_PYTHON`, which then must have them, else `python3`.
//! Transformers and PEFT read a finished run's results, too, where that Python has them.

use std::path::Path;
use std::process::Command;

use realign::ElementType;
use realign::device::Device;
use realign::io::{AdapterWeights, DecoderConfig, ModelWriter, Weights};
use realign::train::{Run, Stage, Start, Trained};

use super::runs::{finish, setup_of};
use super::{golden, model_folder};

/// A Python that can read the files; `None`, and a line that says so, if there is none.
pub fn python() -> Option<String> {
    let named = std::env::var("REALIGN_TEST_PYTHON").ok().filter(|path| !path.is_empty());
    let python = named.clone().unwrap_or_else(|| "python3".to_string());
    let found = Command::new(&python).args(["-c", "import safetensors.numpy"]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(named.is_none(), "REALIGN_TEST_PYTHON is set, but {python} cannot import safetensors.numpy");
    println!("skipped: {python} with safetensors and numpy is not here; set REALIGN_TEST_PYTHON");
    None
}

pub fn run(python: &str, script: &str, arguments: &[&Path]) {
    let output = Command::new(python).arg("-c").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    print!("{}", String::from_utf8_lossy(&output.stdout));
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

/// A run's folder, the model folder that it began with: names, shapes and types; that all was trained; additions of low rank give the
/// merged model; and what Transformers and PEFT make of it.
const FINISHED_RUN: &str = r#"
import sys, os, json
import numpy as np
from safetensors.numpy import load_file
out, source, lora = sys.argv[1], sys.argv[2], os.path.join(sys.argv[1], 'lora')
before = load_file(os.path.join(source, 'model.safetensors'))
adapter = load_file(os.path.join(out, 'adapter.safetensors'))
assert sorted(adapter) == sorted('model.mm_projector.' + n for n in ('0.weight', '0.bias', '2.weight', '2.bias')), sorted(adapter)
for name, value in adapter.items():
    assert value.dtype == np.float32 and value.shape == before[name].shape and (value != before[name]).any(), name
if not os.path.exists(os.path.join(out, 'model')):
    print('stage 1: the adapter alone')
    assert not os.path.exists(lora)
    sys.exit()
model = load_file(os.path.join(out, 'model', 'model.safetensors'))
want = {k: v for k, v in before.items() if 'mm_projector' not in k}
assert model.keys() == want.keys(), model.keys() ^ want.keys()
config = json.load(open(os.path.join(out, 'model', 'config.json')))
assert config == {**json.load(open(os.path.join(source, 'config.json'))), 'torch_dtype': 'float32'}, config
for name in ('tokenizer.json', 'tokenizer_config.json'):
    assert open(os.path.join(out, 'model', name)).read() == open(os.path.join(source, name)).read()
if os.path.exists(lora):
    parts = load_file(os.path.join(lora, 'adapter_model.safetensors'))
    settings = json.load(open(os.path.join(lora, 'adapter_config.json')))
    scale, merged = settings['lora_alpha'] / settings['r'], 0
    for name in want:
        stem = 'base_model.model.' + name[:-len('.weight')]
        if stem + '.lora_A.weight' in parts:
            a, b = parts[stem + '.lora_A.weight'], parts[stem + '.lora_B.weight']
            assert a.shape[0] == settings['r'] == b.shape[1] and b.any(), name
            sum = before[name] + scale * (b.astype(np.float64) @ a)
            assert abs(model[name] - sum).max() < 1e-6 and (model[name] != before[name]).any(), name
            merged += 1
        else:
            assert (model[name] == before[name]).all(), name
    assert 2 * merged == len(parts) == 2 * 7 * config['num_hidden_layers'], (merged, len(parts))
else:
    assert all((model[name] != before[name]).any() for name in model)
try:
    import torch
    from transformers import AutoModelForCausalLM
except ImportError:
    print('not read by Transformers, which is not here')
    sys.exit()
load = lambda folder: AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
loaded, info = load(os.path.join(out, 'model'))
assert not any(info[k] for k in ('missing_keys', 'unexpected_keys', 'mismatched_keys')), info
state = loaded.state_dict()
assert all((state[name].numpy() == model[name]).all() for name in model)
print('read by Transformers')
if os.path.exists(lora):
    try:
        from peft import PeftModel
    except ImportError:
        print('additions not read by PEFT, which is not here')
        sys.exit()
    base = load(source)[0]
    state = PeftModel.from_pretrained(base, lora).merge_and_unload().state_dict()
    assert all(abs(state[name].numpy() - model[name]).max() < 1e-6 for name in model)
    print('additions read by PEFT')
"#;

#[test]
fn python_reads_what_a_finished_run_leaves() {
    let Some(python) = python() else { return };
    for (stage, trained) in [(Stage::One, Trained::Adapter), (Stage::Two, Trained::All), (Stage::Two, Trained::Lora)] {
        for kind in ["llama", "qwen2"] {
            let (folder, settings) = setup_of(stage, kind);
            let settings = settings.train(trained).epochs(3.0).lora_rank(3).merge_lora(trained == Trained::Lora);
            let out = settings.out.clone();
            finish(Run::start(&Device::host(), settings, Start::New).unwrap());
            // The folder's model has its adapter within; LLaVA keeps it so.
            run(&python, FINISHED_RUN, &[&out, folder.path()]);
        }
    }
}

/// A model folder that was read and written again, and the file that it was read from: Transformers loads it with no key missing or
/// unexpected, and the same numbers.
const FAMILY: &str = r#"
import sys
try:
    import torch
    from transformers import AutoModelForCausalLM
except ImportError:
    print('not read by Transformers, which is not here')
    sys.exit()
from safetensors.numpy import load_file
out, golden = sys.argv[1], load_file(sys.argv[2])
model, info = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True, dtype=torch.float32)
assert not any(info[k] for k in ('missing_keys', 'unexpected_keys', 'mismatched_keys')), (out, info)
for name, value in model.named_parameters():
    assert (value.detach().numpy() == golden[name]).all(), name
"#;

#[test]
fn transformers_reads_every_family() {
    let Some(python) = python() else { return };
    let device = Device::host();
    let mut count = 0;
    for entry in std::fs::read_dir(golden("families")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_suffix(".safetensors") else { continue };
        let (source, spot) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let weights = golden(&format!("families/{name}.safetensors"));
        std::fs::copy(golden(&format!("families/{name}.config.json")), source.path().join("config.json")).unwrap();
        std::fs::copy(&weights, source.path().join("model.safetensors")).unwrap();
        let decoder = realign::nn::Decoder::open(&device, source.path(), None).unwrap();
        let out = spot.path().join("out");
        decoder.save_blocking(&device, (&out, false), source.path(), ElementType::F32).unwrap();
        run(&python, FAMILY, &[&out, &weights]);
        count += 1;
    }
    assert_eq!(count, 22);
}
