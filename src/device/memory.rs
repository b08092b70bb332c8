//! How much of a device's memory is taken.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::spec::Purpose;

/// Bytes of a device's buffers: without staging buffers, and without the textures that stand for operands on some drivers.
#[derive(Debug)]
pub(crate) struct MemoryTracker {
    taken: [AtomicU64; Purpose::ALL.len()],
    total: AtomicU64,
    peak: AtomicU64,
    /// Most that may be taken.
    pub limit: u64,
}

impl Default for MemoryTracker {
    fn default() -> Self {
        MemoryTracker { taken: Default::default(), total: AtomicU64::new(0), peak: AtomicU64::new(0), limit: u64::MAX }
    }
}

impl MemoryTracker {
    /// Takes `bytes`, if that stays within the limit.
    pub fn take(&self, purpose: Purpose, bytes: u64) -> bool {
        let within = |total: u64| total.checked_add(bytes).filter(|sum| *sum <= self.limit);
        let Ok(before) = self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within) else { return false };
        self.peak.fetch_max(before + bytes, Ordering::Relaxed);
        self.taken[purpose as usize].fetch_add(bytes, Ordering::Relaxed);
        true
    }

    /// Gives them back.
    pub fn give(&self, purpose: Purpose, bytes: u64) {
        self.taken[purpose as usize].fetch_sub(bytes, Ordering::Relaxed);
        self.total.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn taken(&self, purpose: Purpose) -> u64 {
        self.taken[purpose as usize].load(Ordering::Relaxed)
    }

    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}
