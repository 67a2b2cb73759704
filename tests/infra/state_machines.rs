//! The state machines: which function each task calls, how its failures are answered, and what leaves them.

use std::collections::{BTreeMap, BTreeSet};

use delivery::failure::RetryClass;
use serde_json::{Value, json};

use crate::document::{each, resources, state_machines, template, texts};
use crate::functions::{function_name, pascal};

/// Tasks that are not named for their function, because it has another task, too.
const OTHER_TASKS: [(&str, &str); 8] = [
    ("TakeStaged", "stage-run"),
    ("SettleBatches", "plan-backfill"),
    ("FinishBackfill", "plan-backfill"),
    ("RecordFailure", "record-outcome"),
    ("FailEveryConnector", "record-outcome"),
    ("ProveShare", "prove-delivery"),
    ("MarkReady", "provision-connector"),
    ("EndTokens", "change-connector"),
];

/// Functions that no state machine calls: queues, a stream, a schedule and a URL do.
const NOT_TASKS: [&str; 8] = [
    "accept-run",
    "maintain-tables",
    "publish-activity",
    "publish-events",
    "publish-metadata",
    "publish-reads",
    "serve-share",
    "watch-connectors",
];

/// What a task that calls a function has as its resource.
const CALL: &str = "arn:aws:states:::lambda:invoke";

/// What a task that runs another state machine to its end has as its resource.
const RUN: &str = "arn:aws:states:::states:startExecution.sync:2";

/// What a task that starts another state machine and does not wait for it has as its resource.
const START: &str = "arn:aws:states:::states:startExecution";

/// Errors that Lambda and Step Functions make themselves, when a function could not be called or gave no answer.
const PLATFORM_ERRORS: [&str; 9] = [
    "Lambda.AWSLambdaException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.SdkClientException",
    "Lambda.ServiceException",
    "Lambda.TooManyRequestsException",
    "Lambda.Unknown",
    "Runtime.ExitError",
    "Sandbox.Timedout",
    "States.Timeout",
];

/// What a task waits longer than its function may run, in seconds: a cold start and the way there and back.
const TASK_MARGIN_SECONDS: u64 = 15;

/// A state with the names of its machine and of the map that it is in.
struct State {
    machine: String,
    name: String,
    siblings: BTreeSet<String>,
    body: Value,
}

fn collect(machine: &str, definition: &Value, into: &mut Vec<State>) {
    let states = definition["States"].as_object().unwrap();
    let siblings: BTreeSet<String> = states.keys().cloned().collect();
    assert!(siblings.contains(definition["StartAt"].as_str().unwrap()), "{machine}: StartAt");
    for (name, body) in states {
        if let Some(inner) = body.get("ItemProcessor") {
            collect(machine, inner, into);
        }
        let (machine, name) = (machine.to_owned(), name.clone());
        into.push(State { machine, name, siblings: siblings.clone(), body: body.clone() });
    }
}

fn states() -> Vec<State> {
    let mut states = Vec::new();
    for (file, definition) in state_machines() {
        collect(&file, &definition, &mut states);
    }
    states
}

/// The tasks that call functions.
fn tasks() -> Vec<State> {
    states().into_iter().filter(|state| state.body["Type"] == "Task" && state.body["Resource"] == CALL).collect()
}

/// The tasks that run other state machines.
fn runs() -> Vec<State> {
    states().into_iter().filter(|state| state.body["Type"] == "Task" && state.body["Resource"] == RUN).collect()
}

fn state(name: &str) -> Value {
    states().into_iter().find(|state| state.name == name).unwrap().body
}

fn error_names<'a>(task: &'a Value, field: &str) -> BTreeSet<&'a str> {
    task[field].as_array().unwrap().iter().flat_map(|entry| texts(&entry["ErrorEquals"])).collect()
}

/// The variable in a task's `FunctionName`, such as `StageRunFunctionArn`.
fn variable(task: &Value) -> &str {
    let name = task["Parameters"]["FunctionName"].as_str().unwrap();
    name.strip_prefix("${").unwrap().strip_suffix('}').unwrap()
}

/// The variable in a task's `StateMachineArn`, such as `BackfillArn`.
fn run_machine(task: &Value) -> String {
    let name = task["Parameters"]["StateMachineArn"].as_str().unwrap();
    name.strip_prefix("${").unwrap().strip_suffix('}').unwrap().to_owned()
}

fn called_function(task: &Value) -> String {
    function_name(variable(task).strip_suffix("Arn").unwrap())
}

#[test]
fn every_task_names_every_retry_class() {
    let classes: BTreeSet<_> = RetryClass::ALL.iter().map(|class| class.error_type()).collect();
    for task in tasks() {
        let named: BTreeSet<_> =
            error_names(&task.body, "Retry").union(&error_names(&task.body, "Catch")).copied().collect();
        let ours: BTreeSet<_> = named.into_iter().filter(|name| name.starts_with("Delivery.")).collect();
        assert_eq!(ours, classes, "{}", task.name);
    }
}

#[test]
fn a_task_retries_what_may_pass_and_nothing_else() {
    let may_pass = [RetryClass::Transient, RetryClass::Conflict].map(RetryClass::error_type);
    let expected: BTreeSet<_> = may_pass.into_iter().chain(PLATFORM_ERRORS).collect();
    for task in tasks() {
        assert_eq!(error_names(&task.body, "Retry"), expected, "{}", task.name);
        for retrier in task.body["Retry"].as_array().unwrap() {
            assert_eq!(retrier["JitterStrategy"], "FULL", "{}", task.name);
            assert!((1..=8).contains(&retrier["MaxAttempts"].as_u64().unwrap()), "{}", task.name);
        }
    }
}

/// `record-outcome` reads the failed step from where its error was caught.
#[test]
fn a_delivery_task_is_caught_under_its_own_name() {
    let recorded = ["RecordFailure", "FailEveryConnector"];
    for task in tasks() {
        if !task.machine.contains("deliver-run") || recorded.contains(&task.name.as_str()) {
            continue;
        }
        for catcher in task.body["Catch"].as_array().unwrap() {
            assert_eq!(catcher["ResultPath"], json!(format!("$.failure.{}", task.name)), "{}", task.name);
        }
    }
}

/// What was staged of a batch goes on, and the function is told that by what was caught.
#[test]
fn staging_that_ends_without_an_answer_costs_what_is_not_staged() {
    let catchers = state("StageRun")["Catch"].clone();
    let classes = RetryClass::ALL.map(RetryClass::error_type);
    assert_eq!((&catchers[0]["ErrorEquals"], &catchers[0]["Next"]), (&json!(classes), &json!("FailEveryConnector")));
    assert_eq!(
        (&catchers[1]["Next"], &catchers[1]["ResultPath"]),
        (&json!("TakeStaged"), &json!("$.failure.StageRun"))
    );
    let taking = state("TakeStaged");
    assert_eq!((&taking["Parameters"]["Payload.$"], &taking["ResultPath"]), (&json!("$"), &json!("$.stageRun")));
    assert_eq!(taking["Next"], "AnyRunStaged");
    let any = state("AnyRunStaged");
    let schema =
        json!([{ "Variable": "$.stageRun.staged.fingerprint", "IsPresent": true, "Next": "DeliverToEachConnector" }]);
    assert_eq!((&any["Choices"], &any["Default"]), (&schema, &json!("FailEveryConnector")));
}

/// A redrive takes a delivery for left behind when no execution of it can be at work any more.
#[test]
fn an_execution_of_a_delivery_ends_when_a_redrive_counts_on_it() {
    let lives = state_machines()["deliver-run.asl.json"]["TimeoutSeconds"].as_i64();
    assert_eq!(lives, Some(delivery::redrive::EXECUTION_SECONDS_MAX));
    let alarm = &template()["Resources"]["OldestUndeliveredAlarm"]["Properties"]["Threshold"];
    assert!(alarm.as_i64() > lives, "whoever is told of a delivery that is late finds it by a redrive");
}

#[test]
fn the_last_catcher_of_a_task_catches_all() {
    for task in tasks() {
        let catchers = task.body["Catch"].as_array().unwrap();
        assert_eq!(catchers.last().unwrap()["ErrorEquals"], json!(["States.ALL"]), "{}", task.name);
    }
}

#[test]
fn a_task_is_named_for_its_function() {
    let others = BTreeMap::from(OTHER_TASKS);
    for task in tasks() {
        let function = called_function(&task.body);
        match others.get(task.name.as_str()) {
            Some(expected) => assert_eq!(function, *expected, "{}", task.name),
            None => assert_eq!(pascal(&function), task.name),
        }
    }
    let named: BTreeSet<_> = tasks().into_iter().map(|task| task.name).collect();
    assert!(others.keys().all(|name| named.contains(*name)), "OTHER_TASKS names a task that is gone");
}

#[test]
fn every_function_is_called_by_a_task_or_is_known_not_to_be() {
    let called = tasks().into_iter().map(|task| called_function(&task.body));
    let called: BTreeSet<String> = called.chain(NOT_TASKS.map(str::to_owned)).collect();
    let template = template();
    let deployed = resources(&template, "AWS::Serverless::Function").into_keys().map(|id| function_name(&id)).collect();
    assert_eq!(called, deployed);
}

#[test]
fn a_machine_is_given_and_may_call_exactly_the_functions_that_it_names() {
    for machine in resources(&template(), "AWS::Serverless::StateMachine").into_values() {
        let properties = &machine["Properties"];
        let file = properties["DefinitionUri"].as_str().unwrap().strip_prefix("state-machines/").unwrap();
        let named: BTreeSet<String> = tasks()
            .into_iter()
            .filter(|task| task.machine == file)
            .map(|task| variable(&task.body).to_owned())
            .collect();
        let given = properties["DefinitionSubstitutions"].as_object().unwrap();
        let functions = given.iter().filter(|(name, _)| name.ends_with("FunctionArn"));
        let functions: BTreeMap<_, _> = functions.map(|(name, value)| (name.clone(), value)).collect();
        assert_eq!(functions.keys().cloned().collect::<BTreeSet<_>>(), named, "{file}");
        for (name, value) in functions {
            assert_eq!(value["Fn::GetAtt"], format!("{}.Arn", name.strip_suffix("Arn").unwrap()), "{file}");
        }
        let statements = each(&properties["Policies"][0]["Statement"]);
        let invoke =
            statements.iter().find(|statement| statement["Action"] == json!(["lambda:InvokeFunction"])).unwrap();
        let allowed: BTreeSet<String> = each(&invoke["Resource"])
            .into_iter()
            .map(|resource| resource["Fn::GetAtt"].as_str().unwrap().replace(".Arn", "Arn"))
            .collect();
        assert_eq!(allowed, named, "{file}");
    }
}

#[test]
fn a_machine_is_given_every_placeholder_that_it_names_and_no_other() {
    for machine in resources(&template(), "AWS::Serverless::StateMachine").into_values() {
        let properties = &machine["Properties"];
        let file = properties["DefinitionUri"].as_str().unwrap();
        let text = std::fs::read_to_string(tests::root().join("infra").join(file)).unwrap();
        let named: BTreeSet<&str> = text.split("${").skip(1).map(|rest| rest.split_once('}').unwrap().0).collect();
        let given = properties["DefinitionSubstitutions"].as_object().unwrap();
        assert_eq!(given.keys().map(String::as_str).collect::<BTreeSet<_>>(), named, "{file}");
    }
}

#[test]
fn history_is_delivered_by_the_machine_of_live_runs_a_few_at_once_and_a_failed_batch_ends_nothing() {
    let map = state("DeliverBatches");
    assert_eq!(map["MaxConcurrency"], "#BackfillConcurrency");
    assert_eq!(map["ToleratedFailurePercentage"], 100);
    assert_eq!(map["ResultPath"], Value::Null, "an execution's data has at most 256 KB");
    assert_eq!(map["ItemProcessor"]["ProcessorConfig"]["Mode"], "DISTRIBUTED");
    let batch = &map["ItemProcessor"]["States"]["DeliverBatch"];
    assert_eq!(batch["Resource"], "arn:aws:states:::states:startExecution.sync:2");
    assert_eq!(batch["Parameters"], json!({ "StateMachineArn": "${DeliverRunArn}", "Input.$": "$" }));
    assert_eq!(batch["ResultSelector"], json!({}));
    let template = template();
    let backfill = &template["Resources"]["Backfill"]["Properties"];
    assert_eq!(backfill["DefinitionSubstitutions"]["DeliverRunArn"], json!({ "Ref": "DeliverRun" }));
    // Whoever starts it knows its name before it is made.
    assert_eq!(backfill["Name"], json!({ "Fn::Sub": "${AWS::StackName}-backfill" }));
    assert_eq!(template["Parameters"]["BackfillConcurrency"]["Default"], 4);
}

#[test]
fn setting_a_connector_up_again_resumes_its_rollout() {
    let begun = &state("RolloutBegun")["Choices"];
    let expected = json!([{ "Variable": "$.marked.state", "StringEquals": "backfilling", "Next": "ResumeRollout" }]);
    assert_eq!(*begun, expected);
    let input = &state("ResumeRollout")["Parameters"]["Input"];
    assert_eq!(*input, json!({ "connectorId.$": "$.connectorId", "rollout": true }));
}

#[test]
fn a_task_outwaits_its_function() {
    let functions = resources(&template(), "AWS::Serverless::Function");
    for task in tasks() {
        let function = &functions[variable(&task.body).strip_suffix("Arn").unwrap()];
        let runs = function["Properties"]["Timeout"].as_u64().unwrap();
        assert_eq!(task.body["TimeoutSeconds"], json!(runs + TASK_MARGIN_SECONDS), "{}", task.name);
    }
}

#[test]
fn every_state_leads_to_a_state_beside_it_or_ends() {
    for state in states() {
        let mut next: Vec<&Value> = ["Next", "Default"].iter().filter_map(|field| state.body.get(*field)).collect();
        for field in ["Catch", "Choices"] {
            next.extend(state.body.get(field).map(each).unwrap_or_default().into_iter().map(|entry| &entry["Next"]));
        }
        for target in &next {
            assert!(state.siblings.contains(target.as_str().unwrap()), "{} leads to {target}", state.name);
        }
        let ends = state.body["End"] == true || state.body["Type"] == "Succeed" || state.body["Type"] == "Fail";
        assert!(ends != state.body.get("Next").or(state.body.get("Default")).is_some(), "{}", state.name);
    }
}

#[test]
fn state_names_are_unique_in_a_machine() {
    let mut seen = BTreeSet::new();
    for state in states() {
        assert!(seen.insert((state.machine, state.name.clone())), "{}", state.name);
    }
}

#[test]
fn a_connector_gets_latest_only_after_its_proof() {
    let mut way = vec![state("DeliverToEachConnector")["ItemProcessor"]["StartAt"].clone()];
    while let Some(next) = state(way.last().unwrap().as_str().unwrap()).get("Next") {
        way.push(next.clone());
    }
    assert_eq!(way, ["PublishRun", "ShareTables", "ProveDelivery", "PromoteLatest", "RecordOutcome"]);
}

#[test]
fn a_failed_connector_does_not_end_the_map() {
    let map = state("DeliverToEachConnector");
    let inner = map["ItemProcessor"]["States"].as_object().unwrap();
    assert!(inner.values().all(|state| state["Type"] != "Fail"));
    assert!(inner.values().filter(|state| state["Type"] == "Task").all(|task| task.get("Catch").is_some()));
    assert_eq!(inner["RecordOutcome"]["ResultSelector"], json!({ "failed.$": "$.Payload.failed" }));
    assert_eq!(inner["ConnectorFailed"]["Parameters"], json!({ "failed.$": "States.Array($.connectorId)" }));
    assert!((1..=40).contains(&map["MaxConcurrency"].as_u64().unwrap()), "an inline map runs 40 at once at most");
}

#[test]
fn every_task_calls_a_function_or_runs_a_state_machine() {
    let all = states().into_iter().filter(|state| state.body["Type"] == "Task").count();
    let starts: Vec<_> = states().into_iter().filter(|state| state.body["Resource"] == START).collect();
    assert_eq!(starts.iter().map(|state| state.name.as_str()).collect::<Vec<_>>(), ["ResumeRollout"]);
    assert_eq!(tasks().len() + runs().len() + starts.len(), all);
}

/// Whoever runs another state machine to its end starts it, looks at it, ends it with its own end, and is woken by a
/// rule that Step Functions makes. A distributed map does so with its own machine, whose name is known.
#[test]
fn a_machine_that_runs_another_may_do_that_and_no_more() {
    let template = template();
    for task in runs() {
        let machine = resources(&template, "AWS::Serverless::StateMachine")
            .into_values()
            .find(|machine| machine["Properties"]["DefinitionUri"] == format!("state-machines/{}", task.machine))
            .unwrap();
        let properties = &machine["Properties"];
        let arn = &properties["DefinitionSubstitutions"][run_machine(&task.body)];
        let statements = each(&properties["Policies"][0]["Statement"]);
        let resource = |action: &str| {
            let mut allowing = statements.iter().filter(|statement| texts(&statement["Action"]).contains(&action));
            let found = allowing.next().unwrap()["Resource"].clone();
            assert!(allowing.next().is_none(), "{}: {action}", task.machine);
            found
        };
        let of = |kind: &str, rest: &str| {
            let account = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}";
            json!({ "Fn::Sub": format!("{account}:{kind}:{rest}") })
        };
        let (started, executions) = if task.machine == "backfill.asl.json" {
            let own = ["${AWS::StackName}-backfill/*", "${AWS::StackName}-backfill:*"].map(|own| of("execution", own));
            let executions = [of("execution", "${DeliverRun.Name}:*")].into_iter().chain(own).collect();
            (json!([arn, of("stateMachine", "${AWS::StackName}-backfill")]), Value::Array(executions))
        } else {
            let executions = arn["Fn::Sub"].as_str().unwrap().replace(":stateMachine:", ":execution:") + ":*";
            (arn.clone(), json!({ "Fn::Sub": executions }))
        };
        assert_eq!(resource("states:StartExecution"), started);
        for action in ["states:DescribeExecution", "states:StopExecution"] {
            assert_eq!(resource(action), executions);
        }
        for action in ["events:DescribeRule", "events:PutRule", "events:PutTargets"] {
            let rule = resource(action);
            assert!(
                rule["Fn::Sub"]
                    .as_str()
                    .unwrap()
                    .ends_with(":rule/StepFunctionsGetEventsForStepFunctionsExecutionRule")
            );
        }
        // A map tolerates what its batches fail with.
        if task.machine != "backfill.asl.json" {
            let last = task.body["Catch"].as_array().unwrap().last().unwrap();
            assert_eq!(last["ErrorEquals"], json!(["States.ALL"]), "{}", task.name);
        }
    }
}

/// Tokens of before end only behind the new link, and the link is in no output.
#[test]
fn a_rotation_mails_before_it_ends_anything() {
    let states = states().into_iter().filter(|state| state.machine == "rotate-token.asl.json");
    let states: BTreeMap<String, Value> = states.map(|state| (state.name, state.body)).collect();
    assert_eq!(states["InviteRecipient"]["Next"], "EndTokens");
    assert_eq!(states["InviteRecipient"]["ResultPath"], Value::Null);
    assert_eq!(states["EndTokens"]["Next"], "TokenRotated");
    let output = states["TokenRotated"]["Parameters"].as_object().unwrap();
    let names: Vec<&str> = output.keys().map(String::as_str).collect();
    assert_eq!(names, ["connectorId.$", "rotation.$", "tokensEndAt.$"]);
}

/// A step that is tried again is told from a command that is given again by when the execution began.
#[test]
fn a_step_that_another_execution_would_mean_otherwise_is_told_when_its_own_began() {
    let told = [("setup-connector.asl.json", "ProvisionConnector"), ("rotate-token.asl.json", "InviteRecipient")];
    for (machine, name) in told {
        let mut steps = tasks().into_iter().filter(|task| task.machine == machine && task.name == name);
        let payload = &steps.next().unwrap().body["Parameters"]["Payload"];
        assert_eq!(payload["startedAt.$"], "$$.Execution.StartTime", "{machine}: {name}");
    }
}

#[test]
fn neither_contact_nor_link_leaves_the_set_up() {
    for task in tasks().into_iter().filter(|task| task.machine == "setup-connector.asl.json") {
        if task.name == "MarkReady" {
            assert_eq!(task.body["ResultSelector"], json!({ "state.$": "$.Payload.state" }));
            continue;
        }
        assert_eq!(task.body.get("ResultPath"), Some(&Value::Null), "{}", task.name);
    }
    let output = &state("ConnectorReady")["Parameters"];
    assert_eq!(*output, json!({ "connectorId.$": "$.connectorId", "state.$": "$.marked.state" }));
    for machine in resources(&template(), "AWS::Serverless::StateMachine").into_values() {
        assert_eq!(machine["Properties"]["Logging"]["IncludeExecutionData"], false);
    }
}
