//! Writing objects that appear whole or not at all.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{GetOptions, MultipartId, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::super::positional;
use super::address::Address;
use super::object::{self, Pin};
use super::store::{self, Parts, Store};
use super::tries::Tries;
use crate::{Error, Result};

/// Bytes of a part. Stores demand 5 MiB at least, of all but the last, and some that they are of one size.
const PART: u64 = 8 << 20;
/// Parts of an object at most; larger objects have larger parts.
const PARTS: u64 = 9_000;
/// Parts on their way: memory that writing takes is twice 8 MiB for each.
const FLYING: usize = 4;

/// Where an object will be.
#[derive(Clone, Debug)]
struct Place {
    store: Arc<Store>,
    parts: Arc<dyn Parts>,
    path: PathBuf,
    key: Path,
}

impl Place {
    fn of(path: &FilePath) -> Result<Place> {
        let address = Address::parse(path)?;
        if address.key.ends_with('/') || address.key.is_empty() {
            return Err(Error::format(path, "is a folder; name a file"));
        }
        let key = address.object(path)?;
        let store = store::connect(&address, path)?;
        let parts = store.parts.clone();
        let parts = parts.ok_or_else(|| {
            Error::format(path, "web servers are read and not written; name a bucket (s3://, gs://, az://) or a file")
        })?;
        Ok(Place { store, parts, path: path.to_path_buf(), key })
    }

    /// What is there now.
    fn there(&self) -> Result<Option<Pin>> {
        match object::look(&self.store, &self.path, &self.key) {
            Ok(pin) => Ok(Some(pin)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("create", &self.path)(e)),
        }
    }

    fn begin(&self) -> Result<MultipartId> {
        let (parts, key) = (self.parts.clone(), self.key.clone());
        let begin = move || {
            let (parts, key) = (parts.clone(), key.clone());
            async move { parts.create_multipart(&key).await }
        };
        store::persist(&self.path, self.store.service, begin).map_err(Error::io("create", &self.path))
    }
}

/// Fails where writing would because the object is there, or because nothing can be written there.
pub(in super::super) fn check_target(path: &FilePath, force: bool) -> Result<()> {
    let place = Place::of(path)?;
    if !force && place.there()?.is_some() { Err(Error::OutputExists(path.to_path_buf())) } else { Ok(()) }
}

/// The same, and tries whether writing is allowed: an upload is begun and taken back, and nothing is there after it.
pub(in super::super) fn check_writable(path: &FilePath, force: bool) -> Result<()> {
    check_target(path, force)?;
    let place = Place::of(path)?;
    let id = place.begin()?;
    drop(Upload { place, id, parts: Vec::new(), bytes: 0, open: true });
    Ok(())
}

/// Writes a few bytes as an object, in one request. Without `force` the store itself refuses to replace what is there.
pub(in super::super) fn put(path: &FilePath, force: bool, bytes: &[u8]) -> Result<()> {
    let place = Place::of(path)?;
    // Some stores do not know the condition, and would replace it.
    if !force && place.there()?.is_some() {
        return Err(Error::OutputExists(path.to_path_buf()));
    }
    let (payload, mode) = (PutPayload::from(bytes.to_vec()), if force { PutMode::Overwrite } else { PutMode::Create });
    let (objects, key) = (place.store.objects.clone(), place.key.clone());
    let mut tries = Tries::new(path, place.store.service);
    let done = store::wait(async move {
        loop {
            let options = PutOptions { mode: mode.clone(), ..PutOptions::default() };
            match objects.put_opts(&key, payload.clone(), options).await {
                Ok(_) => return Ok(()),
                // Its answer may have been lost the time before.
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })
                    if tries.failed() > 0 && holds(&*objects, &key, &payload).await =>
                {
                    return Ok(());
                }
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                Err(error) => tries.wait_after(error).await?,
            }
        }
    });
    done.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => Error::OutputExists(path.to_path_buf()),
        _ => Error::io("write", path)(e),
    })
}

/// Removes an object.
pub(in super::super) fn remove(path: &FilePath) -> Result<()> {
    let Place { store, key, .. } = Place::of(path)?;
    store::wait(async move { Ok(store.objects.delete(&key).await?) }).map_err(Error::io("remove", path))
}

async fn holds(objects: &dyn object_store::ObjectStore, key: &Path, payload: &PutPayload) -> bool {
    let Ok(there) = objects.get_opts(key, GetOptions::default()).await else { return false };
    there.bytes().await.is_ok_and(|there| there == Bytes::from(payload.clone()))
}

/// Parts that have come, and are no object yet. Dropped, they are thrown away.
#[derive(Debug)]
pub(in super::super) struct Upload {
    place: Place,
    id: MultipartId,
    parts: Vec<PartId>,
    bytes: u64,
    open: bool,
}

impl Upload {
    /// Sends all of a file, several parts at once.
    pub fn send(file: &File, path: &FilePath) -> Result<Upload> {
        let place = Place::of(path)?;
        let bytes = file.metadata().map_err(Error::io("write", path))?.len();
        let id = place.begin()?;
        let mut upload = Upload { place, id, parts: Vec::new(), bytes, open: true };
        upload.send_parts(file).map_err(Error::io("write", path))?;
        Ok(upload)
    }

    fn send_parts(&mut self, file: &File) -> io::Result<()> {
        let size = PART.max(self.bytes.div_ceil(PARTS).next_multiple_of(1 << 20));
        // An object of no bytes is one part of none.
        let count = self.bytes.div_ceil(size).max(1);
        let mut flying = VecDeque::new();
        for number in 0..count {
            let mut part = vec![0; size.min(self.bytes - number * size) as usize];
            positional::read(file, &mut part, number * size)?;
            if flying.len() == FLYING
                && let Some(told) = flying.pop_front()
            {
                self.parts.push(received(&told)?);
            }
            flying.push_back(self.send_part(number as usize, part)?);
        }
        for told in flying {
            self.parts.push(received(&told)?);
        }
        Ok(())
    }

    fn send_part(&self, number: usize, part: Vec<u8>) -> io::Result<std::sync::mpsc::Receiver<io::Result<PartId>>> {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let (Place { store, parts, path, key }, id) = (self.place.clone(), self.id.clone());
        let (payload, mut tries) = (PutPayload::from(part), Tries::new(&path, store.service));
        store::runtime()?.spawn(async move {
            let sent = loop {
                match parts.put_part(&key, &id, number, payload.clone()).await {
                    Ok(part) => break Ok(part),
                    Err(error) => {
                        if let Err(e) = tries.wait_after(error).await {
                            break Err(e);
                        }
                    }
                }
            };
            // Whoever asked may be gone.
            let _ = tell.send(sent);
        });
        Ok(told)
    }

    /// Makes an object of the parts. Stores cannot be told not to replace one by this: without `force` it is looked for just before.
    pub fn publish(mut self, force: bool) -> Result<()> {
        let path = self.place.path.clone();
        let before = self.place.there()?;
        if !force && before.is_some() {
            return Err(Error::OutputExists(path));
        }
        let (Place { store, parts, key, .. }, id, list) = (self.place.clone(), self.id.clone(), self.parts.clone());
        let mut tries = Tries::new(&path, store.service);
        let bytes = self.bytes;
        let done = store::wait(async move {
            loop {
                let Err(error) = parts.complete_multipart(&key, &id, list.clone()).await else { return Ok(()) };
                // Its answer may have been lost the time before: then the upload is no more, which servers say in several ways, and there is
                // another object than before.
                if tries.failed() > 0 {
                    let head = GetOptions { head: true, ..GetOptions::default() };
                    let now = store.objects.get_opts(&key, head).await.ok().map(|there| Pin::of(&there.meta));
                    if now.is_some_and(|now| now.len() == bytes && before.as_ref() != Some(&now)) {
                        return Ok(());
                    }
                }
                tries.wait_after(error).await?;
            }
        });
        // What failed is taken back: of an object that came to be after all that takes nothing.
        self.open = done.is_err();
        done.map_err(Error::io("write", &path))
    }
}

fn received(told: &std::sync::mpsc::Receiver<io::Result<PartId>>) -> io::Result<PartId> {
    told.recv().unwrap_or_else(|_| Err(io::Error::other("the request ended without an answer")))
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let (parts, key, id) = (self.place.parts.clone(), self.place.key.clone(), self.id.clone());
        // Once: a store's rule for unfinished uploads removes what stays.
        let aborted = store::wait(async move { Ok(parts.abort_multipart(&key, &id).boxed().await?) });
        if let Err(e) = aborted {
            log::warn!("{}: an unfinished upload stays in the bucket, unseen: {e}", self.place.path.display());
        }
    }
}
