//! Metrics by log line: CloudWatch's embedded metric format, one line for each emission.

use std::io::Write as _;

use delivery::timestamp::Timestamp;
use serde_json::{Map, Value, json};

/// A value of one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// The metric's name, such as `TokensExpiring`.
    pub name: &'static str,
    /// What is counted.
    pub unit: Unit,
    /// The value.
    pub value: f64,
}

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Time.
    Seconds,
}

impl Unit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Seconds => "Seconds",
        }
    }
}

/// Emits metrics without dimensions. CloudWatch takes them from the function's log.
pub fn emit_metrics(namespace: &str, at: Timestamp, metrics: &[Metric]) {
    // A line that cannot be written cannot be reported either.
    let _ = std::io::stdout().lock().write_all(format!("{}\n", line(namespace, at, metrics)).as_bytes());
}

fn line(namespace: &str, at: Timestamp, metrics: &[Metric]) -> Value {
    let described: Vec<_> =
        metrics.iter().map(|metric| json!({"Name": metric.name, "Unit": metric.unit.as_str()})).collect();
    let mut line = Map::new();
    line.insert(
        "_aws".to_owned(),
        json!({
            "Timestamp": at.millis(),
            "CloudWatchMetrics": [{"Namespace": namespace, "Dimensions": [[]], "Metrics": described}],
        }),
    );
    line.extend(metrics.iter().map(|metric| (metric.name.to_owned(), json!(metric.value))));
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_in_the_embedded_metric_format() {
        let metrics = [
            Metric { name: "TokensExpiring", unit: Unit::Count, value: 2.0 },
            Metric { name: "Age", unit: Unit::Seconds, value: 1.5 },
        ];
        let at = Timestamp::from_millis(1_788_220_800_000).unwrap();
        let expected = json!({
            "_aws": {
                "Timestamp": 1_788_220_800_000_i64,
                "CloudWatchMetrics": [{
                    "Namespace": "Spillway/s",
                    "Dimensions": [[]],
                    "Metrics": [{"Name": "TokensExpiring", "Unit": "Count"}, {"Name": "Age", "Unit": "Seconds"}],
                }],
            },
            "TokensExpiring": 2.0,
            "Age": 1.5,
        });
        assert_eq!(line("Spillway/s", at, &metrics), expected);
    }
}
