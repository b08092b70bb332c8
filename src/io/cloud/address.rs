//! From a URL to a store and a key in it.

use std::path::Path as FilePath;

use object_store::path::Path;

use super::super::url;
use crate::{Error, Result};

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub service: Service,
    /// The URL up to its bucket or host, without a slash at the end.
    pub base: String,
    /// What follows, as it was written.
    pub key: String,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    S3,
    Google,
    Azure,
    Web,
}

impl Service {
    /// Environment variables that hold its credentials.
    pub fn variables(self) -> &'static str {
        match self {
            Service::S3 => {
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION (AWS_SKIP_SIGNATURE=true for a public bucket)"
            }
            Service::Google => "GOOGLE_APPLICATION_CREDENTIALS (GOOGLE_SKIP_SIGNATURE=true for a public bucket)",
            Service::Azure => "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
            Service::Web => "nothing: web servers are read without credentials",
        }
    }
}

impl Address {
    /// # Errors
    /// A scheme that is not known, a URL without a bucket, and what no request can hold.
    pub fn parse(path: &FilePath) -> Result<Address> {
        let refuse = |problem: &str| Err(Error::format(path, problem.to_owned()));
        // `is_url` was asked before, which looks at text.
        let text = path.to_str().unwrap_or_default();
        let service = match url::scheme(path) {
            Some("s3" | "s3a") => Service::S3,
            Some("gs") => Service::Google,
            Some("az" | "azure" | "abfs" | "abfss") => Service::Azure,
            Some("https") => Service::Web,
            Some("http") if is_loopback(text) => Service::Web,
            Some("http") => return refuse("is not encrypted on its way; name it by https://"),
            Some("file") => return refuse("name a local file by its path alone, without file://"),
            _ => return refuse("is of no scheme that is known; there are s3://, gs://, az://, abfss:// and https://"),
        };
        let start = text.find("://").map_or(0, |at| at + 3);
        let (host, key) = text[start..].split_once('/').unwrap_or((&text[start..], ""));
        if host.is_empty() {
            return refuse("names no bucket; write s3://bucket/key");
        }
        if service == Service::Web && (key.contains(['?', '#']) || host.contains('@')) {
            return refuse("has a query or a password, which are not sent; name a file that is served without");
        }
        if key.starts_with('/') {
            return refuse("begins its key with a slash, which requests leave out; write s3://bucket/key");
        }
        let base = text[..start + host.len()].to_owned();
        Ok(Address { service, base, key: key.to_owned() })
    }

    /// The key as requests have it. Keys of buckets are taken as they are; a web server's are encoded already.
    pub fn object(&self, path: &FilePath) -> Result<Path> {
        let key = self.key.trim_end_matches('/');
        let parsed = match self.service {
            Service::Web => Path::from_url_path(key),
            _ => Path::parse(key),
        };
        match parsed {
            Ok(parsed) if !parsed.as_ref().is_empty() && !self.key.ends_with('/') => Ok(parsed),
            Ok(_) => Err(Error::format(path, "names no object; write s3://bucket/key")),
            Err(e) => Err(Error::format(path, format!("is no key of an object: {e}"))),
        }
    }
}

fn is_loopback(text: &str) -> bool {
    let host = text.trim_start_matches("http://").split('/').next().unwrap_or_default();
    // An address of version 6 stands in brackets, before the port.
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_by_its_scheme() {
        let parse = |text: &str| Address::parse(FilePath::new(text)).unwrap();
        for (text, service, base, key) in [
            ("s3://bucket/a/b c.npy", Service::S3, "s3://bucket", "a/b c.npy"),
            ("s3a://bucket/a%20b", Service::S3, "s3a://bucket", "a%20b"),
            ("gs://bucket/x/", Service::Google, "gs://bucket", "x/"),
            ("az://container/x", Service::Azure, "az://container", "x"),
            ("abfss://c@account.dfs.core.windows.net/x", Service::Azure, "abfss://c@account.dfs.core.windows.net", "x"),
            ("https://host:8080/a/b.npy", Service::Web, "https://host:8080", "a/b.npy"),
            ("http://127.0.0.1:80/b.npy", Service::Web, "http://127.0.0.1:80", "b.npy"),
            ("http://[::1]:80/b.npy", Service::Web, "http://[::1]:80", "b.npy"),
            ("s3://bucket", Service::S3, "s3://bucket", ""),
        ] {
            assert_eq!(parse(text), Address { service, base: base.to_owned(), key: key.to_owned() });
        }
        assert_eq!(parse("s3://b/a%20b").object(FilePath::new("x")).unwrap().as_ref(), "a%20b");
        assert_eq!(parse("https://h/a%20b").object(FilePath::new("x")).unwrap().as_ref(), "a b");
    }

    #[test]
    fn what_cannot_be_asked_for_is_refused() {
        for (text, why) in [
            ("ftp://host/a", "no scheme that is known"),
            ("file:///a", "by its path"),
            ("http://example.com/a", "not encrypted"),
            ("http://127.example.com/a", "not encrypted"),
            ("s3://bucket//a", "slash"),
            ("s3:///a", "no bucket"),
            ("https://host/a?key=1", "query"),
            ("https://me:pass@host/a", "password"),
        ] {
            let error = Address::parse(FilePath::new(text)).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        for text in ["s3://bucket", "s3://bucket/", "s3://bucket/a/", "s3://bucket/a//b", "s3://bucket/../b"] {
            let path = FilePath::new(text);
            assert!(Address::parse(path).unwrap().object(path).is_err(), "{text}");
        }
    }
}
