//! The function's process.

use plan_backfill::PlanBackfill;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve::<PlanBackfill>().await
}
