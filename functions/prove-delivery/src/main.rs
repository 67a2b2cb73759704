//! The function's process.

use prove_delivery::ProveDelivery;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve::<ProveDelivery>().await
}
