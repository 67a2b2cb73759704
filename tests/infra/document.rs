//! Reads the files of `infra/`: YAML with CloudFormation's tags becomes JSON with its long forms.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Map, Value, json};
use serde_yaml_ng::Value as Yaml;
use tests::root;

/// The template as JSON, `!Ref x` as `{"Ref": "x"}` and `!Sub x` as `{"Fn::Sub": "x"}`.
pub(crate) fn template() -> Value {
    let text = fs::read_to_string(root().join("infra/template.yaml")).unwrap();
    to_json(serde_yaml_ng::from_str(&text).unwrap())
}

/// The state machines by file name. The placeholder of a number, `${x}` without quotes, is the text `#x`.
pub(crate) fn state_machines() -> BTreeMap<String, Value> {
    let folder = root().join("infra/state-machines");
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let text = fs::read_to_string(entry.path()).unwrap();
        // A placeholder without quotes is a number's.
        let mut parts = text.split(": ${");
        let first = parts.next().unwrap().to_owned();
        let text = parts.fold(first, |text, part| {
            let (name, rest) = part.split_once('}').unwrap();
            format!("{text}: \"#{name}\"{rest}")
        });
        (entry.file_name().into_string().unwrap(), serde_json::from_str(&text).unwrap())
    };
    fs::read_dir(folder).unwrap().map(read).collect()
}

/// The template's resources of a type, by logical id.
pub(crate) fn resources(template: &Value, of_type: &str) -> BTreeMap<String, Value> {
    let all = template["Resources"].as_object().unwrap();
    let wanted = all.iter().filter(|(_, resource)| resource["Type"] == of_type);
    wanted.map(|(id, resource)| (id.clone(), resource.clone())).collect()
}

/// A value that may be a list: its elements, or itself.
pub(crate) fn each(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |list| list.iter().collect())
}

/// A value that is a text or a list of texts.
pub(crate) fn texts(value: &Value) -> Vec<&str> {
    each(value).into_iter().map(|text| text.as_str().unwrap()).collect()
}

fn to_json(yaml: Yaml) -> Value {
    match yaml {
        Yaml::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            let name = match tag.trim_start_matches('!') {
                name @ ("Ref" | "Condition") => name.to_owned(),
                name => format!("Fn::{name}"),
            };
            json!({ name: to_json(tagged.value) })
        }
        Yaml::Mapping(mapping) => {
            let member = |(key, value): (Yaml, Yaml)| (key.as_str().unwrap().to_owned(), to_json(value));
            Value::Object(mapping.into_iter().map(member).collect::<Map<_, _>>())
        }
        Yaml::Sequence(elements) => elements.into_iter().map(to_json).collect(),
        Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) | Yaml::String(_) => serde_json::to_value(yaml).unwrap(),
    }
}
