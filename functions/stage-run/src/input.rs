//! A run's output as blocks: objects streamed from the store on the runtime, taken by the parser's thread.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use rows::{BlockSource, Chunk};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Bytes that are gathered before they are handed on: storage answers in much smaller pieces.
const CHUNK_BYTES: usize = 512 << 10;

/// Chunks that wait for the parser: what is read ahead.
const CHUNKS_WAITING: usize = 8;

/// One object and the store that it lies in.
#[derive(Debug, Clone)]
pub struct StoredObject {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The object's path in it.
    pub path: Path,
}

/// Objects, read one after the other.
#[derive(Debug)]
pub struct ObjectBlocks {
    chunks: Receiver<io::Result<Chunk>>,
}

impl ObjectBlocks {
    /// Begins to read. Must be called on a runtime.
    #[must_use]
    pub fn begin(objects: Vec<StoredObject>) -> Self {
        let (sender, chunks) = channel(CHUNKS_WAITING);
        tokio::spawn(async move {
            if let Err(error) = read(objects, &sender).await {
                // A parser that has gone needs no error.
                let _ = sender.send(Err(error)).await;
            }
        });
        Self { chunks }
    }
}

impl BlockSource for ObjectBlocks {
    fn next_block(&mut self) -> io::Result<Option<Chunk>> {
        self.chunks.blocking_recv().transpose()
    }
}

async fn read(objects: Vec<StoredObject>, chunks: &Sender<io::Result<Chunk>>) -> io::Result<()> {
    for StoredObject { store, path } in objects {
        let mut stream = store.get(&path).await.map_err(io::Error::other)?.into_stream();
        let mut gathered = BytesMut::new();
        while let Some(piece) = stream.next().await {
            let piece: Bytes = piece.map_err(io::Error::other)?;
            if gathered.is_empty() && piece.len() >= CHUNK_BYTES {
                if chunks.send(Ok(Chunk::Bytes(piece))).await.is_err() {
                    return Ok(());
                }
                continue;
            }
            gathered.extend_from_slice(&piece);
            if gathered.len() >= CHUNK_BYTES && chunks.send(Ok(Chunk::Bytes(gathered.split().freeze()))).await.is_err()
            {
                return Ok(());
            }
        }
        let rest = gathered.freeze();
        let closed = !rest.is_empty() && chunks.send(Ok(Chunk::Bytes(rest))).await.is_err();
        if closed || chunks.send(Ok(Chunk::ObjectEnd)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
