//! Files of web servers: by ranges, or not at all.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::Test;
use crate::proxy::{header, read_head};
use crate::world::{World, open, read_all};

pub const TESTS: &[Test] = &[
    ("web::ranges_are_read_and_a_file_written_again_is_an_error", ranges),
    ("web::a_server_without_ranges_is_an_error", whole),
    ("web::folders_and_queries_are_refused", refused),
];

/// What a server serves, when it was written, and whether in ranges.
#[derive(Clone)]
struct Served {
    bytes: Vec<u8>,
    written: &'static str,
    ranges: bool,
}

/// A web server without entity tags.
fn serve(served: Served) -> (PathBuf, Arc<Mutex<Served>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/some/rows.npy", listener.local_addr().unwrap());
    let shared = Arc::new(Mutex::new(served));
    let of_thread = shared.clone();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let Ok((head, _)) = read_head(&mut client) else { continue };
            let Served { bytes, written, ranges } = of_thread.lock().unwrap().clone();
            let range = header(&head, "range").filter(|_| ranges);
            let range = range.and_then(|text| {
                let (a, b) = text.strip_prefix("bytes=")?.split_once('-')?;
                Some((a.parse::<usize>().ok()?, b.parse::<usize>().ok()?))
            });
            let common = format!("last-modified: {written}\r\nconnection: close\r\n");
            let (first, body) = match range {
                Some((a, b)) => {
                    let what =
                        format!("HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {a}-{b}/{}\r\n", bytes.len());
                    (what, &bytes[a..=b])
                }
                None => ("HTTP/1.1 200 OK\r\n".to_owned(), &bytes[..]),
            };
            let head_of_answer = format!("{first}content-length: {}\r\n{common}\r\n", body.len());
            let body = if head.starts_with("HEAD") { &[][..] } else { body };
            // A client that goes away is its own affair.
            let _ = client.write_all(head_of_answer.as_bytes()).and_then(|()| client.write_all(body));
        }
    });
    (url.into(), shared)
}

const THEN: &str = "Wed, 21 Oct 2015 07:28:00 GMT";
const LATER: &str = "Wed, 21 Oct 2015 07:28:01 GMT";

fn ranges(world: &World) {
    world.put_rows("web.npy", 9000, 256, 1);
    let bytes = std::fs::read(world.at("web.npy")).unwrap();
    let (url, served) = serve(Served { bytes, written: THEN, ranges: true });
    let set = open(std::slice::from_ref(&url)).unwrap();
    let rows = read_all(&open(&[world.at("web.npy")]).unwrap(), 999).unwrap();
    assert!(read_all(&set, 1001).unwrap() == rows);
    served.lock().unwrap().written = LATER;
    let error = read_all(&set, 1001).unwrap_err().to_string();
    assert!(error.contains("rows.npy") && error.contains("changed while in use"), "{error}");
}

fn whole(world: &World) {
    let bytes = std::fs::read(world.at("web.npy")).unwrap();
    let (url, _) = serve(Served { bytes, written: THEN, ranges: false });
    let error = open(&[url]).unwrap_err().to_string();
    assert!(error.contains("HTTP ranges") && error.contains("download the file"), "{error}");
}

fn refused(_world: &World) {
    for (name, word) in [
        ("https://127.0.0.1/folder/", "do not list"),
        ("https://127.0.0.1/*.npy", "do not list"),
        ("https://127.0.0.1/a.npy?signature=x", "query"),
        ("http://example.com/a.npy", "not encrypted"),
    ] {
        let error = open(&[PathBuf::from(name)]).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
