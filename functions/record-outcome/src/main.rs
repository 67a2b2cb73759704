//! The function's process.

use record_outcome::RecordOutcome;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve::<RecordOutcome>().await
}
