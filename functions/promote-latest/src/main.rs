//! The function's process.

use promote_latest::PromoteLatest;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve::<PromoteLatest>().await
}
