//! Staged files on their way to the store: one request for a small file, parts for a large one. A file that is not
//! finished is given up, and nothing of it is left.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use rows::{FileFactory, FileSink};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

/// Parts that wait for the network while the next is being encoded.
const PARTS_WAITING: usize = 1;

/// Names and opens staged files.
#[derive(Debug)]
pub struct Uploads<F> {
    store: Arc<dyn ObjectStore>,
    key: F,
    runtime: Handle,
}

impl<F: Fn(usize) -> String + Sync> Uploads<F> {
    /// Uploads to a store, on the current runtime, each file under the key of its index.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, key: F) -> Self {
        Self { store, key, runtime: Handle::current() }
    }
}

impl<F: Fn(usize) -> String + Sync> FileFactory for Uploads<F> {
    fn create(&self, index: usize) -> io::Result<Box<dyn FileSink>> {
        let (parts, received) = channel(PARTS_WAITING);
        let path = Path::from((self.key)(index));
        let task = self.runtime.spawn(upload(Arc::clone(&self.store), path, received));
        Ok(Box::new(Upload { parts, task, runtime: self.runtime.clone() }))
    }
}

enum Part {
    Bytes(Bytes),
    End,
}

struct Upload {
    parts: Sender<Part>,
    task: JoinHandle<io::Result<()>>,
    runtime: Handle,
}

impl Upload {
    /// Why the task has gone.
    fn failure(&mut self) -> io::Error {
        match self.runtime.block_on(&mut self.task) {
            Ok(Err(error)) => error,
            Ok(Ok(())) => io::Error::other("the upload ended early"),
            Err(error) => io::Error::other(error),
        }
    }
}

impl FileSink for Upload {
    fn write(&mut self, part: Bytes) -> io::Result<()> {
        self.parts.blocking_send(Part::Bytes(part)).map_err(|_| self.failure())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        if self.parts.blocking_send(Part::End).is_err() {
            return Err(self.failure());
        }
        self.runtime.block_on(&mut self.task).map_err(io::Error::other)?
    }
}

async fn upload(store: Arc<dyn ObjectStore>, path: Path, mut parts: Receiver<Part>) -> io::Result<()> {
    let Some(Part::Bytes(first)) = parts.recv().await else { return Ok(()) };
    let second = match parts.recv().await {
        None => return Ok(()),
        Some(Part::End) => {
            store.put(&path, PutPayload::from(first)).await.map_err(io::Error::other)?;
            return Ok(());
        }
        Some(Part::Bytes(second)) => second,
    };
    let mut upload = store.put_multipart(&path).await.map_err(io::Error::other)?;
    match send_parts(&mut *upload, first, second, &mut parts).await {
        Ok(Sent::Whole) => {
            upload.complete().await.map_err(io::Error::other)?;
            Ok(())
        }
        Ok(Sent::GivenUp) => upload.abort().await.map_err(io::Error::other),
        Err(error) => {
            // The bucket's lifecycle removes what cannot be aborted now.
            let _ = upload.abort().await;
            Err(io::Error::other(error))
        }
    }
}

enum Sent {
    Whole,
    GivenUp,
}

async fn send_parts(
    upload: &mut dyn MultipartUpload,
    first: Bytes,
    second: Bytes,
    parts: &mut Receiver<Part>,
) -> object_store::Result<Sent> {
    upload.put_part(PutPayload::from(first)).await?;
    upload.put_part(PutPayload::from(second)).await?;
    loop {
        match parts.recv().await {
            Some(Part::Bytes(part)) => upload.put_part(PutPayload::from(part)).await?,
            Some(Part::End) => return Ok(Sent::Whole),
            None => return Ok(Sent::GivenUp),
        }
    }
}
