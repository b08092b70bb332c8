//! Objects appear whole or not at all.

use std::path::Path;

use realign::Error;
use realign::io::{Dataset, FileFormat, Output, OutputOptions, check_writable, write_atomically};

use crate::Test;
use crate::proxy::Fault;
use crate::world::{World, open, read_all, url};

pub const TESTS: &[Test] = &[
    ("writing::nothing_is_seen_before_the_end", whole_or_not),
    ("writing::every_format_has_the_bytes_of_the_files", formats),
    ("writing::faults_on_the_way", faults),
    ("writing::what_is_there_stays_unless_forced", existing),
    ("writing::places_that_cannot_be_written", refused),
];

fn write(output: &mut Output, input: &Dataset) -> realign::Result<()> {
    let row = input.width() * 4;
    for (number, shard) in input.shards().iter().enumerate() {
        let mut rows = vec![0; shard.rows() as usize * row];
        input.reader(number)?.read(shard.rows() as usize, &mut rows)?;
        let mut writer = output.writer(number)?;
        writer.write(&rows)?;
        writer.finish()?;
    }
    Ok(())
}

fn input(world: &World) -> Dataset {
    // 20 MB and some: three parts.
    world.put_rows("in/a.npy", 20_000, 256, 1);
    world.put_rows("in/b.npy", 3, 256, 2);
    open(&[url("in/")]).unwrap()
}

fn whole_or_not(world: &World) {
    let (input, options) = (input(world), OutputOptions::default());
    let mut output = Output::create(&input, &url("whole/"), &options).unwrap();
    assert_eq!((world.keys("whole"), world.unfinished()), (vec![], vec![]), "looking leaves nothing");
    write(&mut output, &input).unwrap();
    assert_eq!(world.keys("whole"), Vec::<String>::new(), "its parts are there, and it is not");
    assert!(!world.unfinished().is_empty());
    drop(output);
    assert_eq!((world.keys("whole"), world.unfinished()), (vec![], vec![]), "nothing stays of what was not committed");
    let mut output = Output::create(&input, &url("whole/"), &options).unwrap();
    // One of two.
    let mut writer = output.writer(1).unwrap();
    writer.write(&vec![1; 3 * 1024]).unwrap();
    writer.finish().unwrap();
    assert!(output.commit().unwrap_err().to_string().contains("not all of its rows"));
    assert_eq!((world.keys("whole"), world.unfinished()), (vec![], vec![]));
    let mut output = Output::create(&input, &url("whole/"), &options).unwrap();
    write(&mut output, &input).unwrap();
    let paths = output.commit().unwrap();
    assert_eq!(paths, [url("whole/a.npy"), url("whole/b.npy")]);
    assert_eq!(world.unfinished(), Vec::<String>::new());
    assert!(read_all(&open(&paths).unwrap(), 500).unwrap() == read_all(&input, 500).unwrap());
    assert!(!Path::new("s3:").exists());
}

fn formats(world: &World) {
    let (input, local) = (input(world), tempfile::tempdir().unwrap());
    for format in FileFormat::WRITTEN {
        let options = OutputOptions { format: Some(format), ..OutputOptions::default() };
        let mut outputs = [local.path().join(format.name()), url(&format!("out-{format}/"))];
        for out in &mut outputs {
            let mut output = Output::create(&input, out, &options).unwrap();
            write(&mut output, &input).unwrap();
            output.commit().unwrap();
        }
        for name in ["a", "b"] {
            let name = format!("{name}.{format}");
            let remote = std::fs::read(world.at(&format!("out-{format}/{name}"))).unwrap();
            assert!(remote == std::fs::read(outputs[0].join(&name)).unwrap(), "{name}");
        }
    }
    // A name without a folder's slash is one of a file, as on disks.
    let one = open(&[url("in/b.npy")]).unwrap();
    let mut output = Output::create(&one, &url("single.npy"), &OutputOptions::default()).unwrap();
    write(&mut output, &one).unwrap();
    assert_eq!(output.commit().unwrap(), [url("single.npy")]);
    let error = Output::create(&one, &url("in/b.npy"), &OutputOptions { force: true, ..OutputOptions::default() });
    assert!(error.unwrap_err().to_string().contains("is also an input"));
}

fn faults(world: &World) {
    let (input, options) = (input(world), OutputOptions { force: true, ..OutputOptions::default() });
    let run = || -> realign::Result<()> {
        let mut output = Output::create(&input, &url("faults/"), &options)?;
        write(&mut output, &input)?;
        output.commit().map(drop)
    };
    for (request, fault, times) in [
        ("POST /bucket/faults/a.npy?uploads", Fault::Busy, 2),
        ("PUT /bucket/faults/a.npy?partNumber=2", Fault::Busy, 3),
        ("PUT /bucket/faults/a.npy?partNumber=1", Fault::Silence, 2),
        ("PUT /bucket/faults/a.npy?partNumber=3", Fault::Lost, 1),
        ("POST /bucket/faults/a.npy?uploadId", Fault::Busy, 2),
        ("POST /bucket/faults/a.npy?uploadId", Fault::Lost, 1),
    ] {
        world.proxy.will(request, fault.clone(), times);
        run().unwrap_or_else(|e| panic!("{request} {fault:?}: {e}"));
        assert_eq!(world.proxy.left(), 0, "{request} {fault:?} was met");
        assert!(std::fs::read(world.at("faults/a.npy")).unwrap() == std::fs::read(world.at("in/a.npy")).unwrap());
        std::fs::remove_file(world.at("faults/a.npy")).unwrap();
        std::fs::remove_file(world.at("faults/b.npy")).unwrap();
    }
    world.proxy.forget();
    // A part that never comes through: nothing of any shard.
    world.proxy.will("PUT /bucket/faults/b.npy", Fault::Busy, 1000);
    let error = run().unwrap_err().to_string();
    assert!(error.contains("faults/b.npy") && error.contains("tried 8 times"), "{error}");
    world.proxy.forget();
    assert_eq!((world.keys("faults/"), world.unfinished()), (vec![], vec![]));
}

fn existing(world: &World) {
    let (input, options) = (input(world), OutputOptions::default());
    world.put("there/b.npy", b"theirs");
    let refused = Output::create(&input, &url("there/"), &options).unwrap_err();
    assert!(matches!(&refused, Error::OutputExists(path) if *path == url("there/b.npy")), "{refused}");
    std::fs::remove_file(world.at("there/b.npy")).unwrap();
    // One that appears meanwhile: it stays, and what was published before it goes again.
    let mut output = Output::create(&input, &url("there/"), &options).unwrap();
    write(&mut output, &input).unwrap();
    world.put("there/b.npy", b"theirs");
    assert!(matches!(output.commit(), Err(Error::OutputExists(path)) if path == url("there/b.npy")));
    assert_eq!(world.keys("there/"), ["there/b.npy"]);
    assert_eq!(std::fs::read(world.at("there/b.npy")).unwrap(), b"theirs");
    let forced = OutputOptions { force: true, ..options };
    let mut output = Output::create(&input, &url("there/"), &forced).unwrap();
    write(&mut output, &input).unwrap();
    output.commit().unwrap();
    assert!(std::fs::read(world.at("there/b.npy")).unwrap() == std::fs::read(world.at("in/b.npy")).unwrap());

    let small = url("there/small.json");
    check_writable(&small, false).unwrap();
    write_atomically(&small, false, b"one").unwrap();
    assert!(matches!(write_atomically(&small, false, b"two"), Err(Error::OutputExists(_))));
    assert!(matches!(check_writable(&small, false), Err(Error::OutputExists(_))));
    assert_eq!(std::fs::read(world.at("there/small.json")).unwrap(), b"one");
    write_atomically(&small, true, b"two").unwrap();
    assert_eq!(std::fs::read(world.at("there/small.json")).unwrap(), b"two");
    // Its answer is lost, and the next try finds it there: it is ours.
    world.proxy.will("PUT /bucket/there/lost.json", Fault::Lost, 1);
    write_atomically(&url("there/lost.json"), false, b"ours").unwrap();
    assert_eq!(world.proxy.left(), 0);
    assert_eq!(world.unfinished(), Vec::<String>::new());
}

fn refused(_world: &World) {
    for (name, word) in [
        ("https://127.0.0.1/x.json", "not written"),
        ("s3://bucket/folder/", "is a folder"),
        ("s3://bucket", "is a folder"),
        ("s4://bucket/x", "no scheme"),
    ] {
        let error = write_atomically(Path::new(name), true, b"").unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(name), "{error}");
        assert!(check_writable(Path::new(name), true).is_err(), "{name}");
    }
}
