//! TensorBoard's event files, read by code of the test's own.

use std::collections::BTreeMap;
use std::path::Path;

use realign::device::Device;
use realign::io::EventWriter;
use realign::train::{Run, Stage, Start};
use serde_json::Value;

use super::put;
use super::runs::{finish, mixed};

/// CRC-32C bit by bit, masked.
fn masked(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        (0..8).for_each(|_| crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 });
    }
    let crc = !crc;
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
enum Held {
    Integer(u64),
    Double(f64),
    Float(f32),
    Bytes(Vec<u8>),
}

/// The fields of a message, in order.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Held)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            shift += 7;
            if first & 0x80 == 0 {
                return value;
            }
        }
    }
    fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
        let (first, rest) = bytes.split_at(n);
        *bytes = rest;
        first
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let held = match key & 7 {
            0 => Held::Integer(varint(&mut bytes)),
            1 => Held::Double(f64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let n = varint(&mut bytes) as usize;
                Held::Bytes(take(&mut bytes, n).to_vec())
            }
            5 => Held::Float(f32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap())),
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, held));
    }
    found
}

/// The messages of a file.
fn records(bytes: &[u8]) -> Vec<Vec<(u64, Held)>> {
    let (mut rest, mut found) = (bytes, Vec::new());
    while !rest.is_empty() {
        let sum = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(sum(&rest[8..12]), masked(&rest[..8]));
        let data = &rest[12..12 + length];
        assert_eq!(sum(&rest[12 + length..16 + length]), masked(data));
        found.push(fields(data));
        rest = &rest[16 + length..];
    }
    found
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let ours =
        |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents.");
    let mut paths: Vec<_> = entries.filter(ours).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Scalars by name and step, as TensorBoard shows them: a start takes back what was of its step and later.
fn shown(folder: &Path) -> BTreeMap<String, Vec<(u64, f32)>> {
    let mut all: BTreeMap<String, Vec<(u64, f32)>> = BTreeMap::new();
    for file in files(folder) {
        for (i, event) in records(&file).into_iter().enumerate() {
            let get = |name: u64| event.iter().find(|(n, _)| *n == name).map(|(_, held)| held);
            let Some(Held::Double(time)) = get(1) else { panic!("{event:?}") };
            assert!((1.6e9..1e11).contains(time), "{time}");
            let step = match get(2) {
                Some(Held::Integer(step)) => *step,
                _ => 0,
            };
            assert_eq!(get(3) == Some(&Held::Bytes(b"brain.Event:2".to_vec())), i == 0);
            if let Some(Held::Bytes(session)) = get(7) {
                assert_eq!(fields(session), [(1, Held::Integer(1))]);
                all.values_mut().for_each(|points| points.retain(|(s, _)| *s < step));
            }
            let Some(Held::Bytes(summary)) = get(5) else { continue };
            for (field, value) in fields(summary) {
                let Held::Bytes(value) = value else { panic!("{value:?}") };
                let [(1, Held::Bytes(name)), (2, Held::Float(number))] = &fields(&value)[..] else {
                    panic!("{value:?}")
                };
                assert_eq!(field, 1);
                all.entry(String::from_utf8(name.clone()).unwrap()).or_default().push((step, *number));
            }
        }
    }
    all
}

/// The same from the log.
fn logged(folder: &Path) -> BTreeMap<String, Vec<(u64, f32)>> {
    let mut all: BTreeMap<String, Vec<(u64, f32)>> = BTreeMap::new();
    for line in std::fs::read_to_string(folder.join("log.jsonl")).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        for (name, value) in line.as_object().unwrap() {
            let Some(number) = value.as_f64().filter(|_| name != "step") else { continue };
            all.entry(name.clone()).or_default().push((line["step"].as_u64().unwrap(), number as f32));
        }
    }
    all
}

#[test]
fn every_number_of_the_log_is_shown_once_also_after_a_resumption() {
    let (_folder, mut settings) = mixed(Stage::Two);
    settings.eval_data = Some(settings.data.clone());
    (settings.eval_every, settings.eval_generate, settings.eval_max_tokens) = (4, 2, 3);
    (settings.tensorboard, settings.checkpoint_every, settings.log_every) = (true, 3, 1);
    let host = Device::host();
    let mut run = Run::start(&host, settings.clone(), Start::New).unwrap();
    (0..5).for_each(|_| drop(run.advance().unwrap()));
    drop(run);
    let before = shown(&settings.out);
    assert_eq!(before["loss"].len(), 5);
    finish(Run::start(&host, settings.clone(), Start::Resume).unwrap());
    assert_eq!(files(&settings.out).len(), 2);
    let (shown, logged) = (shown(&settings.out), logged(&settings.out));
    let names = ["eval_exact_match", "eval_f1", "eval_lenient_match", "eval_loss", "grad_norm", "loss", "lr", "tokens"];
    assert_eq!(shown.keys().collect::<Vec<_>>(), names);
    assert_eq!(shown, logged);
    assert_eq!(shown["loss"].iter().map(|(step, _)| *step).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    // Begun again, there is nothing of before.
    drop(Run::start(&host, settings.clone(), Start::Replace).unwrap());
    assert!(files(&settings.out).is_empty());
}

#[test]
fn files_come_in_the_order_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    // From a machine whose clock was ahead.
    put(folder.path(), "events.out.tfevents.9000000000.other.1.0", "");
    for start in [None, Some(3), Some(2)] {
        let mut writer = EventWriter::new(folder.path(), start);
        let first = start.unwrap_or(1);
        (first..first + 3).for_each(|step| writer.write(step, &[("x", step as f64), ("nan", f64::NAN)]).unwrap());
    }
    let all = shown(folder.path());
    assert_eq!(all["x"], [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]);
    assert!(all["nan"].len() == 4 && all["nan"].iter().all(|(_, x)| x.is_nan()));
    EventWriter::remove_all(folder.path()).unwrap();
    assert!(files(folder.path()).is_empty());
    let mut nowhere = EventWriter::new(&folder.path().join("nowhere"), None);
    super::refused(nowhere.write(1, &[("x", 1.0)]), &["list", "nowhere"]);
}

/// The comparison can fail: a bit that changed is found.
#[test]
fn a_changed_byte_is_found() {
    let folder = tempfile::tempdir().unwrap();
    EventWriter::new(folder.path(), None).write(1, &[("x", 1.0)]).unwrap();
    let mut bytes = files(folder.path()).remove(0);
    records(&bytes);
    let last = bytes.len() - 5;
    bytes[last] ^= 1;
    assert!(std::panic::catch_unwind(|| records(&bytes)).is_err());
    // "123456789" is the check value of CRC-32C's definition.
    assert_eq!(masked(b"123456789"), 0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8));
}
