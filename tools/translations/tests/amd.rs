//! Every shader that a GPU may get, compiled by Mesa's driver for AMD, for chips that are not there.

use std::process::Command;
use std::sync::Mutex;

use realign_translations::amd::{CHIPS, SPILLING, Statistics, USUAL, driver};
use realign_translations::table::{self, Chip};

fn compiled(family: &str) -> Chip {
    let driver = driver().unwrap_or_else(|e| panic!("{e}"));
    let run = Command::new(env!("CARGO_BIN_EXE_compile_for_amd"))
        .env("VK_DRIVER_FILES", &driver)
        .env("VK_ICD_FILENAMES", &driver)
        .env("RADV_FORCE_FAMILY", family)
        .output()
        .unwrap();
    assert!(run.status.success(), "{family}: {}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).unwrap()
}

/// The chips, as many at a time as there are cores.
fn all(families: &[&str]) -> Vec<Chip> {
    let (next, found) = (Mutex::new(families.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(|| {
                // The lock is let go before the work.
                while let Some(family) = { next.lock().unwrap().next() } {
                    let chip = compiled(family);
                    found.lock().unwrap().push(chip);
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap();
    found.sort_by_key(|chip| CHIPS.iter().position(|family| *family == chip.family));
    found
}

/// Nothing spills, and as many waves fit as the committed table says, where it is of the same driver.
/// `REALIGN_WRITE_TABLE=1` writes the table of all chips instead of asking it, `REALIGN_WRITE_TABLE=usual` that of two of them, in half the time; it is asked
/// of one, since all shaders take minutes of a core for each.
#[test]
fn nothing_spills_and_no_occupancy_falls() {
    let asked = std::env::var("REALIGN_WRITE_TABLE").unwrap_or_default();
    let write = !asked.is_empty();
    let chips = all(match &asked[..] {
        "" => &USUAL[..1],
        "1" => &CHIPS,
        _ => &USUAL,
    });
    for chip in &chips {
        assert!(chip.shaders > 1500, "{}: {} shaders", chip.family, chip.shaders);
        let spills = |s: &Statistics| s.spills > 0 || s.scratch > 0;
        let known = |kernel: &str| SPILLING.contains(&(&chip.family, kernel));
        let variants = chip.variants().into_iter();
        let spilling: Vec<_> = variants.filter(|((kernel, _), (s, _))| spills(s) && !known(kernel)).collect();
        assert!(spilling.is_empty(), "{}: registers spill: {spilling:#?}", chip.family);
    }
    if write {
        std::fs::write(table::path("csv"), table::csv(&chips)).unwrap();
        std::fs::write(table::path("md"), table::page(&chips)).unwrap();
        return;
    }
    let csv = std::fs::read_to_string(table::path("csv")).unwrap();
    for chip in &chips {
        let Some(committed) = table::waves(&csv, chip) else {
            println!(
                "{}: the table is of another driver than {}: occupancy is not compared",
                chip.family, chip.version
            );
            continue;
        };
        let how = "REALIGN_WRITE_TABLE=1 writes the table anew; say in the change why";
        for ((kernel, variant), (now, _)) in chip.variants() {
            let key = (kernel.to_owned(), variant.to_owned());
            let Some(before) = committed.get(&key) else {
                panic!("{}: {kernel} ({variant}) is not in the table; {how}", chip.family)
            };
            assert!(
                now.waves >= *before,
                "{}: {kernel} ({variant}): {} waves, {before} before; {how}",
                chip.family,
                now.waves
            );
        }
    }
}
