//! What the other tests wrote, opened by packages that know nothing of us. Runs after them, by its name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests end at the first surprise"
)]

use tests::Place;

#[tokio::test(flavor = "multi_thread")]
async fn every_table_on_the_stack_is_opened_by_other_readers_and_they_agree() {
    let place = Place::new().await;
    place.deliver(&place.run()).await;
    let bucket = place.stack.output("TablesBucketName");
    let mut lines =
        place.stack.client("open_every_table.py", &[bucket]).await.unwrap_or_else(|error| panic!("{error}"));
    let count = lines.pop().expect("how many tables were opened");
    println!("{count}");
    assert!(lines.is_empty(), "{count}, but: {lines:#?}");
    let count: usize = count.split(' ').next().unwrap().parse().unwrap();
    assert!(count >= 2, "at least the tables of this test");
}
