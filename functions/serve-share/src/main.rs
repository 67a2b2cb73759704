//! The function's process.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    serve_share::serve().await
}
