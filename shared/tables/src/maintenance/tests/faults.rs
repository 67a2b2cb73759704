//! A process that ends at any request, and the next one that finds what it left.

use super::super::*;
use super::support::*;

/// An old table with everything to do: a checkpoint, a merge, a log and files to clean up.
async fn neglected() -> Table {
    let store = TestStore::at(1_000 * DAY);
    let mut table = Table::new(&store);
    let policy = Policy { small_files_after_commits: 1_000, ..eager() };
    table.append(10).await;
    table.maintain(&policy, Work::AfterCommits).await.unwrap();
    let file = table.files().await.swap_remove(0);
    table.commit(vec![file], 1).await;
    store.set(1_010 * DAY);
    table.append(9).await;
    table
}

#[tokio::test]
async fn a_maintenance_that_ends_at_any_request_is_finished_by_the_next() {
    let mut whole = neglected().await;
    whole.store.take_calls();
    let done = whole.maintain(&eager(), Work::Full).await.unwrap();
    assert!(done.files_merged > 0 && done.log_files_deleted > 0 && done.data_files_deleted > 0, "{done:?}");
    assert_eq!(done.checkpoint, Some(20));
    let (log, files) = (format!("{PATH}/_delta_log"), PATH);
    let expected = (whole.store.names(&log).await, whole.store.names(files).await);
    for strikes in [Strikes::Before, Strikes::After] {
        let mut number = 0;
        loop {
            let mut table = neglected().await;
            table.store.fail(number, strikes);
            let maintenance = Maintenance::new(table.store.clone(), eager());
            let outcome = maintenance.maintain(PATH, Work::Full, table.store.now()).await;
            if !table.store.heal() {
                assert_eq!(outcome.unwrap(), done);
                break;
            }
            outcome.unwrap_err();
            table.follow_log().await;
            table.check(&eager()).await;
            table.maintain(&eager(), Work::Full).await.unwrap();
            table.check(&eager()).await;
            let found = (table.store.names(&log).await, table.store.names(files).await);
            assert_eq!(found.1, expected.1, "call {number} failed {strikes:?}");
            // A checkpoint more or less is no difference to a reader.
            let commits = |names: &[String]| names.iter().filter(|name| name.ends_with(".json")).cloned().collect();
            let (found, expected): (Vec<_>, Vec<_>) = (commits(&found.0), commits(&expected.0));
            assert_eq!(found, expected, "call {number} failed {strikes:?}");
            number += 1;
        }
        assert!(number > 20, "{number} calls");
    }
}
