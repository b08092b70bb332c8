//! What goes wrong on the way is tried again; what is another object is an error that names it; wrong rows never come.

use std::time::{Duration, Instant};

use crate::Test;
use crate::proxy::Fault;
use crate::world::{World, open, read_all};

pub const TESTS: &[Test] = &[
    ("faults::that_pass_leave_no_trace", passing),
    ("faults::slow_answers_are_waited_for", slow),
    ("faults::lengths_that_lie_are_errors_or_asked_for_again", lies),
    ("faults::a_server_that_stays_busy_is_given_up", busy),
    ("faults::objects_that_change_are_errors", changes),
];

fn passing(world: &World) {
    let name = world.put_rows("passing.npy", 12_000, 256, 1);
    let rows = read_all(&open(&[world.at("passing.npy")]).unwrap(), 999).unwrap();
    for (request, fault, times) in [
        ("GET /bucket/passing.npy", Fault::Cut(0), 2),
        ("GET /bucket/passing.npy", Fault::Cut(100_001), 9),
        ("GET /bucket/passing.npy", Fault::Busy, 3),
        ("GET /bucket/passing.npy", Fault::Silence, 3),
        ("HEAD /bucket/passing.npy", Fault::Busy, 2),
        ("HEAD /bucket/passing.npy", Fault::Silence, 2),
    ] {
        world.proxy.will(request, fault.clone(), times);
        let set = open(std::slice::from_ref(&name)).unwrap();
        assert!(read_all(&set, 1001).unwrap() == rows, "{fault:?}");
        assert_eq!(world.proxy.left(), 0, "{fault:?} was met");
    }
}

fn slow(world: &World) {
    let name = world.put_rows("slow.npy", 1000, 256, 2);
    let rows = read_all(&open(&[world.at("slow.npy")]).unwrap(), 999).unwrap();
    let set = open(&[name]).unwrap();
    world.proxy.will("GET /bucket/slow.npy", Fault::Slow(100_000, Duration::from_millis(40)), 1);
    let start = Instant::now();
    assert!(read_all(&set, 77).unwrap() == rows);
    assert!(start.elapsed() > Duration::from_millis(400), "it was slow");
}

fn lies(world: &World) {
    let name = world.put_rows("lies.npy", 5000, 256, 3);
    let rows = read_all(&open(&[world.at("lies.npy")]).unwrap(), 999).unwrap();
    let set = open(std::slice::from_ref(&name)).unwrap();
    // Bodies that are said to be shorter than the range that was asked for.
    world.proxy.will("GET /bucket/lies.npy", Fault::Short(700_000), 3);
    assert!(read_all(&set, 999).unwrap() == rows);
    assert_eq!(world.proxy.left(), 0);
    for (total, word) in [(9_999_999, "changed while in use"), (99, "other bytes")] {
        world.proxy.will("GET /bucket/lies.npy", Fault::Total(total), 20);
        let error = read_all(&set, 999).unwrap_err().to_string();
        assert!(error.contains("lies.npy") && error.contains(word) && error.contains(&total.to_string()), "{error}");
        world.proxy.forget();
    }
    world.proxy.will("GET /bucket/lies.npy", Fault::Shift(4), 40);
    let error = read_all(&set, 999).unwrap_err().to_string();
    assert!(error.contains("lies.npy"), "{error}");
    world.proxy.forget();
    // A look that lies.
    let length = std::fs::metadata(world.at("lies.npy")).unwrap().len();
    for total in [length + 1024, length - 1024, 60] {
        world.proxy.will("HEAD /bucket/lies.npy", Fault::Total(total), 1);
        let error = open(std::slice::from_ref(&name)).unwrap_err().to_string();
        assert!(error.contains("lies.npy"), "{error}");
    }
}

fn busy(world: &World) {
    let name = world.put_rows("busy.npy", 10, 4, 4);
    let set = open(&[name]).unwrap();
    world.proxy.will("GET /bucket/busy.npy", Fault::Busy, 1000);
    let (start, error) = (Instant::now(), read_all(&set, 999).unwrap_err().to_string());
    assert!(error.contains("busy.npy") && error.contains("503") && error.contains("tried 8 times"), "{error}");
    assert!(error.contains("run the command again"), "{error}");
    assert!((5.0..60.0).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
}

fn changes(world: &World) {
    for (how, same_length) in [("written again", true), ("longer", false), ("gone", false)] {
        for format in ["npy", "parquet"] {
            let key = format!("changes/{how}.{format}");
            let name = match format {
                "npy" => world.put_rows(&key, 9000, 256, 5),
                _ => world.put(&key, &std::fs::read(world.at("parquet/a.parquet")).unwrap()),
            };
            let set = open(&[name]).unwrap();
            let mut reader = set.reader(0).unwrap();
            let mut bytes = std::fs::read(world.at(&key)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            match (how, same_length) {
                ("gone", _) => std::fs::remove_file(world.at(&key)).unwrap(),
                (_, true) => std::fs::write(world.at(&key), &bytes).unwrap(),
                _ => std::fs::write(world.at(&key), [&bytes[..], b"more"].concat()).unwrap(),
            }
            let (rows, row) = (set.rows() as usize, set.width() * 4);
            let error = reader.read(rows, &mut vec![0; rows * row]).unwrap_err().to_string();
            assert!(error.contains(&key) && error.contains("changed while in use"), "{how} {format}: {error}");
            assert!(!error.contains("not a valid"), "{how} {format}: {error}");
        }
    }
}
