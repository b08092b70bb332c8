//! Environment variables: empty ones are unset, and mistyped ones are refused by name.

use super::*;

fn with(folder: &Folder, line: &str, variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = folder.command(&line.split_whitespace().collect::<Vec<_>>());
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn empty_variables_are_unset() {
    let folder = fitted();
    let plain = with(&folder, "adapters --json", &[]);
    assert_eq!((plain.0, &plain.2[..]), (Some(0), ""));
    for variable in ["WGPU_BACKEND", "WGPU_ADAPTER_NAME", "WGPU_VALIDATION", "WGPU_DX12_COMPILER", "RUST_LOG"] {
        for value in ["", " "] {
            assert_eq!(with(&folder, "adapters --json", &[(variable, value)]), plain, "{variable}={value:?}");
        }
    }
}

#[test]
fn mistyped_variables_are_refused_by_name() {
    let folder = fitted();
    let cases = [
        ("WGPU_BACKEND", "vulcan", "vulkan, metal, dx12 or gl"),
        ("WGPU_BACKEND", "vulkan;gl", "vulkan, metal, dx12 or gl"),
        ("WGPU_ADAPTER_NAME", "nosuchadapter", "llvmpipe"),
        ("WGPU_DX12_COMPILER", "dcx", "dynamicdxc"),
        ("WGPU_GLES_MINOR_VERSION", "3", "automatic"),
        ("WGPU_VALIDATION", "yes", "0 or 1"),
    ];
    for (variable, value, allowed) in cases {
        for device in ["auto", "gpu"] {
            let line = format!("stats text.npy --out o.st --force --device {device}");
            let (code, stdout, stderr) = with(&folder, &line, &[(variable, value)]);
            assert_eq!((code, &stdout[..]), (Some(1), ""), "{variable}={value}: {stderr}");
            let words = [variable, value, allowed];
            let llvmpipe = adapters().iter().any(|a| a["name"].as_str().is_some_and(|name| name.contains("llvmpipe")));
            for word in words.into_iter().filter(|word| *word != "llvmpipe" || llvmpipe) {
                assert!(stderr.contains(word), "{variable}={value}, {device}: {word:?} is not in: {stderr}");
            }
        }
        // The host engine asks no driver.
        let (code, _, stderr) = with(&folder, "stats text.npy --out o.st --force --device host", &[(variable, value)]);
        assert_eq!(code, Some(0), "{variable}={value}: {stderr}");
    }
    assert!(with(&folder, "adapters", &[("WGPU_BACKEND", "vulcan")]).2.contains("WGPU_BACKEND"));
}

/// What libwayland prints for Mesa's layer looks like an error of this program.
#[test]
fn drivers_do_not_complain_without_a_desktop() {
    let folder = fitted();
    for variables in [&[][..], &[("XDG_RUNTIME_DIR", "")], &[("WAYLAND_DISPLAY", "wayland-0")]] {
        for line in ["adapters", "stats text.npy --out o.st --force --device llvmpipe"] {
            let (code, _, stderr) = with(&folder, line, variables);
            assert!(!stderr.contains("XDG_RUNTIME_DIR"), "{line}: {stderr}");
            assert!(code == Some(0) || line.contains("llvmpipe"), "{line}: {stderr}");
        }
    }
}

/// Each process of an MPI job would train alone, into the same folder.
#[cfg(not(feature = "mpi"))]
#[test]
fn a_process_of_an_mpi_job_is_refused_by_a_build_without_mpi() {
    let folder = fitted();
    let line = "train stage1 --model m --data d.jsonl --embeddings text.npy --aligner none --out run";
    for variables in [
        &[("OMPI_COMM_WORLD_SIZE", "4")][..],
        &[("PMI_SIZE", "2")],
        &[("PMIX_RANK", "1"), ("SLURM_STEP_NUM_TASKS", "2")],
    ] {
        let (code, stdout, stderr) = with(&folder, line, variables);
        assert_eq!((code, &stdout[..]), (Some(1), ""), "{stderr}");
        let (variable, count) = variables[variables.len() - 1];
        for word in [variable, "no MPI", "--features mpi", &format!("one of {count}")] {
            assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
        }
    }
    // A script within a job of Slurm is one process: it gets as far as its files.
    let (code, _, stderr) = with(&folder, line, &[("SLURM_NTASKS", "4"), ("OMPI_COMM_WORLD_SIZE", "1")]);
    assert!(code == Some(1) && !stderr.contains("MPI"), "{stderr}");
}
