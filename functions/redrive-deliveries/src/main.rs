//! The function's process.

use redrive_deliveries::RedriveDeliveries;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve::<RedriveDeliveries>().await
}
