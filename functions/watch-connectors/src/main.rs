//! The function's process.

use watch_connectors::WatchConnectors;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve::<WatchConnectors>().await
}
