//! Connections: one client for each bucket, and the runtime that they work on.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::multipart::MultipartStore;
use object_store::{ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};
use tokio::runtime::Runtime;

use super::address::{Address, Service};
use super::tries::Tries;
use crate::{Error, Result};

/// A request as a whole: a part of a large file over a slow line takes its time.
const REQUEST: &str = "300s";
/// Without a byte.
const SILENCE: &str = "30s";

/// Who is asked for a bucket's objects.
#[derive(Debug)]
pub(super) struct Store {
    pub service: Service,
    pub objects: Arc<dyn ObjectStore>,
    /// `None` of web servers, which are read alone.
    pub parts: Option<Arc<dyn Parts>>,
}

/// `MultipartStore`, which can be shown.
pub(super) trait Parts: MultipartStore + std::fmt::Debug {}
impl<T: MultipartStore + std::fmt::Debug> Parts for T {}

/// The store of an address: a new one, or that of before. Credentials and endpoints are those of the environment when a bucket is first named.
pub(super) fn connect(address: &Address, path: &Path) -> Result<Arc<Store>> {
    static STORES: OnceLock<Mutex<HashMap<String, Arc<Store>>>> = OnceLock::new();
    let stores = STORES.get_or_init(Mutex::default);
    // Nothing that can panic happens while it is locked.
    if let Some(store) = stores.lock().unwrap_or_else(PoisonError::into_inner).get(&address.base) {
        return Ok(store.clone());
    }
    let store = build(address).map_err(|e| {
        let remedy = format!("its credentials are taken from the environment: {}", address.service.variables());
        Error::format(path, format!("cannot be connected to: {e}; {remedy}"))
    })?;
    let mut stores = stores.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(stores.entry(address.base.clone()).or_insert(Arc::new(store)).clone())
}

fn build(address: &Address) -> object_store::Result<Store> {
    // TLS needs one for the process; an app that has chosen keeps its own.
    drop(rustls::crypto::ring::default_provider().install_default());
    // `Tries` asks again, and says so.
    let once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let (service, base) = (address.service, &address.base);
    let limits = [(ClientConfigKey::Timeout, REQUEST), (ClientConfigKey::ReadTimeout, SILENCE)];
    Ok(match service {
        Service::S3 => {
            let mut builder = AmazonS3Builder::from_env().with_url(base).with_retry(once);
            for (key, value) in limits.into_iter().chain(plain_endpoint()) {
                builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
            }
            both(service, builder.build()?)
        }
        Service::Google => {
            let mut builder = GoogleCloudStorageBuilder::from_env().with_url(base).with_retry(once);
            for (key, value) in limits {
                builder = builder.with_config(GoogleConfigKey::Client(key), value);
            }
            both(service, builder.build()?)
        }
        Service::Azure => {
            let mut builder = MicrosoftAzureBuilder::from_env().with_url(base).with_retry(once);
            for (key, value) in limits {
                builder = builder.with_config(AzureConfigKey::Client(key), value);
            }
            both(service, builder.build()?)
        }
        Service::Web => {
            // `Address::parse` lets only this machine's servers be without encryption.
            let options = ClientOptions::new().with_allow_http(base.starts_with("http://"));
            let options = options.with_config(ClientConfigKey::Timeout, REQUEST);
            let options = options.with_config(ClientConfigKey::ReadTimeout, SILENCE);
            let builder = HttpBuilder::new().with_url(base).with_retry(once).with_client_options(options);
            Store { service, objects: Arc::new(builder.build()?), parts: None }
        }
    })
}

/// Whoever writes `http://` into the endpoint means it, as for other programs that read this variable.
fn plain_endpoint() -> Option<(ClientConfigKey, &'static str)> {
    let named = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    named.filter(|url| url.starts_with("http://")).map(|_| (ClientConfigKey::AllowHttp, "true"))
}

fn both<S: ObjectStore + Parts>(service: Service, store: S) -> Store {
    let store = Arc::new(store);
    Store { service, objects: store.clone(), parts: Some(store) }
}

/// Threads that move bytes and, of encrypted connections, decrypt them.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 4)
}

pub(super) fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let builder = builder.worker_threads(workers()).thread_name("realign-cloud").enable_all();
        builder.build().map_err(|e| e.to_string())
    });
    runtime.as_ref().map_err(|e| io::Error::other(format!("no threads can be started: {e}")))
}

/// Waits for a future that works on the runtime. Its caller may be on a runtime of its own, which `block_on` would not allow.
pub(super) fn wait<T: Send + 'static>(future: impl Future<Output = io::Result<T>> + Send + 'static) -> io::Result<T> {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        // Whoever asked may be gone.
        let _ = tell.send(future.await);
    });
    told.recv().unwrap_or_else(|_| Err(io::Error::other("the request ended without an answer")))
}

/// Waits for what is tried until it works or is given up.
pub(super) fn persist<T, F>(
    path: &Path,
    service: Service,
    mut attempt: impl FnMut() -> F + Send + 'static,
) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = object_store::Result<T>> + Send,
{
    let mut tries = Tries::new(path, service);
    wait(async move {
        loop {
            match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => tries.wait_after(error).await?,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azure_and_web_servers_are_connected_to_by_their_urls() {
        // No request is made. A client for Google's looks for credentials in the user's folder, which are not a test's affair.
        for (url, name) in [("abfss://box@someone.dfs.core.windows.net/x", "box"), ("https://example.com/x", "Http")] {
            let address = Address::parse(Path::new(url)).unwrap();
            let store = build(&address).unwrap();
            assert!(store.objects.to_string().contains(name), "{}", store.objects);
            assert_eq!(store.parts.is_none(), address.service == Service::Web);
        }
        let nameless = Address::parse(Path::new("az://container/x")).unwrap();
        if std::env::var_os("AZURE_STORAGE_ACCOUNT_NAME").is_none() {
            let error = connect(&nameless, Path::new("az://container/x")).unwrap_err().to_string();
            assert!(error.contains("AZURE_STORAGE_ACCOUNT_NAME"), "{error}");
        }
    }

    #[test]
    fn a_caller_may_be_on_a_runtime_of_its_own() {
        let own = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        assert_eq!(own.block_on(async { wait(async { Ok(7) }).unwrap() }), 7);
        assert!(wait::<()>(async { panic!("in a test") }).is_err());
    }
}
