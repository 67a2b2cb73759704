//! Pages of lists.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::Refusal;
use crate::{Options, Switch};

/// What a list call says about pages.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct PageQuery {
    max_results: Option<i64>,
    page_token: Option<String>,
}

/// One page of a list, in the order given.
///
/// Without `max_results` everything comes at once; 0 leaves the length to the server. A page may be empty though
/// there is a next one.
pub(crate) fn page(options: &Options, query: &PageQuery, field: &str, items: Vec<Value>) -> Result<Value, Refusal> {
    let Some(asked) = query.max_results else {
        return match query.page_token {
            Some(_) => Err(Refusal::invalid("page_token needs max_results")),
            None => Ok(json!({field: items})),
        };
    };
    let asked = usize::try_from(asked).map_err(|_| Refusal::invalid("max_results must not be negative"))?;
    let length = if asked == 0 { options.page_items } else { asked.min(options.page_items) }.max(1);
    let (from, empty_was_sent) = match query.page_token.as_deref() {
        None => (0, false),
        Some(token) => read_token(token).ok_or_else(|| Refusal::invalid("page_token is not valid"))?,
    };
    if options.empty_pages == Switch::On && !empty_was_sent {
        // The field is left out, as the real API does with empty lists.
        return Ok(json!({"next_page_token": format!("at-{from}-after-empty")}));
    }
    let end = (from + length).min(items.len());
    let next = (end < items.len()).then(|| format!("at-{end}"));
    let shown: Vec<_> = items.into_iter().skip(from).take(length).collect();
    let mut answer = json!({field: shown});
    if let (Some(next), Some(object)) = (next, answer.as_object_mut()) {
        object.insert("next_page_token".to_owned(), json!(next));
    }
    Ok(answer)
}

fn read_token(token: &str) -> Option<(usize, bool)> {
    let rest = token.strip_prefix("at-")?;
    match rest.strip_suffix("-after-empty") {
        Some(from) => Some((from.parse().ok()?, true)),
        None => Some((rest.parse().ok()?, false)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use delivery::ports::Clock;
    use delivery::timestamp::Timestamp;

    use super::*;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::EPOCH
        }
    }

    #[test]
    fn pages_hold_everything_once_with_and_without_empty_ones() {
        for (empty_pages, pages) in [(Switch::Off, 3), (Switch::On, 6)] {
            let options = Options { page_items: 2, empty_pages, ..Options::new(Arc::new(Still)) };
            let items: Vec<_> = (0..5).map(|n| json!(n)).collect();
            let mut query = PageQuery { max_results: Some(0), page_token: None };
            let (mut seen, mut count) = (Vec::new(), 0);
            loop {
                let answer = page(&options, &query, "items", items.clone()).unwrap();
                count += 1;
                seen.extend(answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default());
                match answer["next_page_token"].as_str() {
                    Some(token) => query.page_token = Some(token.to_owned()),
                    None => break,
                }
            }
            assert_eq!((seen, count), (items, pages));
        }
    }

    #[test]
    fn without_a_page_size_everything_comes_at_once() {
        let options = Options { page_items: 2, ..Options::new(Arc::new(Still)) };
        let items: Vec<_> = (0..5).map(|n| json!(n)).collect();
        let answer = page(&options, &PageQuery::default(), "items", items.clone()).unwrap();
        assert_eq!(answer, json!({"items": items}));
        let negative = PageQuery { max_results: Some(-1), page_token: None };
        assert!(page(&options, &negative, "items", items).is_err());
    }
}
