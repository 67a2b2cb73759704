//! Queues, storage, parameters, outputs.

use std::collections::BTreeSet;

use delivery::ids::{RunId, RunKey, TeamId, WorkflowId};
use delivery::staged::{rejects_key, staged_file_key};
use serde_json::{Value, json};

use crate::document::{each, resources, template, texts};

/// A policy document's statement that denies everything that does not come over TLS.
fn denies_plain_text(policy: &Value, service: &str) -> bool {
    each(&policy["Properties"]["PolicyDocument"]["Statement"]).into_iter().any(|statement| {
        statement["Effect"] == "Deny"
            && statement["Principal"] == "*"
            && statement["Action"] == format!("{service}:*")
            && statement["Condition"] == json!({ "Bool": { "aws:SecureTransport": "false" } })
    })
}

#[test]
fn every_queue_is_encrypted_and_takes_no_plain_text() {
    let template = template();
    for (id, queue) in resources(&template, "AWS::SQS::Queue") {
        assert_eq!(queue["Properties"]["SqsManagedSseEnabled"], true, "{id}");
        let policy = &template["Resources"][format!("{id}Policy")];
        assert_eq!(policy["Properties"]["Queues"], json!([{ "Ref": id }]));
        assert!(denies_plain_text(policy, "sqs"), "{id}");
    }
}

#[test]
fn staged_files_and_rejects_expire_and_tables_do_not() {
    let template = template();
    let bucket = &template["Resources"]["TablesBucket"]["Properties"]["LifecycleConfiguration"]["Rules"];
    let expiring: Vec<_> =
        bucket.as_array().unwrap().iter().filter(|rule| !rule["ExpirationInDays"].is_null()).collect();
    let [rule] = expiring.as_slice() else { panic!("one rule expires objects: {expiring:?}") };
    assert_eq!(
        (&rule["Status"], &rule["ExpirationInDays"]),
        (&json!("Enabled"), &json!({"Ref": "StagingRetentionDays"}))
    );
    let prefix = rule["Prefix"].as_str().unwrap();
    let run = RunKey {
        team: TeamId::new("t").unwrap(),
        workflow: WorkflowId::new("w").unwrap(),
        run: RunId::new("r").unwrap(),
    };
    for key in [staged_file_key(&run, 0), rejects_key(&run)] {
        assert!(key.starts_with(prefix), "{key}");
    }
    assert!(!"connectors/".starts_with(prefix));
}

#[test]
fn a_message_that_is_received_too_often_is_put_aside() {
    let template = template();
    for (id, queue) in resources(&template, "AWS::SQS::Queue") {
        let redrive = &queue["Properties"]["RedrivePolicy"];
        if id.ends_with("DeadLetterQueue") {
            assert_eq!(*redrive, Value::Null, "{id}");
            continue;
        }
        let aside = format!("{}DeadLetterQueue", id.strip_suffix("Queue").unwrap());
        assert_eq!(redrive["deadLetterTargetArn"]["Fn::GetAtt"], format!("{aside}.Arn"));
        assert!((1..=10).contains(&redrive["maxReceiveCount"].as_u64().unwrap()), "{id}");
        let kept = |id: &str| template["Resources"][id]["Properties"]["MessageRetentionPeriod"].as_u64().unwrap();
        assert_eq!(kept(&aside), 1_209_600, "14 days, the longest that SQS keeps a message");
    }
}

#[test]
fn messages_fail_one_by_one_and_wait_longer_than_their_function_runs() {
    let template = template();
    let mappings = resources(&template, "AWS::Lambda::EventSourceMapping");
    assert!(mappings.contains_key("AcceptRunQueueMapping") && mappings.contains_key("PublishActivityQueueMapping"));
    for (id, mapping) in mappings.into_iter().filter(|(id, _)| id.ends_with("QueueMapping")) {
        let mapping = &mapping["Properties"];
        assert_eq!(mapping["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]), "{id}");
        assert!(mapping["ScalingConfig"]["MaximumConcurrency"].is_u64(), "{id}");
        let queue = mapping["EventSourceArn"]["Fn::GetAtt"].as_str().unwrap().strip_suffix(".Arn").unwrap();
        let function = mapping["FunctionName"]["Ref"].as_str().unwrap();
        let hidden = template["Resources"][queue]["Properties"]["VisibilityTimeout"].as_u64().unwrap();
        let runs = template["Resources"][function]["Properties"]["Timeout"].as_u64().unwrap();
        let window = mapping["MaximumBatchingWindowInSeconds"].as_u64().unwrap_or(0);
        assert!(hidden >= 6 * runs + window, "{id}");
    }
}

#[test]
fn a_change_that_makes_no_event_is_put_aside_and_is_seen() {
    let template = template();
    let mappings = resources(&template, "AWS::Lambda::EventSourceMapping");
    let streams: Vec<_> = mappings.iter().filter(|(id, _)| !id.ends_with("QueueMapping")).collect();
    let [(id, mapping)] = streams.as_slice() else { panic!("one mapping reads a stream: {streams:?}") };
    let mapping = &mapping["Properties"];
    assert_eq!(mapping["EventSourceArn"], json!({ "Fn::GetAtt": "StateTable.StreamArn" }), "{id}");
    let view = &template["Resources"]["StateTable"]["Properties"]["StreamSpecification"]["StreamViewType"];
    assert_eq!(view, "NEW_AND_OLD_IMAGES", "the event is in the difference");
    assert_eq!(mapping["StartingPosition"], "TRIM_HORIZON", "nothing is skipped");
    assert_eq!(mapping["BisectBatchOnFunctionError"], true, "one change does not hold back a hundred");
    assert!((3_600..=86_400).contains(&mapping["MaximumRecordAgeInSeconds"].as_u64().unwrap()), "a stream keeps a day");
    let aside = &mapping["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"];
    let aside = aside.as_str().unwrap().strip_suffix(".Arn").unwrap();
    assert!(aside.ends_with("DeadLetterQueue"));
    let function = &template["Resources"][mapping["FunctionName"]["Ref"].as_str().unwrap()]["Properties"];
    let refused = &function["Environment"]["Variables"]["REFUSED_CHANGES_QUEUE_URL"];
    assert_eq!(*refused, json!({ "Ref": aside }), "both kinds lie in one queue");
}

#[test]
fn what_is_in_the_index_of_undelivered_is_what_its_reader_reads() {
    let template = template();
    let table = &template["Resources"]["StateTable"]["Properties"];
    let indexes = table["GlobalSecondaryIndexes"].as_array().unwrap();
    let index = indexes.iter().find(|index| index["IndexName"] == aws::dynamo::UNDELIVERED_INDEX).unwrap();
    let keys: Vec<&str> = each(&index["KeySchema"]).iter().map(|key| key["AttributeName"].as_str().unwrap()).collect();
    assert_eq!(keys, aws::dynamo::UNDELIVERED_KEYS);
    let projected = texts(&index["Projection"]["NonKeyAttributes"]);
    assert_eq!(projected, aws::dynamo::UNDELIVERED_ATTRIBUTES);
}

#[test]
fn wakes_of_the_metadata_writer_are_held_back_and_gathered() {
    let template = template();
    let queue = &template["Resources"]["MetadataQueue"]["Properties"];
    assert_eq!(queue["DelaySeconds"], json!({ "Ref": "MetadataBatchSeconds" }));
    assert_eq!((&queue["FifoQueue"], &queue["DeduplicationScope"]), (&json!(true), &json!("messageGroup")));
    assert_eq!(template["Resources"]["MetadataDeadLetterQueue"]["Properties"]["FifoQueue"], true);
    let parameter = &template["Parameters"]["MetadataBatchSeconds"];
    assert_eq!((&parameter["MinValue"], &parameter["MaxValue"]), (&json!(2), &json!(900)), "SQS waits 900 s at most");
    for id in ["RecordOutcomeFunction", "PublishActivityFunction", "PublishMetadataFunction"] {
        let variables = &template["Resources"][id]["Properties"]["Environment"]["Variables"];
        assert_eq!(variables["METADATA_QUEUE_URL"], json!({ "Ref": "MetadataQueue" }), "{id}");
        assert_eq!(variables["METADATA_BATCH_SECONDS"], json!({ "Ref": "MetadataBatchSeconds" }), "{id}");
    }
}

#[test]
fn every_bucket_is_private_encrypted_and_takes_no_plain_text() {
    let template = template();
    for (id, bucket) in resources(&template, "AWS::S3::Bucket") {
        let properties = &bucket["Properties"];
        let block = properties["PublicAccessBlockConfiguration"].as_object().unwrap();
        assert!(block.len() == 4 && block.values().all(|value| value == true), "{id}");
        assert_eq!(properties["OwnershipControls"]["Rules"], json!([{ "ObjectOwnership": "BucketOwnerEnforced" }]));
        let rules = &properties["BucketEncryption"]["ServerSideEncryptionConfiguration"];
        assert_eq!(rules[0]["ServerSideEncryptionByDefault"]["SSEAlgorithm"], "AES256", "{id}");
        let policy = &template["Resources"][format!("{id}Policy")];
        assert_eq!(policy["Properties"]["Bucket"], json!({ "Ref": id }));
        assert!(denies_plain_text(policy, "s3"), "{id}");
        let lifecycle = each(&properties["LifecycleConfiguration"]["Rules"]);
        assert!(lifecycle.iter().any(|rule| rule.get("AbortIncompleteMultipartUpload").is_some()), "{id}");
        let expiring = lifecycle.iter().filter(|rule| rule.get("ExpirationInDays").is_some());
        let expiring: Vec<&Value> = expiring.map(|rule| &rule["Prefix"]).collect();
        let expected: &[&str] = if id == "TablesBucket" { &["staging/"] } else { &[] };
        assert_eq!(expiring, expected, "{id}: only what can be made again expires");
    }
}

#[test]
fn tables_and_state_outlive_the_stack() {
    let template = template();
    for id in ["RunOutputBucket", "TablesBucket", "StateTable"] {
        let resource = &template["Resources"][id];
        assert_eq!(
            (&resource["DeletionPolicy"], &resource["UpdateReplacePolicy"]),
            (&json!("Retain"), &json!("Retain"))
        );
    }
    let state = &template["Resources"]["StateTable"]["Properties"];
    assert_eq!(state["BillingMode"], "PAY_PER_REQUEST");
    assert_eq!(state["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true);
    assert_eq!(state["SSESpecification"]["SSEEnabled"], true);
    assert_eq!(state["TimeToLiveSpecification"], json!({ "AttributeName": "expires_at_seconds", "Enabled": true }));
}

#[test]
fn one_parameter_must_be_given_and_the_others_have_defaults() {
    let template = template();
    let parameters = template["Parameters"].as_object().unwrap();
    let required: Vec<_> = parameters.iter().filter(|(_, p)| p.get("Default").is_none()).map(|(id, _)| id).collect();
    assert_eq!(required, ["SenderAddress"]);
    assert_eq!(parameters["Architecture"]["Default"], "arm64");
    assert_eq!(texts(&parameters["Architecture"]["AllowedValues"]), ["arm64", "x86_64"]);
    assert_eq!(parameters["PublicEndpoint"]["Default"], "");
}

#[test]
fn the_stack_says_where_everything_is() {
    let template = template();
    let outputs: BTreeSet<&str> = template["Outputs"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = BTreeSet::from([
        "RunCompletedQueueUrl",
        "RunCompletedDeadLetterQueueUrl",
        "ActivityQueueUrl",
        "ActivityDeadLetterQueueUrl",
        "RunOutputBucketName",
        "TablesBucketName",
        "StateTableName",
        "SharingEndpoint",
        "SharingFunctionUrl",
        "EventBusName",
    ]);
    let machines = resources(&template, "AWS::Serverless::StateMachine");
    let arns: Vec<String> = machines.keys().map(|id| format!("{id}Arn")).collect();
    expected.extend(arns.iter().map(String::as_str));
    assert_eq!(outputs, expected);
}

/// The alarms that look at a metric of a resource, by what they look at.
fn alarms(template: &Value, metric: &str) -> BTreeSet<String> {
    let alarms = resources(template, "AWS::CloudWatch::Alarm");
    let of_metric = alarms.values().filter(|alarm| alarm["Properties"]["MetricName"] == metric);
    let watched = |alarm: &Value| {
        let value = &alarm["Properties"]["Dimensions"][0]["Value"];
        let attribute = value["Fn::GetAtt"].as_str().map(|text| text.split('.').next().unwrap());
        attribute.or(value["Ref"].as_str()).unwrap().to_owned()
    };
    of_metric.map(watched).collect()
}

#[test]
fn every_dead_letter_queue_and_every_state_machine_has_an_alarm() {
    let template = template();
    let queues = resources(&template, "AWS::SQS::Queue").into_keys().filter(|id| id.ends_with("DeadLetterQueue"));
    assert_eq!(alarms(&template, "ApproximateNumberOfMessagesVisible"), queues.collect());
    let machines = resources(&template, "AWS::Serverless::StateMachine").into_keys();
    assert_eq!(alarms(&template, "ExecutionsFailed"), machines.collect());
}

#[test]
fn an_alarm_goes_off_at_the_first_failure_and_tells_the_topic() {
    for (id, alarm) in resources(&template(), "AWS::CloudWatch::Alarm") {
        let alarm = &alarm["Properties"];
        let failures = ["ApproximateNumberOfMessagesVisible", "ExecutionsFailed"];
        if failures.contains(&alarm["MetricName"].as_str().unwrap()) {
            assert_eq!(alarm["Threshold"], 0, "{id}");
        }
        assert_eq!(alarm["ComparisonOperator"], "GreaterThanThreshold", "{id}");
        assert_eq!(alarm["AlarmActions"]["Fn::If"][0], "HasAlarmTopic", "{id}");
        assert!(alarm["AlarmDescription"].as_str().unwrap().len() > 20, "{id}");
    }
}
