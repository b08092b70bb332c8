//! Asking again: what went wrong on the way is tried again after a while, what the server refuses is not.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use object_store::Error;

use super::address::Service;

/// Failures one after the other, without a byte between them, until it is given up: some 13 seconds of waiting.
const TRIES: u32 = 8;
/// Failures in all: a connection that gives a few bytes at a time is given up, too.
const TRIES_IN_ALL: u32 = 100;
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Waits from here on are told.
const TOLD: Duration = Duration::from_secs(1);
/// What is said of a server that gives whole files alone.
const WHOLE: &str =
    "the server does not answer with parts of a file (HTTP ranges); download the file, and name the copy";

/// What was tried, and how often.
#[derive(Debug)]
pub(super) struct Tries {
    path: PathBuf,
    service: Service,
    started: Instant,
    in_row: u32,
    in_all: u32,
}

impl Tries {
    pub fn new(path: &Path, service: Service) -> Tries {
        Tries { path: path.to_path_buf(), service, started: Instant::now(), in_row: 0, in_all: 0 }
    }

    /// How many have failed.
    pub fn failed(&self) -> u32 {
        self.in_all
    }

    /// Something came: patience begins anew.
    pub fn progress(&mut self) {
        self.in_row = 0;
    }

    /// After a failure: waits, and returns to have it tried again; or says why it is given up.
    pub async fn wait(&mut self, failure: Failure) -> io::Result<()> {
        self.in_row += 1;
        self.in_all += 1;
        let (text, kind) = match failure {
            Failure::Final(kind, text) => return Err(io::Error::new(kind, text)),
            Failure::Passing(text) => (text, io::ErrorKind::Other),
        };
        if self.in_row >= TRIES || self.in_all >= TRIES_IN_ALL {
            let (tries, time) = (self.in_all, self.started.elapsed().as_secs_f64());
            let remedy = "look whether the server can be reached, and run the command again";
            return Err(io::Error::new(kind, format!("{text} (tried {tries} times in {time:.0} s); {remedy}")));
        }
        let wait = FIRST_WAIT * 2u32.pow(self.in_row - 1);
        let told = format!("{}: {text}; trying again in {:.1} s", self.path.display(), wait.as_secs_f64());
        if wait >= TOLD {
            log::warn!("{told}")
        } else {
            log::debug!("{told}")
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// After a store's failure.
    pub async fn wait_after(&mut self, error: Error) -> io::Result<()> {
        self.wait(Failure::of(error, self.service)).await
    }
}

/// Why something did not work.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may work the next time.
    Passing(String),
    /// It will not.
    Final(io::ErrorKind, String),
}

/// What is said of an object that is another than before.
pub(super) fn changed(how: &str) -> Failure {
    Failure::Final(io::ErrorKind::InvalidData, format!("changed while in use: {how}; run the command again"))
}

impl Failure {
    pub fn of(error: Error, service: Service) -> Failure {
        let last = |kind, text: String| Failure::Final(kind, text);
        match error {
            Error::NotFound { .. } => {
                last(io::ErrorKind::NotFound, "there is no such object, or no such bucket; look at the name".to_owned())
            }
            Error::PermissionDenied { .. } => last(
                io::ErrorKind::PermissionDenied,
                format!("access is denied; check that the credentials may do this: {}", service.variables()),
            ),
            Error::Unauthenticated { .. } => last(
                io::ErrorKind::PermissionDenied,
                format!("the credentials are not accepted; set {}", service.variables()),
            ),
            Error::Precondition { .. } | Error::NotModified { .. } => changed("it is another object now"),
            Error::AlreadyExists { .. } => last(io::ErrorKind::AlreadyExists, "exists".to_owned()),
            Error::NotSupported { .. } if service == Service::Web => last(io::ErrorKind::Unsupported, WHOLE.to_owned()),
            Error::Generic { source, .. } => of_text(&chain(&*source), service),
            other => last(io::ErrorKind::Other, short(&other.to_string())),
        }
    }
}

/// The library's other errors are known by their words alone.
fn of_text(text: &str, service: Service) -> Failure {
    // A machine's role is asked for where the environment has no credentials; that there is none shows in many ways.
    if text.contains("169.254.") || text.contains("metadata.google.internal") || text.contains("getting credentials") {
        let what = format!("no credentials are found; set {}", service.variables());
        return Failure::Final(io::ErrorKind::PermissionDenied, what);
    }
    let refused = text.split_once("status code: 4").and_then(|(_, rest)| rest.get(..2));
    if let Some(code) = refused.filter(|code| !matches!(*code, "08" | "29")) {
        let what = format!("the server refuses the request (4{code}): {}", short(text));
        return Failure::Final(io::ErrorKind::Other, what);
    }
    if text.contains("non-partial response") {
        return Failure::Final(io::ErrorKind::Unsupported, WHOLE.to_owned());
    }
    if (text.contains("Requested ") && text.contains(", got ")) || text.contains("object was only") {
        let what = format!("the server gives other bytes than it was asked for: {}", short(text));
        return Failure::Final(io::ErrorKind::InvalidData, what);
    }
    Failure::Passing(short(text))
}

/// An error with its causes, each once.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

/// On one line, and not too long.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(text: &str) -> Failure {
        Failure::of(Error::Generic { store: "S3", source: text.to_owned().into() }, Service::S3)
    }

    #[test]
    fn a_server_that_refuses_is_not_asked_again() {
        for (text, word) in [
            ("Server returned non-2xx status code: 400 Bad Request: <Code>X</Code>", "refuses"),
            ("Error getting credentials from EC2 instance metadata", "AWS_ACCESS_KEY_ID"),
            (
                "Error performing PUT http://169.254.169.254/latest/api/token - status code: 403 Forbidden",
                "AWS_ACCESS_KEY_ID",
            ),
            ("Received non-partial response when range requested", "HTTP ranges"),
            ("Requested 0..10, got 4..14", "other bytes"),
        ] {
            assert!(matches!(failure(text), Failure::Final(_, words) if words.contains(word)), "{text}");
        }
        for text in ["status code: 503 Slow Down", "status code: 429", "status code: 408", "connection reset"] {
            assert!(matches!(failure(text), Failure::Passing(_)), "{text}");
        }
        let long = "x ".repeat(1000);
        assert!(matches!(failure(&long), Failure::Passing(text) if text.chars().count() <= 301));
    }
}
