//! Between client and server: it keeps a list of requests, and breaks the answers that it is told to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is done to an answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The server is said to be busy.
    Busy,
    /// The connection ends before an answer.
    Silence,
    /// It ends after so many bytes of the body.
    Cut(usize),
    /// It comes in pieces of so many bytes, with a pause between them.
    Slow(usize, Duration),
    /// The body is said to have so many bytes, and has no more.
    Short(usize),
    /// The object is said to have so many bytes: the length of a look, the total of a range.
    Total(u64),
    /// The range is said to start at another byte.
    Shift(u64),
    /// The server does what it is asked, and its answer is lost.
    Lost,
}

#[derive(Debug, Default)]
struct Shared {
    requests: Vec<String>,
    /// A part of a request's first line, what is done, and how often still.
    rules: Vec<(String, Fault, usize)>,
}

pub struct Proxy(Arc<Mutex<Shared>>);

impl Proxy {
    pub fn listen() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    pub fn start(listener: TcpListener, server: SocketAddr) -> Proxy {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let of_threads = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = of_threads.clone();
                std::thread::spawn(move || {
                    // A client that goes away is its own affair.
                    let _ = serve(client, server, &shared);
                });
            }
        });
        Proxy(shared)
    }

    /// Does this to the next `times` answers to requests whose method and place contain `request`.
    pub fn will(&self, request: &str, fault: Fault, times: usize) {
        self.0.lock().unwrap().rules.push((request.to_owned(), fault, times));
    }

    /// How often what it was told to do was not done yet.
    pub fn left(&self) -> usize {
        self.0.lock().unwrap().rules.iter().map(|(_, _, times)| times).sum()
    }

    /// The requests since the last call, each with its range.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().requests)
    }

    /// Breaks nothing any more, and forgets the requests.
    pub fn forget(&self) {
        *self.0.lock().unwrap() = Shared::default();
    }
}

fn fault_of(shared: &Mutex<Shared>, request: &str) -> Option<Fault> {
    let mut shared = shared.lock().unwrap();
    shared.requests.push(request.to_owned());
    let rule = shared.rules.iter_mut().find(|(part, _, times)| *times > 0 && request.contains(&part[..]))?;
    rule.2 -= 1;
    Some(rule.1.clone())
}

/// One request of a connection, which is closed after it.
fn serve(mut client: TcpStream, server: SocketAddr, shared: &Mutex<Shared>) -> std::io::Result<()> {
    let (head, mut body) = read_head(&mut client)?;
    let length = header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0usize);
    let start = body.len();
    body.resize(length.max(start), 0);
    client.read_exact(&mut body[start..])?;
    let line = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1");
    let range = header(&head, "range").map(|range| format!(" {range}")).unwrap_or_default();
    let fault = fault_of(shared, &format!("{line}{range}"));
    match fault {
        Some(Fault::Silence) => return Ok(()),
        Some(Fault::Busy) => {
            return client.write_all(b"HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
        _ => {}
    }
    let mut upstream = TcpStream::connect(server)?;
    let (first, rest) = head.split_once("\r\n").unwrap_or((&head, ""));
    upstream.write_all(format!("{first}\r\nconnection: close\r\n{rest}").as_bytes())?;
    upstream.write_all(&body)?;
    let (head, early) = read_head(&mut upstream)?;
    answer(&mut client, upstream, head, early, fault)
}

fn answer(
    client: &mut TcpStream,
    mut upstream: TcpStream,
    head: String,
    early: Vec<u8>,
    fault: Option<Fault>,
) -> std::io::Result<()> {
    let mut body = early;
    if matches!(fault, None | Some(Fault::Total(_) | Fault::Shift(_))) {
        let head = match &fault {
            Some(Fault::Total(total)) => {
                lie(&head, |text| Some(format!("{}/{total}", text.split('/').next()?)), Some(*total))
            }
            Some(Fault::Shift(by)) => lie(&head, |text| shifted(text, *by), None),
            _ => head,
        };
        client.write_all(head.as_bytes())?;
        client.write_all(&body)?;
        std::io::copy(&mut upstream, client)?;
        return Ok(());
    }
    upstream.read_to_end(&mut body)?;
    match fault {
        Some(Fault::Cut(n)) => {
            client.write_all(head.as_bytes())?;
            client.write_all(&body[..n.min(body.len())])
        }
        Some(Fault::Short(n)) => {
            let n = n.min(body.len());
            client.write_all(with_header(&head, "content-length", &n.to_string()).as_bytes())?;
            client.write_all(&body[..n])
        }
        Some(Fault::Slow(n, pause)) => {
            client.write_all(head.as_bytes())?;
            body.chunks(n).try_for_each(|piece| {
                std::thread::sleep(pause);
                client.write_all(piece)
            })
        }
        // Lost.
        _ => Ok(()),
    }
}

/// A head that lies about the object's length: in the range's total, or as the length of what a look would get.
fn lie(head: &str, range: impl Fn(&str) -> Option<String>, length: Option<u64>) -> String {
    match (header(head, "content-range").and_then(|text| range(&text)), length) {
        (Some(range), _) => with_header(head, "content-range", &range),
        (None, Some(length)) => with_header(head, "content-length", &length.to_string()),
        (None, None) => head.to_owned(),
    }
}

/// `bytes a-b/c`, later.
fn shifted(text: &str, by: u64) -> Option<String> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (a, b) = range.split_once('-')?;
    Some(format!("bytes {}-{}/{total}", a.parse::<u64>().ok()? + by, b.parse::<u64>().ok()? + by))
}

pub fn header(head: &str, name: &str) -> Option<String> {
    let mut pairs = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    pairs.find(|(there, _)| there.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

fn with_header(head: &str, name: &str, value: &str) -> String {
    let is_it = |line: &str| line.split_once(':').is_some_and(|(there, _)| there.eq_ignore_ascii_case(name));
    let lines =
        head.trim_end().lines().map(|line| if is_it(line) { format!("{name}: {value}") } else { line.to_owned() });
    lines.collect::<Vec<_>>().join("\r\n") + "\r\n\r\n"
}

/// A head with its empty line, and what came behind it.
pub fn read_head(stream: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let (mut bytes, mut block) = (Vec::new(), [0; 16 << 10]);
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let body = bytes.split_off(at + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), body));
        }
        match stream.read(&mut block)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => bytes.extend_from_slice(&block[..n]),
        }
    }
}
