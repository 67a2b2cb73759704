//! The function's process.

use publish_run::PublishRun;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve::<PublishRun>().await
}
