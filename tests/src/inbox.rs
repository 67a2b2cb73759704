//! A consumer of the stack's events: a rule of its own on the bus, and a queue behind it.

use aws_sdk_eventbridge::types::Target;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};

use crate::runs::unique;
use crate::stack::{Stack, until};

/// One event as its consumer gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The event's name.
    pub name: String,
    /// The detail.
    pub detail: Value,
    /// The whole event.
    pub whole: Value,
}

impl Told {
    /// The id by which a consumer knows an event that comes twice.
    #[must_use]
    pub fn id(&self) -> &str {
        self.detail["eventId"].as_str().unwrap()
    }
}

/// The events about one connector.
#[derive(Debug)]
pub struct Inbox {
    stack: Stack,
    client: aws_sdk_eventbridge::Client,
    bus: String,
    rule: String,
    queue_url: String,
    told: Vec<Told>,
}

impl Inbox {
    /// Begins to listen, before the connector is there.
    pub async fn of_connector(stack: &Stack, connector: &str) -> Self {
        let client = aws_sdk_eventbridge::Client::new(&stack.config);
        let (rule, bus) = (format!("inbox-{}", unique()), stack.output("EventBusName").to_owned());
        let queue_url = stack.sqs.create_queue().queue_name(&rule).send().await.unwrap().queue_url.unwrap();
        let described = stack
            .sqs
            .get_queue_attributes()
            .queue_url(&queue_url)
            .attribute_names(QueueAttributeName::QueueArn)
            .send()
            .await
            .unwrap();
        let arn = described.attributes().unwrap()[&QueueAttributeName::QueueArn].clone();
        let policy = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage",
            "Resource": arn,
        }]});
        let change = stack.sqs.set_queue_attributes().queue_url(&queue_url);
        change.attributes(QueueAttributeName::Policy, policy.to_string()).send().await.unwrap();
        let pattern = json!({"source": ["spillway"], "detail": {"connectorId": [connector]}}).to_string();
        client.put_rule().name(&rule).event_bus_name(&bus).event_pattern(pattern).send().await.unwrap();
        let target = Target::builder().id("inbox").arn(arn).build().unwrap();
        client.put_targets().rule(&rule).event_bus_name(&bus).targets(target).send().await.unwrap();
        Self { stack: stack.clone(), client, bus, rule, queue_url, told: Vec::new() }
    }

    /// Waits until so many events with different ids came, and returns each of them once, in the order in which they
    /// came first.
    ///
    /// # Panics
    ///
    /// Panics if two events with one id are different.
    pub async fn told(&mut self, count: usize) -> Vec<Told> {
        let found = std::mem::take(&mut self.told);
        let mut all = found;
        until(&format!("{count} events come"), async || {
            all.extend(self.receive().await);
            (once(&all).len() >= count).then_some(())
        })
        .await;
        self.told = all;
        once(&self.told)
    }

    /// Every event that came until now, duplicates too.
    #[must_use]
    pub fn came(&self) -> &[Told] {
        &self.told
    }

    async fn receive(&self) -> Vec<Told> {
        let answer = self.stack.sqs.receive_message().queue_url(&self.queue_url).max_number_of_messages(10);
        let answer = answer.send().await.unwrap();
        let mut told = Vec::new();
        for message in answer.messages() {
            let whole: Value = serde_json::from_str(message.body().unwrap()).unwrap();
            let (name, detail) = (whole["detail-type"].as_str().unwrap().to_owned(), whole["detail"].clone());
            told.push(Told { name, detail, whole });
            let delete = self.stack.sqs.delete_message().queue_url(&self.queue_url);
            delete.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
        }
        told
    }

    /// Stops listening, and takes what it made away.
    pub async fn close(self) {
        let (rule, bus) = (&self.rule, &self.bus);
        self.client.remove_targets().rule(rule).event_bus_name(bus).ids("inbox").send().await.unwrap();
        self.client.delete_rule().name(rule).event_bus_name(bus).send().await.unwrap();
        self.stack.sqs.delete_queue().queue_url(&self.queue_url).send().await.unwrap();
    }
}

fn once(told: &[Told]) -> Vec<Told> {
    let mut each: Vec<Told> = Vec::new();
    for event in told {
        match each.iter().find(|known| known.id() == event.id()) {
            Some(known) => assert_eq!((&known.name, &known.detail), (&event.name, &event.detail), "one id, one event"),
            None => each.push(event.clone()),
        }
    }
    each
}
