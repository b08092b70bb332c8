//! Whether this machine can have a GPU at all, from the files under `/dev`, without loading a driver.

use std::path::Path;

/// Beginnings of the names of device files that drivers of GPUs open, besides DRM's render nodes: NVIDIA's own, Windows' GPU in WSL,
/// and those of embedded GPUs with drivers outside of DRM.
const PREFIXES: [&str; 8] = ["nvidia", "nvhost", "nvmap", "nvgpu", "dxg", "kgsl", "mali", "pvr"];

/// `false` only on a Linux system where no file that a GPU's driver could open is in `/dev`: there, asking the drivers finds software
/// alone, and Mesa's would leave LLVM behind, which cannot be unloaded again.
///
/// Measured on such a machine (Mesa 22.3.6, LLVM 15), the same fit on the host engine after the drivers were asked, and without: 70 MB
/// against 13 MB resident at the end, 82 against 13 MB at most. The instance of wgpu was freed and Mesa's drivers unmapped by then; LLVM
/// (44 MB, marked NODELETE) and what it allocated stayed.
pub(super) fn may_have_gpu() -> bool {
    !cfg!(target_os = "linux") || any_in(Path::new("/dev"))
}

fn any_in(dev: &Path) -> bool {
    // A folder that cannot be read says nothing.
    let Ok(entries) = std::fs::read_dir(dev) else { return true };
    let names = entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name()));
    let own = |name: &std::ffi::OsStr| PREFIXES.iter().any(|prefix| name.to_string_lossy().starts_with(prefix));
    names.into_iter().any(|name| own(&name)) || renders(&dev.join("dri"))
}

/// A card without a render node only drives a screen, as the virtual ones of many machines do.
fn renders(dri: &Path) -> bool {
    let entries = match std::fs::read_dir(dri) {
        Ok(entries) => entries,
        Err(error) => return error.kind() != std::io::ErrorKind::NotFound,
    };
    entries.filter_map(Result::ok).any(|entry| entry.file_name().to_string_lossy().starts_with("renderD"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_ruled_out_only_where_nothing_could_be_one() {
        let dev = tempfile::tempdir().unwrap();
        for name in ["null", "kvm", "dri/card0"] {
            std::fs::create_dir_all(dev.path().join(name)).unwrap();
        }
        assert!(!any_in(dev.path()));
        for name in ["dri/renderD128", "nvidia0", "nvidiactl", "dxg", "kgsl-3d0", "mali0", "pvr_sync"] {
            let path = dev.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            assert!(any_in(dev.path()), "{name}");
            std::fs::remove_dir(&path).unwrap();
            assert!(!any_in(dev.path()));
        }
        assert!(any_in(&dev.path().join("missing")));
    }
}
