//! The function's process.

use accept_run::AcceptRun;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve_batch::<AcceptRun>().await
}
