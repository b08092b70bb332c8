//! Shaders as data.

use std::path::Path;

use naga::valid::Capabilities;
use realign::kernels::{BindingKind, GRID_BINDING};
use serde_json::{Map, Value, json};

use crate::shaders::{Shader, all, is_cooperative};

/// A binding's kind, as bind group layouts have it.
pub fn binding_kind(kind: BindingKind, texels: bool) -> &'static str {
    match kind {
        BindingKind::Uniform => "uniform",
        BindingKind::Texels if texels => "texels",
        BindingKind::Read | BindingKind::Texels => "read",
        BindingKind::ReadWrite => "write",
    }
}

/// A shader with the sets of its overrides' values, its bindings and the features that it needs, by the names of WebGPU.
pub fn shader_data(shader: &Shader) -> Value {
    let texels = shader.source.contains("texture_2d<u32>");
    let bindings = shader.kernel.bindings.iter().map(|b| json!([b.index, binding_kind(b.kind, texels)]));
    let bindings = bindings.chain([json!([GRID_BINDING, "uniform"])]);
    let set = |set: &Vec<(&str, f64)>| Value::Object(set.iter().map(|(n, v)| ((*n).to_owned(), json!(v))).collect());
    let names = [(Capabilities::SUBGROUP, "subgroups"), (Capabilities::SHADER_INT64, "int64")];
    let features = names.iter().filter(|(f, _)| shader.features.contains(*f)).map(|(_, name)| *name);
    json!({
        "name": shader.name,
        "kernel": shader.kernel.name,
        "files": shader.files,
        "for_gpus": shader.for_gpus,
        "source": shader.source,
        "features": features.collect::<Vec<_>>(),
        "bindings": bindings.collect::<Vec<_>>(),
        "constants": shader.constants.iter().map(set).collect::<Vec<_>>(),
    })
}

/// Writes all shaders for the translations.
#[test]
fn every_shader_is_written() {
    let data: Vec<Value> = all().iter().map(shader_data).collect();
    let kernels: std::collections::BTreeSet<&str> = all().iter().map(|s| s.kernel.name).collect();
    // The tensor cores' are an extension of wgpu.
    let portable = realign::kernels::ALL.iter().filter(|k| !is_cooperative(k));
    assert_eq!(kernels, portable.map(|k| k.name).collect());
    let mut file = Map::new();
    file.insert("shaders".to_owned(), Value::Array(data));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/shaders.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, Value::Object(file).to_string()).unwrap();
}
