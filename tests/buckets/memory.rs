//! Memory does not grow with the data.

use crate::Test;
use crate::world::{World, open, url};

pub const TESTS: &[Test] = &[("memory::is_the_same_for_any_size", flat)];

/// The most that this process has held, in MiB; `None` where the system does not say.
fn peak() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok()? / 1024.0)
}

/// Reads shards in blocks of 1 MB, and keeps none.
fn read(shards: usize) {
    let names: Vec<_> = (0..shards).map(|i| url(&format!("memory/{i}.npy"))).collect();
    let set = open(&names).unwrap();
    let mut block = vec![0; 1000 * 1024];
    for (number, shard) in set.shards().iter().enumerate() {
        let mut reader = set.reader(number).unwrap();
        while reader.position() < shard.rows() {
            reader.read(1000, &mut block).unwrap();
        }
    }
}

fn flat(world: &World) {
    if peak().is_none() {
        println!("this system does not say how much memory was held");
        return;
    }
    for i in 0..16 {
        world.put_rows(&format!("memory/{i}.npy"), 40_000, 256, i);
    }
    // 82 MB, three times the pieces that are held; then 655.
    read(2);
    // Tells the peak to begin anew.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    read(2);
    let small = peak().unwrap();
    read(16);
    let large = peak().unwrap();
    println!("peak of memory: {small:.0} MiB for 82 MB, {large:.0} MiB for 655 MB");
    assert!(large - small < 24.0, "{small} MiB, then {large} MiB");
}
