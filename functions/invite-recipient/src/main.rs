//! The function's process.

use invite_recipient::InviteRecipient;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve::<InviteRecipient>().await
}
