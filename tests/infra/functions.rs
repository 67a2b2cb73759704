//! The functions: settings, policies, logs, builds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};
use tests::root;

use crate::document::{each, resources, template, texts};

/// Actions that know no resource, or whose resource says less than their condition.
const ON_ANY_RESOURCE: [&str; 10] = [
    "dynamodb:ListStreams",
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
    "ses:SendEmail",
];

/// `StageRunFunction` → `stage-run`.
pub(crate) fn function_name(logical_id: &str) -> String {
    let name = logical_id.strip_suffix("Function").unwrap();
    let mut kebab = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    kebab
}

/// `stage-run` → `StageRun`.
pub(crate) fn pascal(name: &str) -> String {
    let word = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    name.split('-').map(word).collect()
}

/// The functions' properties by name.
fn functions() -> BTreeMap<String, Value> {
    let by_id = resources(&template(), "AWS::Serverless::Function");
    by_id.into_iter().map(|(id, function)| (function_name(&id), function)).collect()
}

/// Every statement of every role: whose, and what.
fn statements() -> Vec<(String, Value)> {
    let template = template();
    let mut statements = Vec::new();
    for of_type in ["AWS::Serverless::Function", "AWS::Serverless::StateMachine"] {
        for (id, resource) in resources(&template, of_type) {
            for policy in resource["Properties"]["Policies"].as_array().unwrap() {
                let found = policy["Statement"].as_array().unwrap();
                assert!(!found.is_empty(), "{id}");
                statements.extend(found.iter().map(|statement| (id.clone(), statement.clone())));
            }
        }
    }
    // A policy of its own names the roles that SAM makes: `ShareTablesFunctionRole`.
    for policy in resources(&template, "AWS::IAM::Policy").into_values() {
        for role in policy["Properties"]["Roles"].as_array().unwrap() {
            let id = role["Ref"].as_str().unwrap().strip_suffix("Role").unwrap().to_owned();
            let found = policy["Properties"]["PolicyDocument"]["Statement"].as_array().unwrap();
            statements.extend(found.iter().map(|statement| (id.clone(), statement.clone())));
        }
    }
    statements
}

/// The statements of one function that allow an action.
fn allowing(function: &str, action: &str) -> Vec<Value> {
    let id = format!("{}Function", pascal(function));
    let allows = |(of, statement): &(String, Value)| *of == id && texts(&statement["Action"]).contains(&action);
    statements().into_iter().filter(allows).map(|(_, statement)| statement).collect()
}

/// The settings that a function declares in its source: the texts of its `SETTINGS`.
fn declared_settings(function: &str) -> BTreeSet<String> {
    let source = fs::read_to_string(root().join(format!("functions/{function}/src/lib.rs"))).unwrap();
    let (_, declaration) = source.split_once(" SETTINGS: ").unwrap();
    let (declaration, _) = declaration.split_once(';').unwrap();
    declaration.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_function_gets_exactly_the_settings_that_it_declares() {
    for (name, function) in functions() {
        let variables = function["Properties"]["Environment"]["Variables"].as_object().unwrap();
        let given: BTreeSet<String> = variables.keys().cloned().collect();
        assert_eq!(given, declared_settings(&name), "{name}");
    }
}

#[test]
fn every_function_is_a_folder_of_its_name() {
    let folders = fs::read_dir(root().join("functions")).unwrap();
    let folders: BTreeSet<String> = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(functions().into_keys().collect::<BTreeSet<_>>(), folders);
    for (name, function) in functions() {
        assert_eq!(
            function["Metadata"],
            json!({
                "BuildMethod": "rust-cargolambda",
                "BuildProperties": { "Binary": name },
            })
        );
    }
}

#[test]
fn every_function_is_traced_and_logs_json_into_a_group_that_forgets() {
    let template = template();
    let globals = &template["Globals"]["Function"];
    assert_eq!(globals["Tracing"], "Active");
    assert_eq!(globals["Architectures"], json!([{ "Ref": "Architecture" }]));
    for (name, function) in functions() {
        let group = format!("{}LogGroup", pascal(&name));
        let logging = &function["Properties"]["LoggingConfig"];
        assert_eq!(*logging, json!({ "LogFormat": "JSON", "LogGroup": { "Ref": group } }), "{name}");
        let group = &template["Resources"][&group]["Properties"];
        assert_eq!(group["RetentionInDays"], json!({ "Ref": "LogRetentionDays" }), "{name}");
        assert_eq!(group["LogGroupName"]["Fn::Sub"], format!("/aws/lambda/${{AWS::StackName}}/{name}"));
        assert!(function["Properties"]["Timeout"].is_u64() && function["Properties"]["MemorySize"].is_u64(), "{name}");
    }
}

#[test]
fn no_role_has_more_than_it_names() {
    for (id, statement) in statements() {
        assert_eq!(statement["Effect"], "Allow", "{id}");
        for action in texts(&statement["Action"]) {
            assert!(!action.contains('*'), "{id} allows {action}");
            let any_resource = each(&statement["Resource"]).into_iter().any(|resource| resource == "*");
            assert!(!any_resource || ON_ANY_RESOURCE.contains(&action), "{id} allows {action} on *");
        }
    }
}

#[test]
fn only_maintenance_deletes_objects_and_only_the_set_up_takes_something_out_of_a_share() {
    for (id, statement) in statements() {
        for action in texts(&statement["Action"]) {
            assert!(!action.starts_with("s3:Delete") || id == "MaintainTablesFunction", "{id} allows {action}");
            let deletes = ["ProvisionConnectorFunction", "ChangeConnectorFunction"].contains(&id.as_str());
            assert!(action != "dynamodb:DeleteItem" || deletes, "{id} allows {action}");
            // Deletes rows that waited for their commit.
            assert!(action != "dynamodb:BatchWriteItem" || id == "PublishMetadataFunction", "{id} allows {action}");
        }
    }
    let deletes = allowing("maintain-tables", "s3:DeleteObject");
    let tables = json!({ "Fn::Sub": "${TablesBucket.Arn}/connectors/*" });
    assert!(!deletes.is_empty() && deletes.iter().all(|statement| statement["Resource"] == tables));
    let deletes = allowing("provision-connector", "dynamodb:DeleteItem");
    let keys: Vec<_> = deletes.iter().map(leading_keys).collect();
    assert_eq!(keys, [["SHARE#*"], ["TOKENS#*"]], "tables of a share, and the list of a revoked connector's tokens");
    let deletes = allowing("change-connector", "dynamodb:DeleteItem");
    assert!(deletes.iter().all(|statement| leading_keys(statement) == ["TOKENS#*"]));
}

#[test]
fn the_public_function_writes_tokens_activations_and_budgets_only() {
    let written: BTreeSet<String> = ["dynamodb:PutItem", "dynamodb:UpdateItem"]
        .into_iter()
        .flat_map(|action| allowing("serve-share", action))
        .flat_map(|statement| match leading_keys(&statement) {
            keys if keys.is_empty() => vec!["any".to_owned()],
            keys => keys,
        })
        .collect();
    assert_eq!(written, BTreeSet::from(["ACTIVATION#*", "BUDGET#*", "TOKEN#*", "TOKENS#*"].map(str::to_owned)));
    for action in ["s3:PutObject", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem", "dynamodb:Scan"] {
        assert_eq!(allowing("serve-share", action), Vec::<Value>::new());
    }
}

#[test]
fn only_two_functions_send_e_mail_and_the_one_that_changes_connectors_is_not_among_them() {
    let mails = |(id, statement): (String, Value)| texts(&statement["Action"]).contains(&"ses:SendEmail").then_some(id);
    let senders: BTreeSet<String> = statements().into_iter().filter_map(mails).collect();
    assert_eq!(senders, BTreeSet::from(["InviteRecipientFunction", "WatchConnectorsFunction"].map(str::to_owned)));
}

#[test]
fn the_watch_changes_nothing_but_its_own_notes() {
    for action in ["dynamodb:PutItem", "dynamodb:DeleteItem"] {
        assert_eq!(allowing("watch-connectors", action), Vec::<Value>::new());
    }
    let notes = allowing("watch-connectors", "dynamodb:UpdateItem");
    assert!(!notes.is_empty() && notes.iter().all(|statement| leading_keys(statement) == ["TOKENS#*"]));
    let template = template();
    let permission = &template["Resources"]["WatchPermission"]["Properties"];
    assert_eq!(permission["FunctionName"], json!({ "Ref": "WatchConnectorsFunction" }));
    assert_eq!(permission["SourceArn"], json!({ "Fn::GetAtt": "WatchRule.Arn" }));
    let rule = &template["Resources"]["WatchRule"]["Properties"];
    assert_eq!(rule["Targets"][0]["Arn"], json!({ "Fn::GetAtt": "WatchConnectorsFunction.Arn" }));
    assert_eq!(rule["ScheduleExpression"], json!({ "Ref": "WatchSchedule" }));
}

#[test]
fn the_proof_reads_tables_only_as_a_recipient_does() {
    let template = template();
    let own = template["Resources"]["ProveDeliveryFunction"]["Properties"]["Policies"].to_string();
    assert!(!own.contains("s3:"), "{own}");
    // Where there is a metastore, nobody but the recipient can read as it does: what it reads by is read instead.
    let read = allowing("prove-delivery", "s3:GetObject");
    assert!(read.iter().all(|statement| statement["Resource"]["Fn::Sub"] == "${TablesBucket.Arn}/connectors/*"));
    let tokens = allowing("prove-delivery", "dynamodb:PutItem");
    assert!(tokens.iter().all(|statement| leading_keys(statement) == ["TOKEN#*"]));
}

#[test]
fn only_the_sharing_server_takes_another_role_and_that_one_reads_tables() {
    let template = template();
    let policies = resources(&template, "AWS::IAM::Policy");
    let takes = &policies["TakeTableReaderRole"]["Properties"];
    assert_eq!(takes["Roles"], json!([{ "Ref": "ServeShareFunctionRole" }]));
    let statement = &takes["PolicyDocument"]["Statement"][0];
    assert_eq!(texts(&statement["Action"]), ["sts:AssumeRole"]);
    assert_eq!(statement["Resource"], json!({ "Fn::GetAtt": "TableReaderRole.Arn" }));
    let role = &resources(&template, "AWS::IAM::Role")["TableReaderRole"]["Properties"];
    let trusted = &role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["AWS"];
    assert_eq!(*trusted, json!({ "Fn::GetAtt": "ServeShareFunctionRole.Arn" }));
    let rights = role["Policies"].to_string();
    assert!(rights.contains("s3:GetObject") && rights.contains("/connectors/*"), "{rights}");
    for other in ["s3:Put", "s3:Delete", "s3:*", "dynamodb:", "secretsmanager:"] {
        assert!(!rights.contains(other), "{other}: {rights}");
    }
}

#[test]
fn only_the_sharing_server_can_be_called_from_outside() {
    for (name, function) in functions() {
        let expected = if name == "serve-share" {
            json!({ "AuthType": "NONE", "InvokeMode": "RESPONSE_STREAM" })
        } else {
            Value::Null
        };
        assert_eq!(function["Properties"]["FunctionUrlConfig"], expected, "{name}");
    }
}

#[test]
fn everybody_is_given_the_same_sharing_endpoint() {
    let output = template()["Outputs"]["SharingEndpoint"]["Value"].clone();
    for name in ["prove-delivery", "invite-recipient"] {
        assert_eq!(functions()[name]["Properties"]["Environment"]["Variables"]["SHARING_ENDPOINT"], output, "{name}");
    }
}

#[test]
fn a_deployment_without_a_workspace_has_no_right_to_its_secret_and_one_with_it_no_more_than_that() {
    let policies = resources(&template(), "AWS::IAM::Policy");
    for (id, policy) in policies.iter().filter(|(id, _)| *id != "TakeTableReaderRole") {
        assert_eq!(policy["Condition"], "HasDatabricks", "{id}");
    }
    let readers = statements().into_iter().filter(|(_, it)| it.to_string().contains("secretsmanager:"));
    for (id, statement) in readers {
        assert_eq!(texts(&statement["Action"]), ["secretsmanager:GetSecretValue"], "{id}");
        // The sharing server's own key opens nothing of anybody's.
        if id == "ServeShareFunction" {
            let of_its_name = statement["Resource"]["Fn::Sub"].as_str().unwrap();
            assert!(of_its_name.ends_with(":secret:${AWS::StackName}-page-token-key-*"), "{of_its_name}");
            continue;
        }
        assert_eq!(statement["Resource"], json!({ "Ref": "DatabricksSecretArn" }), "{id}");
    }
}

#[test]
fn a_function_that_is_told_of_the_workspace_may_read_its_secret_and_all_are_told_the_same() {
    let functions = functions();
    let told: BTreeMap<&str, &Value> = functions
        .iter()
        .filter_map(|(name, function)| {
            Some((name.as_str(), function["Properties"]["Environment"]["Variables"].get("DATABRICKS")?))
        })
        .collect();
    assert!(told.contains_key("share-tables") && told.contains_key("prove-delivery"));
    for (name, setting) in &told {
        assert_eq!(*setting, told["share-tables"], "{name}");
        assert_eq!(allowing(name, "secretsmanager:GetSecretValue").len(), 1, "{name}");
    }
    let setting = &told["share-tables"]["Fn::If"];
    assert_eq!((&setting[0], &setting[2]), (&json!("HasDatabricks"), &json!("")));
    let text = setting[1]["Fn::Sub"][0].as_str().unwrap();
    let stated: Value = serde_json::from_str(text).unwrap();
    let parameters = template()["Parameters"].as_object().unwrap().clone();
    let named: BTreeSet<String> =
        stated.as_object().unwrap().values().map(|value| value.as_str().unwrap().to_owned()).collect();
    for parameter in parameters.keys().filter(|name| name.starts_with("Databricks")) {
        let named_by = if parameter == "DatabricksDeploymentName" { "Deployment" } else { parameter };
        assert!(named.contains(&format!("${{{named_by}}}")), "{parameter}");
    }
    assert!(!text.contains("clientSecret") && !text.contains("resolve:"), "no secret is in a setting");
}

#[test]
fn no_function_reads_or_writes_the_whole_state_table() {
    let mut seen = 0;
    for (of, statement) in statements() {
        if statement["Resource"] == json!({"Fn::GetAtt": "StateTable.Arn"}) {
            assert!(!leading_keys(&statement).is_empty(), "{of}: {statement}");
            seen += 1;
        }
    }
    assert!(seen >= 15, "{seen} statements");
}

/// The partition keys that a statement is limited to; none if it is not.
fn leading_keys(statement: &Value) -> Vec<String> {
    let keys = &statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
    keys.as_array().map(|keys| keys.iter().map(|key| key.as_str().unwrap().to_owned()).collect()).unwrap_or_default()
}
