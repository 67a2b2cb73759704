//! The real adapters keep the rules that the in-memory ones keep: the same suites, on the local stack.

use std::sync::Arc;

use aws::dynamo::DynamoStore;
use aws::sqs::SqsDeadLetterQueue;
use delivery::staged::StagedFile;
use object_store::{ObjectStoreExt, PutPayload};
use tables::log::ObjectStoreTableLog;
use testkit::budget::request_budget_contract;
use testkit::builders::connector;
use testkit::recipient_contract::recipient_backend_contract;
use testkit::token_contract::recipient_token_contract;
use testkit::{
    backfill_contract, lake, metadata_contract as metadata, redrive, sharing as sharing_contract,
    state_contract as state,
};
use tests::{Stack, unique};

fn store(stack: &Stack) -> DynamoStore {
    DynamoStore::new(&stack.config, stack.output("StateTableName"))
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_keeps_the_rules_of_the_state_ports() {
    let stack = Stack::of_this_test();
    let store = store(&stack);
    let prefix = format!("c{}", unique());
    state::run_store_contract(&store, &store, &prefix).await;
    state::delivery_store_contract(&store, &prefix).await;
    state::table_store_contract(&store, &prefix).await;
    state::load_contract(&store, &store, &store, &prefix).await;
    state::batch_contract(&store, &store, &prefix).await;
    state::rollout_store_contract(&store, &store, &store, &prefix).await;
    state::connector_store_contract(&store, &store, &prefix).await;
    state::sharing_backend_contract(&store, &prefix).await;
    let recipient = connector("any", "any").recipient;
    recipient_backend_contract(&store, &store, &recipient, &prefix).await;
    redrive::undelivered_contract(&store, &store, &prefix).await;
    backfill_contract::backfill_store_contract(&store, &store, &store, &prefix).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_keeps_the_rules_of_the_metadata_ports() {
    let stack = Stack::of_this_test();
    let store = store(&stack);
    let prefix = format!("m{}", unique());
    metadata::outbox_contract(&store, &store, &prefix).await;
    metadata::delivered_run_contract(&store, &store, &store, &prefix).await;
    metadata::catalogue_contract(&store, &store, &store, &prefix).await;
    metadata::outbox_race_contract(&store, &store, &prefix).await;
    metadata::catalogue_race_contract(&store, &store, &prefix).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_lets_racers_agree() {
    let stack = Stack::of_this_test();
    let store = store(&stack);
    let prefix = format!("r{}", unique());
    state::run_store_race_contract(&store, &prefix).await;
    state::table_store_race_contract(&store, &prefix).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_keeps_the_rules_of_the_sharing_ports() {
    let stack = Stack::of_this_test();
    let store = store(&stack);
    let prefix = format!("s{}", unique());
    sharing_contract::share_catalog_contract(&store, &store, &store, &prefix).await;
    sharing_contract::activation_store_contract(&store, &store, &prefix).await;
    recipient_token_contract(&store, &format!("h{}", unique())).await;
    request_budget_contract(&store, &prefix).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_rules_of_a_table_log() {
    let stack = Stack::of_this_test();
    let bucket = stack.bucket("TablesBucketName");
    let key = format!("staging/contract/{}", unique());
    bucket.put(&key.as_str().into(), PutPayload::from_static(b"not really parquet")).await.unwrap();
    let staged = StagedFile { key, size_bytes: 18, rows: 1, statistics: "{\"numRecords\":1}".to_owned() };
    let log = ObjectStoreTableLog::new(Arc::new(bucket));
    let prefix = format!("c{}", unique());
    lake::table_log_contract(&log, &staged, &prefix).await;
    // Tables of a contract are no tables that anybody could open.
    for key in stack.keys("TablesBucketName", "connectors").await {
        if key.starts_with(&format!("connectors/{prefix}")) {
            stack.delete("TablesBucketName", &key).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqs_keeps_the_rules_of_a_dead_letter_queue() {
    let stack = Stack::of_this_test();
    let queue = async |suffix: &str| {
        let name = format!("contract-{}{suffix}", unique());
        let request = stack.sqs.create_queue().queue_name(&name);
        let request = if suffix.is_empty() {
            request
        } else {
            request.attributes(aws_sdk_sqs::types::QueueAttributeName::FifoQueue, "true")
        };
        request.send().await.unwrap().queue_url.unwrap()
    };
    for suffix in ["", ".fifo"] {
        let (dead_letters, source) = (queue(suffix).await, queue(suffix).await);
        let bodies = ["first body", "second body", "third body"];
        for body in bodies {
            let request = stack.sqs.send_message().queue_url(&dead_letters).message_body(body);
            let request = if suffix.is_empty() {
                request
            } else {
                request.message_group_id("a-connector").message_deduplication_id(unique())
            };
            request.send().await.unwrap();
        }
        let adapter = SqsDeadLetterQueue::new(&stack.config, &dead_letters, &source);
        let sent = redrive::dead_letter_queue_contract(&adapter, &bodies).await;
        let received = stack.sqs.receive_message().queue_url(&source).max_number_of_messages(10).send().await.unwrap();
        let mut back: Vec<_> = received.messages().iter().map(|message| message.body().unwrap().to_owned()).collect();
        let mut sent = sent.clone();
        back.sort();
        sent.sort();
        assert_eq!(back, sent, "{suffix}: as they came, and in one group");
        for url in [dead_letters, source] {
            stack.sqs.delete_queue().queue_url(url).send().await.unwrap();
        }
    }
}
