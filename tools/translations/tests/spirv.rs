//! SPIR-V, as wgpu's Vulkan backend makes it, against Khronos' validator.

use std::collections::hash_map::{Entry, HashMap};
use std::path::Path;
use std::process::Command;

use realign_translations::{Checks, Sets, for_each, to_spirv};

/// What the validator has against a module.
fn objection(path: &Path) -> Option<String> {
    let run = Command::new("spirv-val").args(["--target-env", "vulkan1.2"]).arg(path).output();
    let run = run.unwrap_or_else(|e| panic!("spirv-val: {e}; apt-get install spirv-tools"));
    (!run.status.success()).then(|| String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned())
}

#[test]
fn every_shader_becomes_valid_spirv() {
    let folder = tempfile::tempdir().unwrap();
    // Overrides that change nothing give the same module again.
    let (mut names, mut files) = (HashMap::new(), Vec::new());
    for (checks, sets) in [(Checks::None, Sets::All), (Checks::All, Sets::Ends)] {
        for_each(sets, |shader, fixed| {
            let bytes = to_spirv(&fixed, checks)?;
            if let Entry::Vacant(new) = names.entry(bytes) {
                let path = folder.path().join(format!("{}.spv", files.len()));
                std::fs::write(&path, new.key()).map_err(|e| e.to_string())?;
                new.insert(());
                files.push((shader.name.clone(), path));
            }
            Ok(())
        });
    }
    assert!(files.len() > 500, "{} modules", files.len());
    let cores = std::thread::available_parallelism().unwrap().get();
    // A panic in a thread is one here.
    std::thread::scope(|scope| {
        for share in files.chunks(files.len().div_ceil(cores)) {
            scope.spawn(|| share.iter().for_each(|(name, path)| assert_eq!(objection(path), None, "{name}")));
        }
    });
    println!("{} modules valid", files.len());
}

/// The validator is asked and can say no.
#[test]
fn broken_spirv_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.spv");
    let mut first = None;
    for_each(Sets::All, |_, fixed| {
        if first.is_none() {
            first = Some(to_spirv(&fixed, Checks::All)?);
        }
        Ok(())
    });
    let mut bytes = first.unwrap();
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(objection(&path), None);
    // Without its last word, OpFunctionEnd.
    bytes.truncate(bytes.len() - 4);
    std::fs::write(&path, &bytes).unwrap();
    assert!(objection(&path).is_some());
}
