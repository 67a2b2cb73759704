//! The function's process.

use change_connector::ChangeConnector;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve::<ChangeConnector>().await
}
