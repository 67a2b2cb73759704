//! The stack that `cargo xtask test` started: an operator's and a producer's calls, a recipient's clients.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::QueueAttributeName;
use futures::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutPayload};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::root;
use crate::runs::{contact_of, set_up_input, unique};

/// How long anything on the local stack may take before a test calls it stuck.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// `stack.json`, as far as the tests need it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StackFile {
    /// The AWS endpoint.
    pub aws_endpoint: String,
    /// The region.
    pub region: String,
    /// The root's key.
    pub access_key_id: String,
    /// The root's secret.
    pub secret_access_key: String,
    /// The stack outputs.
    pub outputs: BTreeMap<String, String>,
    /// The endpoint of a profile.
    pub sharing_endpoint: String,
    /// The URL that lists sent e-mails.
    pub mailbox: String,
    /// The gateway's admin URL.
    pub gateway_admin: String,
    /// The Databricks workspace.
    pub databricks: DatabricksFile,
}

/// The Databricks workspace of `stack.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabricksFile {
    /// The workspace's URL.
    pub host: String,
    /// The stack's service principal.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Somebody else's service principal.
    pub other_client_id: String,
    /// Its secret.
    pub other_client_secret: String,
    /// The catalog of the connectors' schemas.
    pub catalog: String,
}

/// The stack, as its operator, its producer and its recipients reach it.
#[derive(Debug, Clone)]
pub struct Stack {
    /// Its description.
    pub file: StackFile,
    /// The SDK's configuration, as the account's root.
    pub config: aws_config::SdkConfig,
    /// SQS, as the account's root.
    pub sqs: aws_sdk_sqs::Client,
    /// Step Functions, as the account's root.
    pub sfn: aws_sdk_sfn::Client,
    /// DynamoDB, as the account's root.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// Plain HTTP.
    pub http: reqwest::Client,
    /// The Python of the local stack's environment.
    pub python: PathBuf,
    profiles: PathBuf,
    /// Each with its client, which takes a while to make.
    buckets: Arc<Mutex<BTreeMap<String, AmazonS3>>>,
}

/// A delivery's record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// The state.
    pub state: String,
    /// The failure's phase.
    pub phase: Option<String>,
    /// The failure's code.
    pub code: Option<String>,
    /// The failure's message.
    pub message: Option<String>,
    /// Every attribute, numbers as text.
    pub attributes: BTreeMap<String, String>,
}

/// An ended execution.
#[derive(Debug, Clone)]
pub struct Execution {
    /// Its ARN.
    pub arn: String,
    /// `SUCCEEDED`, `FAILED`, …
    pub status: String,
    /// The error name, if it failed.
    pub error: Option<String>,
    /// The cause, if it failed.
    pub cause: Option<String>,
    /// The output, if it succeeded.
    pub output: Option<String>,
}

impl Stack {
    /// The stack that `cargo xtask test` started for the tests.
    ///
    /// # Panics
    ///
    /// Panics if there is none.
    #[must_use]
    pub fn of_this_test() -> Self {
        let variable = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run the tests with `cargo xtask test`"))
        };
        let path = PathBuf::from(variable("SPILLWAY_STACK_FILE"));
        let file: StackFile = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let credentials =
            aws_credential_types::Credentials::from_keys(&file.access_key_id, &file.secret_access_key, None);
        let config = aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::new(file.region.clone()))
            .endpoint_url(file.aws_endpoint.clone())
            .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(credentials))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(
                aws_smithy_async::rt::sleep::TokioSleep::new(),
            ))
            .build();
        Self {
            sqs: aws_sdk_sqs::Client::new(&config),
            sfn: aws_sdk_sfn::Client::new(&config),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            config,
            http: reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap(),
            python: variable("SPILLWAY_PYTHON").into(),
            profiles: path.parent().unwrap().join("profiles"),
            buckets: Arc::default(),
            file,
        }
    }

    /// Lets retries of the state machines come at once: a test waits for what happens, not for time.
    pub async fn without_waits(&self) {
        let answer = self
            .http
            .post(format!("{}/_ministack/config", self.file.aws_endpoint))
            .json(&json!({"stepfunctions._SFN_WAIT_SCALE": 0}))
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// Where the stack's logs lie.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.profiles.parent().unwrap()
    }

    /// Where the tests keep the profiles that they download.
    #[must_use]
    pub fn profiles(&self) -> &Path {
        &self.profiles
    }

    /// A stack output.
    #[must_use]
    pub fn output(&self, name: &str) -> &str {
        self.file.outputs.get(name).unwrap_or_else(|| panic!("the stack has no output {name}"))
    }

    /// One of the stack's buckets.
    #[must_use]
    pub fn bucket(&self, output: &str) -> AmazonS3 {
        let mut buckets = self.buckets.lock().unwrap();
        let made = buckets.entry(output.to_owned()).or_insert_with(|| self.client_of(self.output(output)));
        made.clone()
    }

    fn client_of(&self, bucket: &str) -> AmazonS3 {
        AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&self.file.region)
            .with_endpoint(&self.file.aws_endpoint)
            .with_access_key_id(&self.file.access_key_id)
            .with_secret_access_key(&self.file.secret_access_key)
            .with_allow_http(true)
            .build()
            .unwrap()
    }

    /// Writes an object of the run-output bucket.
    pub async fn put_output(&self, key: &str, bytes: impl Into<PutPayload>) {
        self.bucket("RunOutputBucketName").put(&key.into(), bytes.into()).await.unwrap();
    }

    /// Every key of a bucket below a prefix.
    pub async fn keys(&self, output: &str, prefix: &str) -> Vec<String> {
        let objects: Vec<_> = self.bucket(output).list(Some(&prefix.into())).try_collect().await.unwrap();
        objects.into_iter().map(|object| object.location.to_string()).collect()
    }

    /// An object of a bucket, if it is there.
    pub async fn object(&self, output: &str, key: &str) -> Option<Vec<u8>> {
        match self.bucket(output).get(&key.into()).await {
            Ok(found) => Some(found.bytes().await.unwrap().to_vec()),
            Err(object_store::Error::NotFound { .. }) => None,
            Err(error) => panic!("{key}: {error}"),
        }
    }

    /// Deletes an object of a bucket.
    pub async fn delete(&self, output: &str, key: &str) {
        self.bucket(output).delete(&key.into()).await.unwrap();
    }

    /// Sends a run-completed message.
    pub async fn send(&self, body: &str) {
        self.send_to("RunCompletedQueueUrl", body).await;
    }

    /// Sends a message to the queue of a stack output.
    pub async fn send_to(&self, output: &str, body: &str) {
        self.sqs.send_message().queue_url(self.output(output)).message_body(body).send().await.unwrap();
    }

    /// Asks for a table's maintenance, as the schedule does.
    pub async fn maintain(&self, connector: &str, table: &str) {
        let message = json!({"connectorId": connector, "table": table, "work": "full"}).to_string();
        let queue = self.queue("MaintenanceQueue").await;
        self.sqs.send_message().queue_url(queue).message_body(message).send().await.unwrap();
    }

    /// Lets messages of a queue whose function ended in the middle come again soon.
    pub async fn redeliver_soon(&self, queue: &str) {
        let change = self.sqs.set_queue_attributes().queue_url(self.queue(queue).await);
        change.attributes(QueueAttributeName::VisibilityTimeout, "2").send().await.unwrap();
    }

    /// The URL of a queue by its name in the template.
    pub async fn queue(&self, name: &str) -> String {
        let queues = self.sqs.list_queues().send().await.unwrap();
        let named = queues.queue_urls().iter().find(|url| url.contains(name));
        named.unwrap_or_else(|| panic!("there is no queue {name}")).clone()
    }

    /// Runs a state machine to its end.
    pub async fn execute(&self, machine: &str, input: &Value) -> Execution {
        let started = self.start(machine, input).await;
        self.ended(&started).await
    }

    /// Starts a state machine and returns the execution's ARN.
    pub async fn start(&self, machine: &str, input: &Value) -> String {
        let started = self
            .sfn
            .start_execution()
            .state_machine_arn(self.output(&format!("{machine}Arn")))
            .name(format!("test-{}", unique()))
            .input(input.to_string())
            .send()
            .await
            .unwrap();
        started.execution_arn().to_owned()
    }

    /// Waits for the end of an execution.
    pub async fn ended(&self, execution: &str) -> Execution {
        until("an execution ends", async || self.execution(execution).await).await
    }

    /// An execution, if it has ended.
    pub async fn execution(&self, execution: &str) -> Option<Execution> {
        let now = self.sfn.describe_execution().execution_arn(execution).send().await.unwrap();
        (now.status().as_str() != "RUNNING").then(|| Execution {
            arn: execution.to_owned(),
            status: now.status().as_str().to_owned(),
            error: now.error().map(str::to_owned),
            cause: now.cause().map(str::to_owned),
            output: now.output().map(str::to_owned),
        })
    }

    /// How often an execution entered a task.
    pub async fn tasks_entered(&self, execution: &Execution) -> usize {
        let history = self.sfn.get_execution_history().execution_arn(&execution.arn).max_results(1_000);
        let history = history.send().await.unwrap();
        history.events().iter().filter(|event| event.r#type().as_str() == "TaskStateEntered").count()
    }

    /// Sets a connector for a token recipient up, with properties on top of the least.
    pub async fn set_up(&self, connector: &str, team: &str, more: Value) -> Execution {
        self.without_waits().await;
        self.execute("SetupConnector", &set_up_input(connector, team, more)).await
    }

    /// Sets a connector up and returns the recipient's profile file.
    pub async fn ready_connector(&self, connector: &str, team: &str, more: Value) -> PathBuf {
        let ended = self.set_up(connector, team, more).await;
        assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
        self.activate(connector).await
    }

    /// Presses the button behind the newest link that was e-mailed to a connector's contact, and keeps the profile.
    pub async fn activate(&self, connector: &str) -> PathBuf {
        let link = self.activation_links(connector).await.pop().expect("an activation link in the mailbox");
        let answer = self.http.post(link).send().await.unwrap();
        assert_eq!(answer.status(), 200, "the button hands the profile out");
        std::fs::create_dir_all(&self.profiles).unwrap();
        let path = self.profiles.join(format!("{connector}.share"));
        std::fs::write(&path, answer.text().await.unwrap()).unwrap();
        path
    }

    /// The links in the e-mails to a connector's contact, oldest first.
    pub async fn activation_links(&self, connector: &str) -> Vec<String> {
        let mut links = Vec::new();
        for mail in self.mails(connector).await {
            let link = mail.split("http").skip(1).find(|rest| rest.contains("/activate/")).expect("a link");
            let end = link.find(|c: char| c.is_whitespace() || "\"\\<>".contains(c)).unwrap_or(link.len());
            links.push(format!("http{}", &link[..end]));
        }
        links
    }

    /// The e-mails to a connector's contact, oldest first, as the mailbox has them.
    pub async fn mails(&self, connector: &str) -> Vec<String> {
        let contact = contact_of(connector);
        let mailbox: Value = self.http.get(&self.file.mailbox).send().await.unwrap().json().await.unwrap();
        // By account, and there is one.
        let accounts = mailbox["messages"].as_object().expect("the mailbox's messages");
        let mails = accounts.values().filter_map(Value::as_array).flatten().map(Value::to_string);
        mails.filter(|mail| mail.contains(&contact)).collect()
    }

    /// Whether a text is anywhere in the state table.
    pub async fn state_holds(&self, text: &str) -> bool {
        let mut pages = self.dynamodb.scan().table_name(self.output("StateTableName")).into_paginator().send();
        while let Some(page) = pages.next().await {
            if page.unwrap().items().iter().any(|item| format!("{item:?}").contains(text)) {
                return true;
            }
        }
        false
    }

    /// The texts and numbers of an item of the state table.
    pub async fn item(&self, pk: &str, sk: &str) -> BTreeMap<String, String> {
        let found = self
            .dynamodb
            .get_item()
            .table_name(self.output("StateTableName"))
            .consistent_read(true)
            .key("pk", AttributeValue::S(pk.to_owned()))
            .key("sk", AttributeValue::S(sk.to_owned()))
            .send()
            .await
            .unwrap();
        let text = |(name, value)| {
            if let AttributeValue::S(text) | AttributeValue::N(text) = value { Some((name, text)) } else { None }
        };
        found.item.into_iter().flatten().filter_map(text).collect()
    }

    /// A delivery's record, if there is one.
    pub async fn delivery(&self, connector: &str, workflow: &str, run: &str) -> Option<DeliveryRecord> {
        let item = self
            .dynamodb
            .get_item()
            .table_name(self.output("StateTableName"))
            .consistent_read(true)
            .key("pk", AttributeValue::S(format!("CONNECTOR#{connector}")))
            .key("sk", AttributeValue::S(format!("DELIVERY#{workflow}#{run}")))
            .send()
            .await
            .unwrap()
            .item?;
        let mut attributes = BTreeMap::new();
        for (name, value) in item {
            if let AttributeValue::S(text) | AttributeValue::N(text) = value {
                attributes.insert(name, text);
            }
        }
        Some(DeliveryRecord {
            state: attributes.get("state").cloned().unwrap_or_default(),
            phase: attributes.get("phase").cloned(),
            code: attributes.get("code").cloned(),
            message: attributes.get("message").cloned(),
            attributes,
        })
    }

    /// Waits until a run is recorded, wanted or not.
    pub async fn recorded(&self, team: &str, workflow: &str, run: &str) {
        until("a run is recorded", async || {
            let item = self
                .dynamodb
                .get_item()
                .table_name(self.output("StateTableName"))
                .consistent_read(true)
                .key("pk", AttributeValue::S(format!("RUNS#{team}#{workflow}")))
                .key("sk", AttributeValue::S(format!("RUN#{run}")))
                .send()
                .await
                .unwrap();
            item.item.map(|_| ())
        })
        .await;
    }

    /// Waits until a delivery is `shared` or `failed`.
    pub async fn delivered(&self, connector: &str, workflow: &str, run: &str) -> DeliveryRecord {
        until("a delivery ends", async || {
            self.delivery(connector, workflow, run).await.filter(|d| d.state == "shared" || d.state == "failed")
        })
        .await
    }

    /// Takes a message out of a dead-letter queue whose body holds a text: body and attributes.
    pub async fn refused(&self, output: &str, holding: &str) -> Option<(String, BTreeMap<String, String>)> {
        let queue = self.output(output);
        let received = self
            .sqs
            .receive_message()
            .queue_url(queue)
            .max_number_of_messages(10)
            .visibility_timeout(0)
            .message_attribute_names("All")
            .send()
            .await
            .unwrap();
        let message = received.messages().iter().find(|m| m.body().unwrap_or_default().contains(holding))?;
        let text =
            |value: &aws_sdk_sqs::types::MessageAttributeValue| value.string_value().unwrap_or_default().to_owned();
        let attributes = message.message_attributes().into_iter().flatten();
        let attributes = attributes.map(|(name, value)| (name.clone(), text(value))).collect();
        let handle = message.receipt_handle().unwrap();
        self.sqs.delete_message().queue_url(queue).receipt_handle(handle).send().await.unwrap();
        Some((message.body().unwrap().to_owned(), attributes))
    }

    /// How many messages wait in a queue or are being worked on.
    pub async fn queue_depth(&self, output: &str) -> u64 {
        let found = self
            .sqs
            .get_queue_attributes()
            .queue_url(self.output(output))
            .attribute_names(QueueAttributeName::All)
            .send()
            .await
            .unwrap();
        let count = |name: QueueAttributeName| {
            found.attributes().and_then(|all| all.get(&name)).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
        };
        count(QueueAttributeName::ApproximateNumberOfMessages)
            + count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
    }

    /// Runs one of the Python programs in `clients/` and returns the lines that it printed, or its error text.
    ///
    /// # Errors
    ///
    /// Returns what the program wrote to standard error, if it failed.
    pub async fn client(&self, program: &str, arguments: &[&str]) -> Result<Vec<String>, String> {
        let output = tokio::process::Command::new(&self.python)
            .arg(root().join("tests/clients").join(program))
            .args(arguments)
            .env("AWS_ENDPOINT_URL", &self.file.aws_endpoint)
            .env("AWS_ACCESS_KEY_ID", &self.file.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", &self.file.secret_access_key)
            .env("AWS_REGION", &self.file.region)
            .env("AWS_DEFAULT_REGION", &self.file.region)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Calls the gateway's admin API.
    pub async fn gateway(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
        let mut request = self.http.request(method, format!("{}{path}", self.file.gateway_admin));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
    }
}

/// Asks again and again until there is an answer.
///
/// # Panics
///
/// Panics after [`PATIENCE`].
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("waited {} s in vain until {what}", PATIENCE.as_secs());
}
