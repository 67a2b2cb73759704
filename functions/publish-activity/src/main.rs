//! The function's process.

use publish_activity::PublishActivity;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve_groups::<PublishActivity>().await
}
