//! A dead-letter queue in memory, and the rules that every list of undelivered deliveries and every dead-letter queue
//! keeps.

use std::sync::Mutex;

use async_trait::async_trait;
use delivery::failure::FailureCode;
use delivery::ports::{DeadLetterQueue, DeliveryStore, PortError, UndeliveredDeliveries};
use delivery::redrive::{DeadLetter, QueueDepth, Undelivered};
use delivery::state::{DeliveryState, Ended, Failure, Step};
use delivery::table::{Membership, SchemaVersion, TableName, VersionTable, WorkflowLabel};
use delivery::timestamp::Timestamp;

use crate::builders::{connector_id, delivered_run, delivery_key, instant, run_key, schema_of, workflow_id};
use crate::faults::Faults;

/// A dead-letter queue in memory, and the queue that it sends back to.
#[derive(Debug, Default)]
pub struct InMemoryDeadLetters {
    /// Faults of its calls.
    pub faults: Faults,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    letters: Vec<(DeadLetter, bool)>,
    source: Vec<String>,
}

impl InMemoryDeadLetters {
    /// Puts a message into the dead-letter queue.
    pub fn put(&self, body: &str, sent_at: Timestamp) {
        self.with(|inner| {
            let id = format!("m-{}", inner.letters.len() + inner.source.len());
            let (receipt, body) = (format!("receipt of {id}"), body.to_owned());
            inner.letters.push((DeadLetter { receipt, id, group: None, body, sent_at }, false));
        });
    }

    /// The bodies in the dead-letter queue, hidden ones too.
    #[must_use]
    pub fn dead(&self) -> Vec<String> {
        self.with(|inner| inner.letters.iter().map(|(letter, _)| letter.body.clone()).collect())
    }

    /// The bodies that were sent back.
    #[must_use]
    pub fn sent_back(&self) -> Vec<String> {
        self.with(|inner| inner.source.clone())
    }

    /// Lets hidden messages be seen again, as time does.
    pub fn show_hidden(&self) {
        self.with(|inner| inner.letters.iter_mut().for_each(|(_, hidden)| *hidden = false));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

#[async_trait]
impl DeadLetterQueue for InMemoryDeadLetters {
    async fn receive(&self, limit: usize) -> Result<Vec<DeadLetter>, PortError> {
        self.faults.call("receive messages", || {
            Ok(self.with(|inner| {
                let shown = inner.letters.iter_mut().filter(|(_, hidden)| !hidden).take(limit);
                shown
                    .map(|(letter, hidden)| {
                        *hidden = true;
                        letter.clone()
                    })
                    .collect()
            }))
        })
    }

    async fn send_back(&self, letter: &DeadLetter) -> Result<(), PortError> {
        self.faults.call("send a message back", || {
            self.with(|inner| inner.source.push(letter.body.clone()));
            Ok(())
        })
    }

    async fn depth(&self) -> Result<QueueDepth, PortError> {
        self.faults.call("count the messages", || {
            Ok(self.with(|inner| {
                let hidden = inner.letters.iter().filter(|(_, hidden)| *hidden).count() as u64;
                QueueDepth { visible: inner.letters.len() as u64 - hidden, hidden }
            }))
        })
    }

    async fn remove(&self, letter: &DeadLetter) -> Result<(), PortError> {
        self.faults.call("take a message out", || {
            self.with(|inner| inner.letters.retain(|(kept, _)| kept.receipt != letter.receipt));
            Ok(())
        })
    }

    async fn release(&self, letter: &DeadLetter) -> Result<(), PortError> {
        self.faults.call("show a message again", || {
            self.with(|inner| {
                let released = inner.letters.iter_mut().filter(|(kept, _)| kept.receipt == letter.receipt);
                released.for_each(|(_, hidden)| *hidden = false);
            });
            Ok(())
        })
    }
}

/// The rules of [`UndeliveredDeliveries`].
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn undelivered_contract(deliveries: &dyn DeliveryStore, list: &dyn UndeliveredDeliveries, prefix: &str) {
    let connector = connector_id(&format!("{prefix}-u-1"));
    let key = |run: &str| delivery_key(&connector, &run_key(&format!("{prefix}-team"), "w-1", run));
    let all = async || list.undelivered(&connector, None, 10).await.expect("list");
    let short = |found: &[Undelivered]| {
        let one = |delivery: &Undelivered| (delivery.key.run.run.as_str().to_owned(), delivery.state, delivery.failed);
        found.iter().map(one).collect::<Vec<_>>()
    };
    let entered = |run: &str, step| (run.to_owned(), DeliveryState::InProgress(step), None);
    let failed = |run: &str, code, at| (run.to_owned(), DeliveryState::Failed, Some((code, instant(at))));
    assert_eq!(all().await, [], "nothing is owed yet");

    let failure = |code| Ended::Failed(Failure { code, message: "it failed".to_owned() });
    deliveries.enter(&[key("r-3")], Step::Staging, instant(10)).await.expect("enter");
    deliveries.enter(&[key("r-1")], Step::Staging, instant(20)).await.expect("enter");
    deliveries.end(&[(key("r-2"), failure(FailureCode::LoadConflict))], instant(100)).await.expect("end");
    let expected =
        [entered("r-3", Step::Staging), entered("r-1", Step::Staging), failed("r-2", FailureCode::LoadConflict, 100)];
    assert_eq!(short(&all().await), expected, "the one that waits longest comes first, in the order of time");
    assert_eq!(all().await[0].key, key("r-3"));

    let first = list.undelivered(&connector, None, 2).await.expect("list");
    assert_eq!(short(&first), expected[..2]);
    let rest = list.undelivered(&connector, Some(&first[1].position()), 2).await.expect("list");
    assert_eq!(short(&rest), expected[2..], "the next page begins behind the position");

    deliveries.end(&[(key("r-3"), failure(FailureCode::RowNotJson))], instant(110)).await.expect("end");
    assert_eq!(short(&all().await)[0], failed("r-3", FailureCode::RowNotJson, 110));
    deliveries.enter(&[key("r-3")], Step::Proving, instant(120)).await.expect("enter");
    assert_eq!(short(&all().await)[0], entered("r-3", Step::Proving), "it is owed since it was, whatever happened");
    assert_eq!(all().await[0].since, instant(10));

    let label = WorkflowLabel::preferred(&workflow_id("w-1"));
    let table = VersionTable {
        name: TableName::version(&label, SchemaVersion(1)),
        label,
        schema_version: SchemaVersion(1),
        fingerprint: schema_of("f-1").fingerprint(),
        table_version: None,
        shared: Membership::Unshared,
    };
    let shared = Ended::Shared(Box::new(delivered_run(&table, 5, instant(450))));
    deliveries.end(&[(key("r-3"), shared)], instant(130)).await.expect("end");
    deliveries.enter(&[key("r-3")], Step::Staging, instant(140)).await.expect("a late step is no error");
    assert_eq!(short(&all().await), expected[1..], "what is shared is owed no longer");
    let elsewhere = connector_id(&format!("{prefix}-u-2"));
    assert_eq!(list.undelivered(&elsewhere, None, 10).await.expect("list"), [], "each connector has its own");
}

/// The rules of [`DeadLetterQueue`]: `queue` holds these bodies and nothing else. Returns the bodies that were sent back,
/// in their order.
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn dead_letter_queue_contract(queue: &dyn DeadLetterQueue, bodies: &[&str]) -> Vec<String> {
    let mut sent = Vec::new();
    let mut released = false;
    while sent.len() < bodies.len() {
        let letters = queue.receive(2).await.expect("receive");
        assert!((1..=2).contains(&letters.len()), "no more than was asked for");
        let depth = queue.depth().await.expect("count");
        let left = (bodies.len() - sent.len()) as u64;
        let hidden = letters.len() as u64;
        assert_eq!(depth, QueueDepth { visible: left - hidden, hidden }, "what was received is hidden");
        for letter in letters {
            assert!(bodies.contains(&letter.body.as_str()), "a body is as it came");
            assert!(letter.sent_at.seconds() > 0);
            assert!(!format!("{letter:?}").contains(&letter.body), "a body is not printed");
            if !released {
                released = true;
                queue.release(&letter).await.expect("release");
                continue;
            }
            queue.send_back(&letter).await.expect("send");
            queue.remove(&letter).await.expect("remove");
            sent.push(letter.body);
        }
    }
    assert_eq!(queue.receive(10).await.expect("receive"), [], "what was released came again, and nothing is left");
    assert_eq!(queue.depth().await.expect("count"), QueueDepth::default(), "and nothing is hidden");
    sent
}
