//! The function's process.

use publish_reads::PublishReads;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve::<PublishReads>().await
}
