//! The function's process.

use share_tables::ShareTables;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve::<ShareTables>().await
}
