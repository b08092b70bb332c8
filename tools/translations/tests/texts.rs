//! Metal and HLSL, and the limits of WebGPU's default tier.

use naga::back::hlsl::ShaderModel;
use naga::valid::ModuleInfo;
use naga::{AddressSpace, Module};
use realign_translations::{Sets, bindings, for_each, metal_version, shader_model, to_hlsl, to_metal};

/// Bytes of workgroup memory that the entry point uses.
fn workgroup_bytes(module: &Module, info: &ModuleInfo) -> u32 {
    let used = module.global_variables.iter().filter(|(handle, variable)| {
        variable.space == AddressSpace::WorkGroup && !info.get_entry_point(0)[*handle].is_empty()
    });
    used.map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx()).next_multiple_of(16)).sum()
}

#[test]
fn every_shader_becomes_metal_and_hlsl_within_the_default_limits() {
    let count = for_each(Sets::All, |shader, fixed| {
        let storage = |space: &AddressSpace| !matches!(space, AddressSpace::Uniform);
        let buffers = bindings(&fixed.module).iter().filter(|(_, space)| storage(space)).count();
        let invocations: u32 = fixed.module.entry_points[0].workgroup_size.iter().product();
        let memory = workgroup_bytes(&fixed.module, &fixed.info);
        // A tile that is taken where the adapter lends so much: Metal and Direct3D do.
        let most = if shader.files.iter().any(|file| file == "linalg/tile_128_double.wgsl") { 32_768 } else { 16_384 };
        if buffers > 8 || invocations > 256 || memory > most {
            return Err(format!("{buffers} buffers, {invocations} invocations, {memory} bytes of workgroup memory"));
        }
        let metal = to_metal(&fixed, metal_version(shader.features()))?;
        if !metal.contains("kernel void main_") {
            return Err("no kernel function in Metal's text".to_owned());
        }
        let newest = to_hlsl(&fixed, ShaderModel::V6_6)?;
        for (text, name) in [to_hlsl(&fixed, shader_model(shader.features()))?, newest] {
            if !text.contains(&format!("void {name}(")) {
                return Err(format!("no function {name} in the HLSL"));
            }
        }
        Ok(())
    });
    assert!(count > 1000, "{count} shaders");
}

/// wgpu has the same naga: see Cargo.toml.
#[test]
fn naga_is_the_one_that_wgpu_has() {
    let version = |lock: &str| {
        let text = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(lock)).unwrap();
        let (_, rest) = text.split_once("name = \"naga\"\nversion = \"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    assert_eq!(version("Cargo.lock"), version("../../Cargo.lock"));
}
