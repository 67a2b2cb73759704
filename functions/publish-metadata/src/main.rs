//! The function's process.

use publish_metadata::PublishMetadata;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve_batch::<PublishMetadata>().await
}
