use object_store::memory::InMemory;
use serde_json::json;
use testkit::builders::{team_id, workflow_id};

use super::*;

async fn bucket(objects: &[(&str, String)]) -> ObjectStoreHistory {
    let store = InMemory::new();
    for (key, text) in objects {
        store.put(&Path::parse(key).unwrap(), text.clone().into()).await.unwrap();
    }
    ObjectStoreHistory::new(Arc::new(store))
}

#[tokio::test]
async fn folders_are_whole_and_the_teams_own() {
    let bucket = bucket(&[
        ("kadoa/t/activity/2026.jsonl", "{}".to_owned()),
        ("kadoa/t/w-1/2026-01-01T00-00-00Z-r-1/data-1.jsonl", "1234".to_owned()),
        ("kadoa/t/w-1/2026-01-01T00-00-00Z-r-1/data.jsonl", "123".to_owned()),
        ("kadoa/t/w-1/2026-01-01T00-00-00Z-r-1/run.json", "12".to_owned()),
        ("kadoa/t/w-2/2026-01-01T00-00-00Z-r-2/data.jsonl", "1".to_owned()),
        ("kadoa/t/_no id/x/run.json", "1".to_owned()),
        ("kadoa/t-2/w-1/2026-01-01T00-00-00Z-r-3/run.json", "1".to_owned()),
    ])
    .await;
    let page = bucket.run_folders(&team_id("t"), None, None).await.unwrap();
    let folders: Vec<_> =
        page.folders.iter().map(|f| (f.key.as_str(), f.workflow.is_some(), f.message_bytes, f.output_bytes)).collect();
    assert_eq!(
        folders,
        [
            ("kadoa/t/_no id/x", false, Some(1), 0),
            ("kadoa/t/w-1/2026-01-01T00-00-00Z-r-1", true, Some(2), 7),
            ("kadoa/t/w-2/2026-01-01T00-00-00Z-r-2", true, None, 1),
        ]
    );
    assert_eq!(page.after, None);
    let page = bucket.run_folders(&team_id("t"), Some(&workflow_id("w-2")), None).await.unwrap();
    assert_eq!(page.folders.len(), 1);
}

#[tokio::test]
async fn a_page_of_folders_ends_between_two_and_the_next_goes_on() {
    let objects: Vec<_> = (0..FOLDERS_MAX + 5)
        .flat_map(|n| ["data.jsonl", "run.json"].map(|name| format!("kadoa/t/w/2026-01-01T00-00-00Z-r-{n:05}/{name}")))
        .map(|key| (key, "{}".to_owned()))
        .collect();
    let objects: Vec<_> = objects.iter().map(|(key, text)| (key.as_str(), text.clone())).collect();
    let bucket = bucket(&objects).await;
    let first = bucket.run_folders(&team_id("t"), None, None).await.unwrap();
    assert_eq!(first.folders.len(), FOLDERS_MAX);
    let after = first.after.unwrap();
    let second = bucket.run_folders(&team_id("t"), None, Some(&after)).await.unwrap();
    assert_eq!((second.folders.len(), second.after), (5, None));
    for folder in first.folders.iter().chain(&second.folders) {
        assert_eq!((folder.message_bytes, folder.output_bytes), (Some(2), 2), "{}", folder.key);
    }
}

fn event(n: usize) -> String {
    json!({"teamId": "t", "title": format!("event {n}"), "dateTime": "2026-01-01T00:00:00Z", "eventId": format!("e-{n}")})
        .to_string()
}

#[tokio::test]
async fn lines_of_activity_are_read_once_each_however_they_are_cut() {
    let long = "x".repeat(3 * 1024 * 1024);
    let many: Vec<_> = (0..LINES_MAX + 10).map(event).collect();
    let bucket = bucket(&[
        ("kadoa/t/activity/a.jsonl", format!("{}\r\n\n{long}\n{}", event(90_001), event(90_002))),
        ("kadoa/t/activity/b.jsonl", String::new()),
        ("kadoa/t/activity/c.jsonl", many.join("\n")),
        ("kadoa/t/activity/c.txt", "not of the history".to_owned()),
        ("kadoa/t/activity/deep/d.jsonl", "not of the history".to_owned()),
        ("kadoa/t/activity/e.jsonl", "not json\n".to_owned()),
    ])
    .await;
    let (mut place, mut lines) = (ActivityPlace::default(), Vec::new());
    loop {
        let page = bucket.activity(&team_id("t"), &place).await.unwrap();
        lines.extend(page.lines);
        match page.after {
            Some(after) => place = after,
            None => break,
        }
    }
    let said: Vec<_> = lines
        .iter()
        .map(|line| {
            let key = line.key.rsplit('/').next().unwrap();
            (key, line.line, line.event.as_ref().map(|event| event.id().to_owned()).map_err(|error| error.code))
        })
        .collect();
    assert_eq!(
        said[..3],
        [
            ("a.jsonl", 1, Ok("e-90001".to_owned())),
            ("a.jsonl", 3, Err(FailureCode::MessageTooLarge)),
            ("a.jsonl", 4, Ok("e-90002".to_owned())),
        ]
    );
    let of_c: Vec<_> = said.iter().filter(|(key, ..)| *key == "c.jsonl").collect();
    assert_eq!(of_c.len(), many.len());
    for (n, (_, line, event)) in of_c.iter().enumerate() {
        assert_eq!((*line, event.as_ref().unwrap()), (n as u64 + 1, &format!("e-{n}")));
    }
    assert_eq!(said.last().unwrap(), &("e.jsonl", 1, Err(FailureCode::MessageNotJson)));
    assert_eq!(said.len(), 3 + many.len() + 1);
}

#[tokio::test]
async fn a_message_that_announces_nothing_says_why_and_a_long_one_is_not_read() {
    let bucket = bucket(&[("kadoa/t/w/2026-01-01T00-00-00Z-r/run.json", "{\"a\": 1".to_owned())]).await;
    let mut folders = bucket.run_folders(&team_id("t"), None, None).await.unwrap().folders;
    folders.push(RunFolder { message_bytes: Some(1 << 30), ..folders[0].clone() });
    let codes: Vec<_> = bucket
        .announcements(&folders)
        .await
        .unwrap()
        .into_iter()
        .map(|announced| announced.unwrap_err().code)
        .collect();
    assert_eq!(codes, [FailureCode::MessageNotJson, FailureCode::MessageTooLarge]);
}
