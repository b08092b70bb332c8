//! Compiles every shader that a GPU may get for one of AMD's chips, and prints what each takes, as JSON.
//!
//! usage: VK_DRIVER_FILES=… RADV_FORCE_FAMILY=navi21 compile_for_amd [--checked]

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};

use ash::vk;
use naga::AddressSpace;
use realign_translations::amd::{Chip, Statistics};
use realign_translations::table::{self, Row, variant};
use realign_translations::{Checks, Shader, bindings, fix, to_spirv};

/// Statistics of SPIR-V that was compiled already.
type Seen = HashMap<Vec<u8>, Statistics>;

/// What each set of values for a shader's overrides takes.
fn rows(chip: &Chip, shader: &Shader, checks: Checks, seen: &mut Seen) -> Result<Vec<Row>, String> {
    let (module, info) = shader.parse()?;
    let row = |constants: &BTreeMap<String, f64>| {
        let fixed = fix(&module, &info, constants)?;
        let spirv = to_spirv(&fixed, checks)?;
        let kinds = bindings(&fixed.module).into_iter().map(|(binding, space)| {
            let dynamic = space == AddressSpace::Uniform;
            let buffer = vk::DescriptorType::STORAGE_BUFFER;
            (binding.binding, if dynamic { vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC } else { buffer })
        });
        let statistics = match seen.entry(spirv) {
            Entry::Occupied(found) => *found.get(),
            Entry::Vacant(new) => {
                let made = chip.compile(new.key(), &kinds.collect::<Vec<_>>())?;
                *new.insert(made)
            }
        };
        Ok(Row { kernel: shader.kernel.clone(), variant: variant(shader, constants), statistics })
    };
    shader.constants.iter().map(row).collect()
}

fn main() -> Result<(), String> {
    let checks = if std::env::args().any(|a| a == "--checked") { Checks::All } else { Checks::None };
    let family = std::env::var("RADV_FORCE_FAMILY").map_err(|_| "RADV_FORCE_FAMILY names no chip".to_owned())?;
    let chip = Chip::open()?;
    let (mut seen, mut all) = (Seen::new(), Vec::new());
    for shader in Shader::all().iter().filter(|s| s.for_gpus) {
        let rows = rows(&chip, shader, checks, &mut seen);
        all.extend(rows.map_err(|e| format!("{} on {}: {e}", shader.name, chip.name))?);
    }
    let report = table::Chip { family, version: chip.version.clone(), shaders: seen.len(), rows: all };
    println!("{}", serde_json::to_string(&report).map_err(|e| e.to_string())?);
    Ok(())
}
