//! The function's process.

use redrive_messages::RedriveMessages;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve::<RedriveMessages>().await
}
