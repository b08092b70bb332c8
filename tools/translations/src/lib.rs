//! Translations of realign's shaders by naga, with the options that wgpu gives it, after the overrides have their values.
//!
//! The shaders come from `target/shaders.json`, which realign's own test `portability` writes.

pub mod amd;
pub mod table;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use naga::back::{PipelineConstants, hlsl, msl, pipeline_constants, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ResourceBinding, ShaderStage, StorageAccess};
use serde::Deserialize;

const ENTRY: (ShaderStage, &str) = (ShaderStage::Compute, "main");

/// A shader with the sets of its overrides' values.
#[derive(Deserialize)]
pub struct Shader {
    /// Kernel and number.
    pub name: String,
    /// The kernel's name.
    pub kernel: String,
    /// The files that make it another than the kernel's others.
    pub files: Vec<String>,
    /// Whether a GPU may get it.
    pub for_gpus: bool,
    /// WGSL.
    pub source: String,
    /// `subgroups`, `int64`.
    features: Vec<String>,
    /// Each set of values for the overrides.
    pub constants: Vec<BTreeMap<String, f64>>,
}

#[derive(Deserialize)]
struct File {
    shaders: Vec<Shader>,
}

/// A shader whose overrides have become constants.
pub struct Fixed<'a> {
    /// The module.
    pub module: Cow<'a, Module>,
    /// What validation found of it.
    pub info: Cow<'a, ModuleInfo>,
}

impl Shader {
    /// All shaders of the file.
    pub fn all() -> Vec<Shader> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/shaders.json");
        let text = std::fs::read(&path);
        let text =
            text.unwrap_or_else(|e| panic!("{}: {e}; run `cargo test --release --test portability`", path.display()));
        let file: File = serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        file.shaders
    }

    /// The features that it needs beyond WebGPU's core.
    pub fn features(&self) -> Capabilities {
        let mut all = Capabilities::empty();
        for name in &self.features {
            all |= match name.as_str() {
                "subgroups" => Capabilities::SUBGROUP,
                "int64" => Capabilities::SHADER_INT64,
                other => panic!("{}: feature {other}", self.name),
            };
        }
        all
    }

    /// Parses and validates it.
    pub fn parse(&self) -> Result<(Module, ModuleInfo), String> {
        let module = naga::front::wgsl::parse_str(&self.source).map_err(|e| e.emit_to_string(&self.source))?;
        let info = Validator::new(ValidationFlags::all(), self.features() | Capabilities::SHADER_FLOAT16_IN_FLOAT32)
            .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
            .subgroup_operations(naga::valid::SubgroupOperationSet::all())
            .validate(&module)
            .map_err(|e| e.emit_to_string(&self.source))?;
        Ok((module, info))
    }
}

/// Which of a shader's sets of values are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sets {
    /// All.
    All,
    /// The first and the last: each override's least and greatest value.
    Ends,
}

/// Calls `f` with every shader under its overrides' values, and returns how many there are; an error names them.
pub fn for_each(sets: Sets, mut f: impl FnMut(&Shader, Fixed<'_>) -> Result<(), String>) -> usize {
    let mut count = 0;
    for shader in Shader::all() {
        let (module, info) = shader.parse().unwrap_or_else(|e| panic!("{}: {e}", shader.name));
        let last = shader.constants.len().saturating_sub(1);
        for (i, constants) in shader.constants.iter().enumerate() {
            if sets == Sets::Ends && i != 0 && i != last {
                continue;
            }
            let result = fix(&module, &info, constants).and_then(|fixed| f(&shader, fixed));
            result.unwrap_or_else(|e| panic!("{} with {constants:?}: {e}", shader.name));
            count += 1;
        }
    }
    count
}

/// A module with values for its overrides.
pub fn fix<'a>(
    module: &'a Module,
    info: &'a ModuleInfo,
    constants: &BTreeMap<String, f64>,
) -> Result<Fixed<'a>, String> {
    let constants: PipelineConstants = constants.iter().map(|(name, value)| (name.clone(), *value)).collect();
    let (module, info) =
        pipeline_constants::process_overrides(module, info, Some(ENTRY), &constants).map_err(|e| e.to_string())?;
    Ok(Fixed { module, info })
}

const CHECKED: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Restrict,
    buffer: BoundsCheckPolicy::Restrict,
    image_load: BoundsCheckPolicy::Restrict,
    binding_array: BoundsCheckPolicy::Unchecked,
};

/// The module's bindings, with the space of each.
pub fn bindings(module: &Module) -> Vec<(ResourceBinding, AddressSpace)> {
    module.global_variables.iter().filter_map(|(_, v)| v.binding.map(|b| (b, v.space))).collect()
}

/// What shaders are compiled with that naga adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// Everything: indices clamped, loops bounded, divisors looked at, workgroup memory zeroed.
    All,
    /// Nothing, as for the crate's own kernels: see `src/spec/in_range.rs`.
    None,
}

/// SPIR-V of version 1.5, as for a driver of Vulkan 1.2.
pub fn to_spirv(fixed: &Fixed<'_>, checks: Checks) -> Result<Vec<u8>, String> {
    let place = |(b, _): (ResourceBinding, AddressSpace)| {
        let info = spv::BindingInfo { descriptor_set: b.group, binding: b.binding, binding_array_size: None };
        (b, info)
    };
    let options = spv::Options {
        lang_version: (1, 5),
        fake_missing_bindings: false,
        binding_map: bindings(&fixed.module).into_iter().map(place).collect(),
        bounds_check_policies: if checks == Checks::All { CHECKED } else { BoundsCheckPolicies::default() },
        force_loop_bounding: checks == Checks::All,
        emit_int_div_checks: checks == Checks::All,
        zero_initialize_workgroup_memory: match checks {
            Checks::All => spv::ZeroInitializeWorkgroupMemoryMode::Native,
            Checks::None => spv::ZeroInitializeWorkgroupMemoryMode::None,
        },
        ..Default::default()
    };
    let entry = spv::PipelineOptions { shader_stage: ENTRY.0, entry_point: ENTRY.1.to_owned() };
    let words = spv::write_vec(&fixed.module, &fixed.info, &options, Some(&entry)).map_err(|e| e.to_string())?;
    Ok(words.into_iter().flat_map(u32::to_le_bytes).collect())
}

/// The oldest Metal that wgpu offers the features on.
pub fn metal_version(features: Capabilities) -> (u8, u8) {
    match (features.contains(Capabilities::SHADER_INT64), features.contains(Capabilities::SUBGROUP)) {
        (true, _) => (2, 3),
        (_, true) => (2, 1),
        _ => (2, 0),
    }
}

/// Metal's language.
pub fn to_metal(fixed: &Fixed<'_>, lang_version: (u8, u8)) -> Result<String, String> {
    let (mut buffers, mut textures) = (0..29u8, 0..);
    let resources = bindings(&fixed.module).into_iter().map(|(binding, space)| {
        let mut target = msl::BindTarget::default();
        match space {
            AddressSpace::Handle => target.texture = textures.next(),
            _ => target.buffer = buffers.next(),
        }
        target.mutable = is_written(space);
        (binding, target)
    });
    let resources =
        msl::EntryPointResources { resources: resources.collect(), immediates_buffer: None, sizes_buffer: Some(29) };
    let options = msl::Options {
        lang_version,
        per_entry_point_map: BTreeMap::from([(ENTRY.1.to_owned(), resources)]),
        fake_missing_bindings: false,
        bounds_check_policies: CHECKED,
        ..Default::default()
    };
    let entry = msl::PipelineOptions { entry_point: Some(owned_entry()), ..Default::default() };
    let (text, info) = msl::write_string(&fixed.module, &fixed.info, &options, &entry).map_err(|e| e.to_string())?;
    info.entry_point_names.into_iter().collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    Ok(text)
}

fn owned_entry() -> (ShaderStage, String) {
    (ENTRY.0, ENTRY.1.to_owned())
}

fn is_written(space: AddressSpace) -> bool {
    matches!(space, AddressSpace::Storage { access } if access.contains(StorageAccess::STORE))
}

/// The oldest shader model that has the features; FXC, which wgpu takes where there is no DXC, ends at 5.1.
pub fn shader_model(features: Capabilities) -> hlsl::ShaderModel {
    if features.is_empty() { hlsl::ShaderModel::V5_1 } else { hlsl::ShaderModel::V6_0 }
}

/// HLSL, and the name that its entry point got.
pub fn to_hlsl(fixed: &Fixed<'_>, shader_model: hlsl::ShaderModel) -> Result<(String, String), String> {
    // Registers are counted for constant buffers, what is read and what is written.
    let mut next = [0; 3];
    let binding_map = bindings(&fixed.module).into_iter().map(|(binding, space)| {
        let kind = match space {
            AddressSpace::Uniform => 0,
            space if is_written(space) => 2,
            _ => 1,
        };
        next[kind] += 1;
        (binding, hlsl::BindTarget { register: next[kind] - 1, restrict_indexing: true, ..Default::default() })
    });
    let options = hlsl::Options {
        shader_model,
        binding_map: binding_map.collect(),
        fake_missing_bindings: false,
        ..Default::default()
    };
    let mut text = String::new();
    let entry = hlsl::PipelineOptions { entry_point: Some(owned_entry()) };
    let info = hlsl::Writer::new(&mut text, &options, &entry)
        .write(&fixed.module, &fixed.info, None)
        .map_err(|e| e.to_string())?;
    let names = info.entry_point_names.into_iter().collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    let [name] = &names[..] else { return Err(format!("entry points {names:?}")) };
    Ok((text, name.clone()))
}
