//! The function's process.

use provision_connector::ProvisionConnector;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve::<ProvisionConnector>().await
}
