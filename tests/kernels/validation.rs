//! Every kernel in every variant: valid WGSL for the features that the variant asks for, bindings as declared, and within
//! WebGPU's default limits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use naga::valid::{Capabilities, ModuleInfo};
use naga::{AddressSpace, Module, ShaderStage, StorageAccess};
use realign::ElementType;
use realign::device::{Command, Device, Dispatch, Tensor};
use realign::kernels::align::{apply, c3};
use realign::kernels::bench::{copy, fma};
use realign::kernels::geometry::{angles, histogram, nearest};
use realign::kernels::linalg::epilogue::Epilogue;
use realign::kernels::linalg::exact_product::{self, Digits, Placement, Sums};
use realign::kernels::linalg::matmul::{self, Operand, Product};
use realign::kernels::linalg::slices::{self, Parts, Slices};
use realign::kernels::linalg::tiles::{Multiplier, Tile};
use realign::kernels::nn::gate::Act;
use realign::kernels::nn::gelu::Form;
use realign::kernels::stats::{moments, normalize, power_sums};
use realign::kernels::{ALL, Binding, BindingKind, GRID_BINDING, KernelSpec, shader};

use crate::common::gpu;
use crate::shaders::{COOPERATIVE, Imports, Variant, is_cooperative, parse, variants, workgroup_bytes};

/// Index, name and kind of each binding, as the shader has them; one that no code uses is an error.
fn reflect(module: &Module, info: &ModuleInfo) -> Result<BTreeMap<u32, (String, BindingKind)>, String> {
    let mut found = BTreeMap::new();
    for (handle, variable) in module.global_variables.iter() {
        let Some(binding) = &variable.binding else { continue };
        let name = variable.name.clone().unwrap_or_default();
        let kind = match variable.space {
            AddressSpace::Uniform => BindingKind::Uniform,
            AddressSpace::Storage { access } if access == StorageAccess::LOAD => BindingKind::Read,
            AddressSpace::Storage { .. } => BindingKind::ReadWrite,
            AddressSpace::Handle if is_texture_of_words(module, variable.ty) => BindingKind::Texels,
            other => return Err(format!("{name} is in {other:?}")),
        };
        if binding.group != 0 {
            return Err(format!("{name} is in group {}", binding.group));
        }
        if info.get_entry_point(0)[handle].is_empty() {
            return Err(format!("{name} is not used"));
        }
        if let Some((other, _)) = found.insert(binding.binding, (name.clone(), kind)) {
            return Err(format!("{name} and {other} share binding {}", binding.binding));
        }
    }
    Ok(found)
}

fn is_texture_of_words(module: &Module, ty: naga::Handle<naga::Type>) -> bool {
    let class = naga::ImageClass::Sampled { kind: naga::ScalarKind::Uint, multi: false };
    module.types[ty].inner == naga::TypeInner::Image { dim: naga::ImageDimension::D2, arrayed: false, class }
}

/// Everything that must hold for one variant of a kernel.
fn check(spec: &KernelSpec, imports: &Imports, features: Capabilities) -> Result<(), String> {
    let (module, info) = parse(spec, imports, features)?;
    let [entry] = &module.entry_points[..] else { return Err("not one entry point".into()) };
    if entry.name != "main" || entry.stage != ShaderStage::Compute {
        return Err(format!("entry point {} of stage {:?}", entry.name, entry.stage));
    }
    let mut found = reflect(&module, &info)?;
    // The engine's own, which no kernel declares.
    let grid = found.remove(&GRID_BINDING);
    if grid.as_ref().is_some_and(|grid| *grid != ("grid".to_owned(), BindingKind::Uniform)) {
        return Err(format!("{grid:?} where the grid is bound"));
    }
    if grid.is_some() != spec.grid {
        return Err(format!("the shader has the grid {grid:?}, the kernel declares {}", spec.grid));
    }
    let overrides: BTreeSet<_> = module.overrides.iter().filter_map(|(_, o)| o.name.clone()).collect();
    let declared: BTreeSet<_> = spec.overrides.iter().map(|name| (*name).to_owned()).collect();
    if overrides != declared {
        return Err(format!("the shader has the overrides {overrides:?}, the kernel declares {declared:?}"));
    }
    let texels = if imports.iter().any(|(_, path)| *path == "common/vectors_texture.wgsl") {
        BindingKind::Texels
    } else {
        BindingKind::Read
    };
    let kind = |b: &Binding| if b.kind == BindingKind::Texels { texels } else { b.kind };
    let declared = spec.bindings.iter().map(|b| (b.index, (b.name.to_owned(), kind(b)))).collect();
    if found != declared {
        return Err(format!("the shader has {found:?}, the kernel declares {declared:?}"));
    }
    if spec.bindings.first().map(|b| (b.index, b.kind)) != Some((0, BindingKind::Uniform)) {
        return Err("the uniform is not first".into());
    }
    // WebGPU's default tier.
    if spec.bindings.len() - 1 > 8 {
        return Err(format!("{} storage buffers", spec.bindings.len() - 1));
    }
    let bytes = workgroup_bytes(&module, &info);
    // Some products' tiles are for devices with more than WebGPU's default.
    let mut tiles = Tile::ALL.into_iter().filter(|tile| {
        let (multiplier, files) = tile.multiplier();
        spec.name.starts_with(matmul::kernel(multiplier).name) && files.iter().all(|file| imports.contains(file))
    });
    let most = tiles.next().map_or(49_152, Tile::workgroup_bytes);
    let most = if spec.name.starts_with("matmul") || is_cooperative(spec) { most } else { 16_384 };
    if bytes > most {
        return Err(format!("{bytes} bytes of workgroup memory"));
    }
    Ok(())
}

#[test]
fn every_kernel_in_every_variant() {
    for spec in ALL {
        for Variant { imports, features, .. } in variants() {
            let own = match spec.name {
                name if name.starts_with(matmul::SUBGROUP.name) => Capabilities::SUBGROUP,
                _ if is_cooperative(spec) => COOPERATIVE,
                _ => Capabilities::empty(),
            };
            check(spec, &imports, features | own).unwrap_or_else(|e| panic!("{} {imports:?}: {e}", spec.name));
        }
    }
}

#[test]
fn names_are_unique() {
    let names: BTreeSet<_> = ALL.iter().map(|spec| spec.name).collect();
    assert_eq!(names.len(), ALL.len());
}

/// A kernel that is declared but not in the catalogue would be validated, translated and timed by nobody.
#[test]
fn every_declared_kernel_is_in_the_catalogue() {
    fn declared(folder: &Path) -> usize {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let in_file = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap();
            // Lists are the epilogues', one for each multiplier.
            text.matches(": KernelSpec =").count() + 4 * text.matches(": [KernelSpec; 4] =").count()
        };
        entries.map(|path| if path.is_dir() { declared(&path) } else { in_file(&path) }).sum()
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernels");
    assert_eq!(declared(&folder), ALL.len(), "a kernel in src/kernels is missing from catalogue.rs");
}

/// A feature that a variant uses but does not ask for is noticed.
#[test]
fn subgroups_and_64_bits_need_their_features() {
    for Variant { imports, features, .. } in variants().into_iter().filter(|v| !v.features.is_empty()) {
        for spec in [&moments::SPEC, &c3::SPEC] {
            assert!(check(spec, &imports, Capabilities::empty()).is_err(), "{} {features:?}", spec.name);
        }
    }
}

/// The comparison can fail: bindings swapped, missing, extra, of another kind.
#[test]
fn a_wrong_declaration_is_noticed() {
    const U: Binding = Binding::uniform("params");
    const ROWS: Binding = Binding::read(1, "rows");
    const STATUS: Binding = Binding::read_write(5, "status");
    const WRONG: [&[Binding]; 5] = [
        &[U, ROWS, Binding::read_write(5, "out_rows"), Binding::read_write(4, "status")],
        &[U, ROWS, STATUS],
        &[U, ROWS, Binding::read(2, "vectors"), Binding::read_write(4, "out_rows"), STATUS],
        &[U, ROWS, Binding::read(4, "out_rows"), STATUS],
        &[U, Binding::read(1, "cols"), Binding::read_write(4, "out_rows"), STATUS],
    ];
    let Variant { imports, features, .. } = variants().remove(0);
    check(&normalize::SPEC, &imports, features).unwrap();
    let spec = |bindings| KernelSpec::new("wrong", normalize::SPEC.source, bindings, normalize::SPEC.twin);
    let (right, overrides) = (normalize::SPEC.bindings, normalize::SPEC.overrides);
    let wrong = WRONG.map(|bindings| spec(bindings).with_grid().with_overrides(overrides)).into_iter().chain([
        spec(right).with_overrides(overrides),
        spec(right).with_grid().with_overrides(&["GROUP"]),
        spec(right).with_grid().with_overrides(&["GROUP", "LANES", "VECTORS"]),
    ]);
    for spec in wrong {
        let error = check(&spec, &imports, features).unwrap_err();
        assert!(error.contains("the kernel declares"), "{error}");
    }
}

/// One recorded dispatch of each kernel.
fn dispatches(device: &Device) -> Vec<Dispatch> {
    let (input, output) =
        (Tensor::new(device, 3, 8, ElementType::F32).unwrap(), Tensor::new(device, 3, 8, ElementType::F32).unwrap());
    let status = apply::status_buffer(device).unwrap();
    let mut recorder = device.recorder();
    let summand = moments::Summand::unit_rows(device, 8).unwrap();
    let sums = device.buffer("sums", summand.sums_bytes()).unwrap();
    moments::record(&mut recorder, &summand, &input, 3, (&sums, 0)).unwrap();
    normalize::record(&mut recorder, &input, &output, 3, &status).unwrap();
    let operator = apply::Operator::new(device, 1.0, &[vec![0.0; 8]], 8).unwrap();
    apply::record(&mut recorder, &operator, &input, &output, 3, (&status, 0)).unwrap();
    let shift = device.buffer("shift", 32).unwrap();
    let noise = c3::Noise { sigma: 0.1, seed: 1 };
    c3::record(&mut recorder, (&shift, noise, 0), &input, &output, 3, (&status, 0)).unwrap();
    let lists = nearest::Lists::new(device, 8, 2).unwrap();
    nearest::record(&mut recorder, (&input, nearest::Queries::Columns), (0, 0), &shift, &lists).unwrap();
    let histogram = histogram::Histogram::new(device, 8).unwrap();
    histogram::record(&mut recorder, &input, (0, 0), histogram::Pairs::Ordered, &histogram).unwrap();
    let mut digits = Digits::new(device, 4, 8).unwrap();
    digits.write(device, &[1.0; 32]).unwrap();
    exact_product::record(&mut recorder, &digits, &digits, Placement::default(), &Sums::new(device, 8, 8).unwrap())
        .unwrap();
    let mut slices = Slices::new(device, 4, 8, ElementType::F16).unwrap();
    slices.write(device, &[1.0; 32]).unwrap();
    let (parts, sums) = (Parts::new(device, 8, 8).unwrap(), Sums::new(device, 8, 8).unwrap());
    slices::record(&mut recorder, (&slices, &slices), Placement::default(), (&parts, &sums)).unwrap();
    let directions = [0.6, 0.8, 0.0, 0.8, -0.6, 0.0];
    angles::prepare(device, (&directions, 2), (&directions, 2)).unwrap().record(&mut recorder).unwrap();
    let square = Tensor::new(device, 8, 8, ElementType::F32).unwrap();
    let operands = (Operand::new(&square), Operand::new(&square));
    let [c, before] = [(); 2].map(|()| Tensor::new(device, 8, 8, ElementType::F32).unwrap());
    let add = Epilogue::Add { bias: None, residual: Some(&before) };
    let act = Epilogue::Act { act: Act::Gelu(Form::Quick), bias: None };
    for fused in [Epilogue::None, add, act, Epilogue::Gelu { form: Form::Erf, bias: None, before: &before }] {
        matmul::record_fused(&mut recorder, Product::default(), fused, operands, (&c, 0)).unwrap();
        for tile in Tile::ALL.into_iter().filter(|tile| tile.multiplier().0 == Multiplier::Cooperative) {
            matmul::record_parts(&mut recorder, (Product::default(), fused), operands, (&c, 0), tile).unwrap();
        }
    }
    let (weights, powers) =
        (device.buffer("weights", 16).unwrap(), Tensor::new(device, 8, 4, ElementType::F32).unwrap());
    power_sums::record(&mut recorder, (&input, &weights), &powers, false).unwrap();
    crate::nn::record_all(device, &mut recorder);
    crate::nn::record_cooperative(device, &mut recorder);
    crate::picture::record_all(device, &mut recorder);
    crate::phases::record_all(device, &mut recorder);
    crate::radial::record_all(device, &mut recorder);
    let floats = device.buffer("floats", 1 << 16).unwrap();
    copy::record(&mut recorder, input.buffer(), output.buffer(), 96).unwrap();
    fma::record(&mut recorder, &floats, 1).unwrap();
    let commands = recorder.commands().iter();
    let dispatch = |command: &Command| match command {
        Command::Dispatch(dispatch) => Some(dispatch.clone()),
        Command::Clear(_) => None,
        other => panic!("{other:?}"),
    };
    commands.filter_map(dispatch).collect()
}

#[test]
fn parameter_blocks_fit_and_workgroups_are_small() {
    // A GPU's shapes bring the kernels that a CPU's adapter does not get.
    let teams = gpu().with_capabilities(|c| (c.group, c.lanes, c.subgroup_teams) = (64, 32, false));
    let mut seen = BTreeSet::new();
    // Moments are summed in one dispatch or in two.
    let shaped = |texel_reads| gpu().with_capabilities(|c| c.texel_reads = texel_reads).unwrap();
    // Nothing runs, so that any adapter may stand for one with subgroups.
    let subgroups = gpu().with_capabilities(|c| (c.lanes, c.subgroup_size) = (1, Some(8))).unwrap();
    for device in [Device::host(), shaped(true), shaped(false), teams.unwrap(), subgroups] {
        for dispatch in dispatches(&device) {
            seen.insert(dispatch.kernel.name);
            let all = COOPERATIVE | Capabilities::SHADER_INT64;
            let (module, _) = parse(dispatch.kernel, &dispatch.imports().to_vec(), all).unwrap();
            let uniform =
                module.global_variables.iter().find(|(_, v)| v.binding.is_some_and(|b| b.binding == 0)).unwrap().1;
            let size = module.types[uniform.ty].inner.size(module.to_ctx()).next_multiple_of(16) as usize;
            assert_eq!(dispatch.params.len(), size, "{}", dispatch.kernel.name);
            let fixed = f64::from(module.entry_points[0].workgroup_size.iter().product::<u32>());
            let group =
                dispatch.constants().iter().find(|(name, _)| *name == "GROUP").map_or(fixed, |(_, value)| *value);
            assert!(group <= 256.0, "{}: {group} invocations", dispatch.kernel.name);
        }
    }
    let missing: Vec<&str> = ALL.iter().map(|spec| spec.name).filter(|name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "no call records {missing:?}: add one to `dispatches` in tests/kernels/validation.rs");
    assert_eq!(seen.len(), ALL.len(), "a kernel that is not in `ALL`: {seen:?}");
}

fn wgsl_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => wgsl_files(&path, found),
            false => found.push(path),
        }
    }
}

fn follow(source: &str, imports: &Imports, root: &Path, reached: &mut BTreeSet<String>) {
    for line in source.lines() {
        let import = line.trim().strip_prefix("#import \"").and_then(|rest| rest.split_once('"'));
        let Some((name, number)) = import else { continue };
        let one = format!("{name}{}", number.trim());
        let found = imports.iter().find(|(n, _)| *n == one).or_else(|| imports.iter().find(|(n, _)| *n == name));
        let path = found.map_or(name, |(_, path)| path);
        if reached.insert(path.to_owned()) {
            let text = std::fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
            let numbered = if number.trim().is_empty() { text } else { text.replace('$', number.trim()) };
            follow(&numbered, imports, root, reached);
        }
    }
}

/// No file is dead: each is a kernel's source or reached by the imports of some variant, and embedded as it is on disk.
#[test]
fn every_shader_file_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut files = Vec::new();
    wgsl_files(&root, &mut files);
    let mut reached = BTreeSet::new();
    for Variant { imports, .. } in variants() {
        // Each variant on its own: a file counts as followed only with that variant's names.
        for spec in ALL {
            let mut these = BTreeSet::new();
            follow(spec.source, &[spec.imports, &imports].concat(), &root, &mut these);
            reached.extend(these);
        }
    }
    for path in files {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        let text = std::fs::read_to_string(&path).unwrap();
        if reached.contains(&name) {
            let number = if text.contains('$') { "1" } else { "" };
            let line = format!("#import \"{name}\" {number}");
            // What kernels import by themselves.
            let imports = [&[("epilogue", "linalg/epilogue_none.wgsl")][..], &variants()[0].imports].concat();
            let embedded = shader::expand(&line, &imports).unwrap();
            let code = text.lines().filter(|l| !l.starts_with("#import")).map(|l| l.replace('$', number));
            code.for_each(|line| assert!(embedded.contains(&line), "{name} is not embedded as it is on disk"));
        } else {
            assert!(ALL.iter().any(|spec| spec.source == text), "{name} is used by no kernel");
        }
    }
}
