//! Every kernel as the WGSL of each of its variants, for the tests that validate, translate or compile them.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;

use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module};
use realign::ElementType;
use realign::device::Device;
use realign::kernels::linalg::matmul;
use realign::kernels::{ALL, KernelSpec, RowShape, imports};

const TILES: [&str; 5] = [
    "linalg/tile_64.wgsl",
    "linalg/tile_128.wgsl",
    "linalg/tile_32.wgsl",
    "linalg/tile_128_shallow.wgsl",
    "linalg/tile_128_double.wgsl",
];

const FRAGMENTS: [&str; 3] = ["linalg/fragment_16.wgsl", "linalg/fragment_8.wgsl", "linalg/fragment_emulated.wgsl"];
const PARTS: [&str; 3] = ["linalg/part_2x2.wgsl", "linalg/part_4x2.wgsl", "linalg/part_4x4.wgsl"];

const CORES: [&str; 2] = ["nn/cores_16.wgsl", "nn/cores_emulated.wgsl"];
const LINES: [&str; 2] = ["nn/line_128.wgsl", "nn/line_64.wgsl"];

/// Whether a kernel is for tensor cores, which are an extension of wgpu.
pub fn is_cooperative(kernel: &KernelSpec) -> bool {
    kernel.name.contains("cooperative")
}

/// What the kernels for tensor cores ask for.
pub const COOPERATIVE: Capabilities =
    Capabilities::SUBGROUP.union(Capabilities::SHADER_FLOAT16).union(Capabilities::COOPERATIVE_MATRIX);

/// The values of each override that make another kernel; those of the teams come with the variant.
const CHOICES: [(&str, &[f64]); 13] = [
    ("ACT", &[0.0, 1.0, 2.0, 3.0]),
    ("DOWN", &[0.0, 1.0]),
    ("VECTORS", &[0.0, 1.0, 9.0]),
    ("CENTER", &[0.0, 1.0]),
    ("FORM", &[0.0, 1.0, 2.0]),
    ("WIDTH4", &[1.0, 16.0, 20.0, 32.0, 64.0]),
    ("PAIR", &[0.0, 1.0]),
    ("TRANSPOSE_A", &[0.0, 1.0]),
    ("TRANSPOSE_B", &[0.0, 1.0]),
    ("ACCUMULATE", &[0.0, 1.0]),
    ("UPPER", &[0.0, 1.0]),
    ("BIAS", &[0.0, 1.0]),
    ("RESIDUAL", &[0.0, 1.0]),
];

/// Widths of rows that take each kind of team: a part of a subgroup, one, a workgroup, and a workgroup that cannot hold the row.
const WIDTHS: [usize; 4] = [256, 576, 8192, 32_768];

pub type Imports = Vec<(&'static str, &'static str)>;

/// One choice of files and features.
pub struct Variant {
    pub imports: Imports,
    /// What the variant may use; each kernel needs only a part.
    pub features: Capabilities,
    pub lanes: u32,
    pub texel_reads: bool,
    /// Values of the overrides of teams that are made for a row's width.
    pub teams: Vec<Vec<(&'static str, f64)>>,
}

/// All variants: 4 row types, 3 output types (and matrices and tables in Q8_0 with one), teams of one, portable or subgroups, rows read from buffers or textures,
/// products of 32 or 64 bits.
pub fn variants() -> Vec<Variant> {
    let mut all = Vec::new();
    let rows = [ElementType::F32, ElementType::F16, ElementType::BF16, ElementType::Fixed, ElementType::Q8_0];
    let outputs = [ElementType::F32, ElementType::F16, ElementType::BF16];
    for rows in rows {
        let in_blocks = rows == ElementType::Q8_0;
        for out in outputs.into_iter().take(if in_blocks { 1 } else { 3 }) {
            for (i, int64) in (0..6).flat_map(|i| [(i, false), (i, true)]) {
                let (lanes, subgroup_teams) = [(1, false), (32, false), (32, true)][i % 3];
                let texel_reads = i >= 3;
                let mut shape = Device::host().capabilities().clone();
                (shape.lanes, shape.subgroup_teams) = (lanes, subgroup_teams);
                shape.group = if lanes == 1 { 64 } else { 256 };
                (shape.texel_reads, shape.int64) = (texel_reads, int64);
                let mut features = Capabilities::empty();
                features.set(Capabilities::SUBGROUP, subgroup_teams);
                features.set(Capabilities::SHADER_INT64, int64);
                let mut names = imports(&shape, if in_blocks { ElementType::F32 } else { rows }, out).unwrap();
                if in_blocks {
                    names.insert(0, ("table", "nn/table_q8.wgsl"));
                }
                if out == ElementType::F16 {
                    hold_halves(&mut names, texel_reads);
                }
                let half = |half: bool| if half { ElementType::F16 } else { ElementType::F32 };
                // A is f16 in half of each combination of the others.
                let (a, c) = (half(int64 != (out == ElementType::BF16)), half(out == ElementType::F16));
                names.extend(matmul::files(&shape, [(a, 2 + i % 2), (rows, 3 - i % 2)], [c, c]));
                names.push(("tile", TILES[(i + 6 * usize::from(int64)) % 5]));
                names.push(("fragment", FRAGMENTS[i % 3]));
                names.push(("part", PARTS[(i + usize::from(int64)) % 3]));
                names.push(("cores", CORES[i % 2]));
                names.push(("line", LINES[i / 2 % 2]));
                let batch = lanes > 1 && !texel_reads;
                names.push(("moments", if batch { "stats/moments_batch.wgsl" } else { "stats/moments_tile.wgsl" }));
                let teams = WIDTHS.map(|width| RowShape::of(&shape, width / 4).constants(&shape).to_vec()).to_vec();
                all.push(Variant { imports: names, features, lanes, texel_reads, teams });
            }
        }
    }
    assert_eq!(all.len(), 156);
    all
}

/// All operands and results that may hold f16 do.
fn hold_halves(names: &mut Imports, texel_reads: bool) {
    let operand = if texel_reads { "common/operand_half_texture.wgsl" } else { "common/operand_half_buffer.wgsl" };
    let files = [
        ("operand", operand),
        ("input", "common/operand_half_buffer.wgsl"),
        ("result", "common/result_f16.wgsl"),
        ("inout", "common/inout_f16.wgsl"),
    ];
    for (name, file) in files {
        names.iter_mut().find(|(n, _)| *n == name).unwrap().1 = file;
    }
}

/// Parses and validates a kernel in a variant.
pub fn parse(spec: &KernelSpec, imports: &Imports, features: Capabilities) -> Result<(Module, ModuleInfo), String> {
    parse_source(&spec.expanded(imports).map_err(|e| e.to_string())?, features)
}

/// With what every WebGPU has: conversions of pairs of f16.
fn parse_source(source: &str, features: Capabilities) -> Result<(Module, ModuleInfo), String> {
    let features = features | Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let module = naga::front::wgsl::parse_str(source).map_err(|e| e.emit_to_string(source))?;
    let info = Validator::new(ValidationFlags::all(), features)
        .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
        .subgroup_operations(naga::valid::SubgroupOperationSet::all())
        .validate(&module)
        .map_err(|e| e.emit_to_string(source))?;
    Ok((module, info))
}

/// Bytes of workgroup memory that the entry point uses.
pub fn workgroup_bytes(module: &Module, info: &ModuleInfo) -> u32 {
    let used = module.global_variables.iter().filter(|(handle, variable)| {
        variable.space == AddressSpace::WorkGroup && !info.get_entry_point(0)[*handle].is_empty()
    });
    used.map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx()).next_multiple_of(16)).sum()
}

/// A kernel's WGSL in one variant.
pub struct Shader {
    pub kernel: &'static KernelSpec,
    pub source: String,
    pub module: Module,
    pub info: ModuleInfo,
    /// The features that it is valid with, and not without.
    pub features: Capabilities,
    /// Each set of values for its overrides, by name.
    pub constants: Vec<Vec<(&'static str, f64)>>,
    /// Its place among the kernel's shaders, and what it imports, to be told in errors.
    pub name: String,
    /// The files that make it another than the kernel's others.
    pub files: Vec<&'static str>,
    /// Whether a GPU may get it.
    pub for_gpus: bool,
}

/// All different shaders of all kernels, but for the tensor cores', an extension of wgpu. Variants that only differ in files that a
/// kernel does not import are one.
pub fn all() -> Vec<Shader> {
    let (mut places, mut found) = (BTreeMap::new(), Vec::<Shader>::new());
    for kernel in ALL.iter().filter(|k| !is_cooperative(k)) {
        let before = found.len();
        for variant in variants() {
            let source = kernel.expanded(&variant.imports).unwrap();
            // The lanes are a value of an override.
            let lanes = if kernel.overrides.contains(&"LANES") { variant.lanes } else { 1 };
            let place = *places.entry((kernel.name, lanes, source.clone())).or_insert(found.len());
            if place == found.len() {
                found.push(shader_of(kernel, &variant, source, found.len() - before));
            }
            found[place].for_gpus |= variant.lanes > 1 && !variant.texel_reads && !kernel.cpu_only;
        }
    }
    found
}

fn shader_of(kernel: &'static KernelSpec, variant: &Variant, source: String, index: usize) -> Shader {
    let features = [Capabilities::empty(), Capabilities::SUBGROUP, Capabilities::SHADER_INT64];
    let features = features.into_iter().chain([Capabilities::SUBGROUP | Capabilities::SHADER_INT64]);
    let least = features.map(|f| (f, parse_source(&source, f))).find(|(_, parsed)| parsed.is_ok());
    let Some((features, Ok((module, info)))) = least else {
        let problem = parse_source(&source, Capabilities::all()).err().unwrap_or_default();
        panic!("{} {:?}: {problem}", kernel.name, variant.imports);
    };
    let extra = features.difference(variant.features);
    assert!(extra.is_empty() || kernel.name.starts_with("matmul subgroup"), "{}: {extra:?} unasked", kernel.name);
    let names: Vec<String> = module.overrides.iter().filter_map(|(_, o)| o.name.clone()).collect();
    let constants = constants(kernel, &names, variant);
    let name = format!("{} {index} ({features:?})", kernel.name);
    let files = files(kernel, &variant.imports);
    Shader { kernel, source, module, info, features, constants, name, files, for_gpus: false }
}

/// The files that stand for the names that a kernel imports: it cannot do without them.
fn files(kernel: &KernelSpec, imports: &Imports) -> Vec<&'static str> {
    let without = |i: usize| [&imports[..i], &imports[i + 1..]].concat();
    let needed = (0..imports.len()).filter(|&i| kernel.expanded(&without(i)).is_err());
    needed.map(|i| imports[i].1).collect()
}

/// All combinations of the overrides' values.
fn constants(kernel: &KernelSpec, names: &[String], variant: &Variant) -> Vec<Vec<(&'static str, f64)>> {
    let has = |name: &str| names.iter().any(|n| n == name);
    // A kernel that holds rows has teams by their width, others the device's own.
    let group = if variant.lanes == 1 { 64.0 } else { 256.0 };
    let own = [vec![("GROUP", group), ("LANES", f64::from(variant.lanes)), ("SUBGROUP", f64::from(variant.lanes))]];
    // Invocations, rows of a batch and vectors of each: one, two and four vectors to an invocation.
    let batches = [(64.0, 8.0, 1.0), (160.0, 8.0, 2.0), (256.0, 4.0, 4.0)].map(|(group, batch, held)| {
        vec![("GROUP", group), ("LANES", f64::from(variant.lanes)), ("BATCH", batch), ("HELD", held)]
    });
    let tiles = [vec![("GROUP", group), ("LANES", f64::from(variant.lanes)), ("BATCH", 1.0), ("HELD", 1.0)]];
    let teams = match (has("BATCH"), has("HELD")) {
        (true, _) if variant.imports.contains(&("moments", "stats/moments_batch.wgsl")) => &batches[..],
        (true, _) => &tiles[..],
        (false, true) => &variant.teams[..],
        (false, false) => &own[..],
    };
    let mut all = Vec::new();
    for team in teams {
        let team: Vec<_> = team.iter().copied().filter(|(name, _)| has(name)).collect();
        if !all.contains(&team) {
            all.push(team);
        }
    }
    for name in names.iter().filter(|name| !teams[0].iter().any(|(n, _)| n == name)) {
        let Some((name, values)) = CHOICES.iter().find(|(n, _)| n == name) else {
            panic!("{}: say which values the override {name} may have", kernel.name)
        };
        let with = |set: &Vec<(&'static str, f64)>, value: f64| {
            let mut set = set.clone();
            set.push((*name, value));
            set
        };
        // An epilogue is the same whatever lies below it: sums and triangles come with the plain products.
        let below = kernel.name.contains(", ") && matches!(*name, "ACCUMULATE" | "UPPER");
        let values = if below { &values[..1] } else { values };
        all = all.iter().flat_map(|set| values.iter().map(move |v| with(set, *v))).collect();
    }
    all
}
