//! Compiled pipelines in a file, so that the next process need not compile them again: on Vulkan, where the driver gives them out.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A driver's cache, and the file that it is kept in.
pub(super) struct PipelineCache {
    cache: wgpu::PipelineCache,
    path: PathBuf,
    /// What the file is for: an adapter, its driver, this crate's version.
    key: String,
    /// Whether a pipeline was made that the file may not have.
    changed: AtomicBool,
}

/// First bytes of a file; the number is the format's.
const MAGIC: &[u8; 8] = b"realign1";

impl PipelineCache {
    /// What wgpu asks of a device that has a cache.
    pub(super) const FEATURE: wgpu::Features = wgpu::Features::PIPELINE_CACHE;

    /// The cache of this adapter in `folder`; `None` where the driver has none to give. A file that is damaged, or of another driver or
    /// version, is left aside and written anew.
    pub(super) fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo, folder: &Path) -> Option<Self> {
        if !device.features().contains(Self::FEATURE) {
            return None;
        }
        let adapter = wgpu::util::pipeline_cache_key(info)?;
        let driver = format!("{} {}", info.driver, info.driver_info);
        let key = format!("{adapter}; {}; {driver}; realign {}", info.name, env!("CARGO_PKG_VERSION"));
        // One file for each driver, whose versions replace each other.
        let path = folder.join(format!("{adapter}_{:08x}", crc32fast::hash(info.driver.as_bytes())));
        let file = std::fs::read(&path).ok();
        let data = file.as_deref().and_then(|bytes| contents(bytes, &key));
        let descriptor = wgpu::PipelineCacheDescriptor { label: Some("realign"), data, fallback: true };
        // SAFETY: the data was written by `save`, from what wgpu gave for a cache of this adapter and driver: its checksum is right. What
        // somebody forged in the user's own cache folder, with a checksum, wgpu and the driver check as far as they can.
        #[expect(unsafe_code, reason = "data of a file become pipelines")]
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(PipelineCache { cache, path, key, changed: AtomicBool::new(false) })
    }

    /// The cache for a pipeline that is about to be made.
    pub(super) fn for_new(&self) -> &wgpu::PipelineCache {
        self.changed.store(true, Ordering::Relaxed);
        &self.cache
    }

    /// Writes the file, if it may lack something. A cache that cannot be kept costs time, and is no error.
    pub(super) fn save(&self) {
        if !self.changed.swap(false, Ordering::Relaxed) {
            return;
        }
        let Some(data) = self.cache.get_data() else { return };
        let bytes = framed(&self.key, &data);
        if std::fs::read(&self.path).is_ok_and(|old| old == bytes) {
            return;
        }
        if let Err(error) = replace(&self.path, &bytes) {
            log::debug!("pipelines are not kept in {}: {error}", self.path.display());
        }
    }
}

/// A whole file or none.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// A file: magic, checksum of what follows, length of the key, key, data.
fn framed(key: &str, data: &[u8]) -> Vec<u8> {
    let body = [&(key.len() as u32).to_le_bytes()[..], key.as_bytes(), data].concat();
    [&MAGIC[..], &crc32fast::hash(&body).to_le_bytes(), &body].concat()
}

/// The data of a file for this key; `None` if it is damaged or for another.
fn contents<'a>(file: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let (checksum, body) = file.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (length, rest) = body.split_first_chunk::<4>()?;
    let (written, data) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    (written == key.as_bytes()).then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_back_and_a_damaged_one_is_not() {
        let file = framed("an adapter", b"pipelines");
        assert_eq!(contents(&file, "an adapter"), Some(&b"pipelines"[..]));
        assert_eq!(contents(&file, "another"), None);
        for place in 0..file.len() {
            let mut damaged = file.clone();
            damaged[place] ^= 1;
            assert_eq!(contents(&damaged, "an adapter"), None, "byte {place}");
            assert_eq!(contents(&file[..place], "an adapter"), None, "cut at {place}");
        }
    }
}
