//! The function's process.

use stage_run::StageRun;

// Parsing has threads of its own; two workers move bytes beside them.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve::<StageRun>().await
}
