//! Random histories: every way to read a table gives the same files, in the same order for the same base.

use proptest::prelude::*;

use super::checkpoints::keeping;
use super::forms::Form;
use super::open::{all_files, with_vector};
use super::*;

#[derive(Debug, Clone)]
enum Event {
    /// Adds files by number, some of them with a vector, and removes others.
    Commit {
        adds: Vec<(u8, bool)>,
        removes: Vec<u8>,
        style: Style,
    },
    Checkpoint(usize),
    /// A warm reader looks.
    Look,
}

/// How a commit says the same.
#[derive(Debug, Clone, Copy)]
struct Style {
    /// A file that is there may be added again without being removed.
    enters_again: bool,
    removes_last: bool,
    /// It is read in parts: between these actions lie as many empty lines as are read at once.
    parted_at: Option<usize>,
}

fn style() -> impl Strategy<Value = Style> {
    let parted_at = proptest::option::weighted(0.2, 0..6_usize);
    (any::<bool>(), any::<bool>(), parted_at).prop_map(|(enters_again, removes_last, parted_at)| Style {
        enters_again,
        removes_last,
        parted_at,
    })
}

fn event() -> impl Strategy<Value = Event> {
    let adds = proptest::collection::vec((0..24_u8, proptest::bool::weighted(0.2)), 0..5);
    prop_oneof![
        6 => (adds, proptest::collection::vec(0..24_u8, 0..3), style())
            .prop_map(|(adds, removes, style)| Event::Commit { adds, removes, style }),
        2 => (0..Form::ALL.len()).prop_map(Event::Checkpoint),
        1 => Just(Event::Look),
    ]
}

/// What is in the table: files in the order of their last addition.
type Model = Vec<(String, Option<String>)>;

fn place(version: u64) -> String {
    format!("v{version}")
}

async fn live(events: Vec<Event>) {
    let store = Arc::new(Counted::default());
    store.write(PATH, 0, &opening()).await;
    let warm = reader(&store);
    let mut models: Vec<Model> = vec![Vec::new()];
    let mut bases = vec![Base(None)];
    for event in events {
        let newest = models.len() as u64 - 1;
        match event {
            Event::Commit { adds, removes, style } => {
                let version = newest + 1;
                let mut model = models.last().unwrap().clone();
                let mut actions = Vec::new();
                let take = |path: &str, model: &mut Model, actions: &mut Vec<serde_json::Value>| {
                    let Some(found) = model.iter().position(|(known, _)| known == path) else { return };
                    let (_, vector) = model.remove(found);
                    actions.push(vector.map_or_else(|| remove(path), |vector| with_vector(remove(path), &vector)));
                };
                for number in removes {
                    take(&format!("f{number}"), &mut model, &mut actions);
                }
                for (number, has_vector) in adds {
                    let path = format!("f{number}");
                    // A file has one place at a time, and one action of a kind in a commit.
                    if actions.iter().any(|action| action["add"]["path"] == path.as_str()) {
                        continue;
                    }
                    let vector = has_vector.then(|| place(version));
                    if style.enters_again && vector.is_none() {
                        model.retain(|known| *known != (path.clone(), None));
                    }
                    take(&path, &mut model, &mut actions);
                    actions.push(vector.as_ref().map_or_else(|| add(&path), |vector| with_vector(add(&path), vector)));
                    model.push((path, vector));
                }
                if style.removes_last {
                    actions.sort_by_key(|action| action.get("remove").is_some());
                }
                actions.push(json!({"commitInfo": {"timestamp": 1_000 + version}}));
                let mut lines: Vec<String> = actions.iter().map(ToString::to_string).collect();
                if let Some(at) = style.parted_at {
                    lines.insert(at.min(lines.len()), "\n".repeat(1_024));
                }
                store.write_text(PATH, version, lines.join("\n")).await;
                models.push(model);
            }
            Event::Checkpoint(form) => {
                if bases.contains(&Base(Some(newest))) {
                    continue;
                }
                let files = all_files(reader(&store).open(PATH, Some(newest), None).await.unwrap()).await;
                store.checkpoint(newest, &files, Form::ALL[form]).await;
                bases.push(Base(Some(newest)));
            }
            Event::Look => drop(warm.open(PATH, None, None).await.unwrap()),
        }
    }
    let newest = models.len() as u64 - 1;
    for version in [0, newest / 2, newest] {
        let mut model = models[usize::try_from(version).unwrap()].clone();
        for base in bases.iter().filter(|base| base.0.is_none_or(|base| base <= version)) {
            let cold = reader(&store);
            let kept = all_files(cold.open(PATH, Some(version), Some(*base)).await.unwrap()).await;
            let again = all_files(cold.open(PATH, Some(version), Some(*base)).await.unwrap()).await;
            // Nothing is held; what some commits add; what some more do.
            for table_max in [0, 700, 2_000] {
                let reader = keeping(&store, table_max);
                let streamed = all_files(reader.open(PATH, Some(version), Some(*base)).await.unwrap()).await;
                assert_eq!(kept, streamed, "{version} {base:?} {table_max}");
            }
            let warmed = all_files(warm.open(PATH, Some(version), Some(*base)).await.unwrap()).await;
            assert_eq!(kept, again, "{version} {base:?}");
            assert_eq!(kept, warmed, "{version} {base:?}");
            let name = |file: &Arc<File>| {
                (file.path.clone(), file.deletion_vector.as_ref().map(|vector| vector.path_or_inline_dv.clone()))
            };
            let mut found: Model = kept.iter().map(name).collect();
            if *base == Base(None) {
                assert_eq!(found, model, "{version}: in the order of their addition");
            }
            found.sort();
            model.sort();
            assert_eq!(found, model, "{version} {base:?}");
            model = models[usize::try_from(version).unwrap()].clone();
        }
        let has_vector = model.iter().any(|(_, vector)| vector.is_some());
        let snapshot = reader(&store).snapshot(PATH, Some(version)).await;
        assert_eq!(snapshot.is_err(), has_vector);
        if let Ok(snapshot) = snapshot {
            let opened = reader(&store).open(PATH, Some(version), Some(snapshot.base)).await.unwrap();
            assert_eq!(snapshot.files().cloned().collect::<Vec<_>>(), all_files(opened).await);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_way_to_read_a_table_gives_the_same_files_in_the_same_order(
        events in proptest::collection::vec(event(), 1..40),
    ) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(live(events));
    }
}
