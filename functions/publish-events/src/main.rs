//! The function's process.

use publish_events::PublishEvents;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve::<PublishEvents>().await
}
