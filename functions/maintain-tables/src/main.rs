//! The function's process.

use maintain_tables::MaintainTables;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve_batch::<MaintainTables>().await
}
