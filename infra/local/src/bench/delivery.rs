//! `bench delivery`: what a delivery asks of AWS, by function and operation, as the tables grow older.

use std::{collections::BTreeMap, path::Path};

use local_stack::{Existing, LocalStack, Progress, Project, Result, Targets, files, progress};
use serde::{Deserialize, Serialize};

use super::{
    directory,
    options::Options,
    process::{follow, script},
    table::{Table, median, verdict},
};

const S3_REQUESTS_MAX: u64 = 12;
const DYNAMODB_REQUESTS_MAX: u64 = 15;
/// The services whose requests are added up, as the driver names them.
const S3: &str = "S3";
const DYNAMODB: &str = "DynamoDB";
const SERVICES: [&str; 4] = [S3, DYNAMODB, "Step Functions", "SQS"];
const STAGING: &str = "stage-run";

/// What the driver found.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    scenarios: Vec<Scenario>,
}

/// Counted deliveries of runs to a team with so many connectors, into tables of this age.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Scenario {
    connectors: u64,
    /// Commits of each version table before the first counted delivery.
    table_age: u64,
    /// Whether every function was started anew for each delivery.
    cold: bool,
    deliveries: u64,
    /// Over all deliveries.
    operations: Vec<Operation>,
    /// The requests of each delivery, by service.
    totals: Vec<BTreeMap<String, u64>>,
    /// Of each delivery.
    state_transitions: Vec<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    function: String,
    service: String,
    operation: String,
    count: u64,
}

/// Starts a stack, delivers and counts.
pub(super) async fn run(options: &Options) -> Result<()> {
    let deliveries = options.number("deliveries", 20, 1..=500)?;
    let ages = options.numbers("ages", &[10, 1_000, 10_000], 1..=20_000)?;
    let connectors = options.number("connectors", 10, 2..=50)?;
    let project = Project::find()?;
    let progress = Progress::new();
    let start = LocalStack::start(&project, "bench", Existing::Replace, Targets::Binaries, &progress);
    let stack = Box::pin(start).await?;
    let stage = progress.stage("delivering");
    let ages: Vec<String> = ages.iter().map(u64::to_string).collect();
    let mut command = script(&project, stack.tools(), "deliveries.py");
    command.arg(stack.path()).arg(deliveries.to_string()).arg(ages.join(",")).arg(connectors.to_string());
    let report: Report = follow(&mut command, "delivering", &stage).await?;
    stage.done();
    stack.stop().await?;
    let path = directory(&project).join("delivery.json");
    files::write_json(&path, &report)?;
    show(&report, &path);
    Ok(())
}

impl Scenario {
    /// The requests of one service, of each delivery.
    fn requests(&self, service: &str) -> impl Iterator<Item = u64> {
        self.totals.iter().map(move |total| total.get(service).copied().unwrap_or_default())
    }

    fn count(&self, function: &str, service: &str, operation: &str) -> u64 {
        let same = |found: &&Operation| {
            (found.function.as_str(), found.service.as_str(), found.operation.as_str())
                == (function, service, operation)
        };
        self.operations.iter().filter(same).map(|found| found.count).sum()
    }

    /// What staging asks, over all deliveries, by service: a write of many items is one request as that of one is.
    fn staging(&self) -> BTreeMap<&str, u64> {
        let mut requests = BTreeMap::new();
        for found in self.operations.iter().filter(|operation| operation.function == STAGING) {
            *requests.entry(found.service.as_str()).or_default() += found.count;
        }
        requests
    }
}

fn show(report: &Report, path: &Path) {
    let mut operations = headed(report);
    for (function, service, operation) in every_operation(report) {
        let each = |scenario: &Scenario| mean(scenario.count(function, service, operation), scenario.deliveries);
        let cells = report.scenarios.iter().map(each);
        operations.row([format!("{function}  {service} {operation}")].into_iter().chain(cells));
    }
    let mut totals = headed(report);
    for service in SERVICES {
        let cells = report.scenarios.iter().map(|scenario| spread(scenario.requests(service)));
        totals.row([format!("{service} requests")].into_iter().chain(cells));
    }
    let cells = report.scenarios.iter().map(|scenario| spread(scenario.state_transitions.iter().copied()));
    totals.row(["state transitions".to_owned()].into_iter().chain(cells));
    let deliveries = report.scenarios.first().map_or(0, |scenario| scenario.deliveries);
    progress::result(&format!(
        "\nRequests of the functions for one run, by operation: the mean of {deliveries} runs\n\n{operations}\n\
         The same, by service, without publish-metadata and maintain-tables, which come later and serve many deliveries at\n\
         once: the median, and the range where there is one\n\n{totals}\n{}\n\n{}",
        verdicts(report).join("\n"),
        path.display(),
    ));
}

/// A table with a column for each scenario, whose first rows say which.
fn headed(report: &Report) -> Table {
    let mut table = Table::default();
    let mut row = |name: &str, cell: &dyn Fn(&Scenario) -> String| {
        table.row([name.to_owned()].into_iter().chain(report.scenarios.iter().map(cell)));
    };
    row("connectors", &|scenario| scenario.connectors.to_string());
    row("commits before", &|scenario| scenario.table_age.to_string());
    row("functions", &|scenario| if scenario.cold { "cold" } else { "warm" }.to_owned());
    table.row([]);
    table
}

fn every_operation(report: &Report) -> Vec<(&str, &str, &str)> {
    let all = report.scenarios.iter().flat_map(|scenario| &scenario.operations);
    let mut all: Vec<_> = all.map(|o| (o.function.as_str(), o.service.as_str(), o.operation.as_str())).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn verdicts(report: &Report) -> Vec<String> {
    let one = |cold| report.scenarios.iter().filter(move |scenario| scenario.connectors == 1 && scenario.cold == cold);
    let mut lines = Vec::new();
    for (cold, start) in [(false, "warm"), (true, "cold")] {
        for (service, allowed) in [(S3, S3_REQUESTS_MAX), (DYNAMODB, DYNAMODB_REQUESTS_MAX)] {
            let Some(most) = one(cold).flat_map(|scenario| scenario.requests(service)).max() else { continue };
            let text = format!(
                "{most} {service} requests at most for one connector, at any age, with {start} functions; aimed for: \
                 {allowed}"
            );
            lines.push(verdict(most <= allowed, &text));
        }
    }
    let pair = one(false).next().zip(report.scenarios.iter().find(|scenario| scenario.connectors > 1));
    if let Some((one, many)) = pair {
        let text = format!("staging makes as many requests for {} connectors as for one", many.connectors);
        lines.push(verdict(one.staging() == many.staging(), &text));
    }
    lines
}

/// A mean, without decimals where there are none.
fn mean(count: u64, deliveries: u64) -> String {
    if count.is_multiple_of(deliveries.max(1)) {
        return (count / deliveries.max(1)).to_string();
    }
    format!("{:.2}", count as f64 / deliveries as f64)
}

fn spread(values: impl Iterator<Item = u64>) -> String {
    let values: Vec<u64> = values.collect();
    let (least, most) = (values.iter().min(), values.iter().max());
    let middle = median(values.iter().map(|&value| value as f64));
    match (least, most) {
        (Some(least), Some(most)) if least != most => format!("{middle} ({least}–{most})"),
        (Some(all), _) => all.to_string(),
        (None, _) => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(connectors: u64, staging_gets: u64, s3: [u64; 2]) -> Scenario {
        let operation = Operation {
            function: STAGING.to_owned(),
            service: S3.to_owned(),
            operation: "GetObject".to_owned(),
            count: staging_gets,
        };
        let totals = s3.map(|count| BTreeMap::from([(S3.to_owned(), count)]));
        Scenario {
            connectors,
            table_age: 10,
            cold: false,
            deliveries: 2,
            operations: vec![operation],
            totals: totals.to_vec(),
            state_transitions: vec![9, 9],
        }
    }

    #[test]
    fn the_worst_delivery_decides_about_a_target() {
        let good = verdicts(&Report { scenarios: vec![scenario(1, 4, [11, 12]), scenario(10, 4, [99, 99])] });
        assert!(good.iter().all(|line| line.contains('✓')), "{good:?}");
        let bad = verdicts(&Report { scenarios: vec![scenario(1, 4, [11, 13]), scenario(10, 5, [99, 99])] });
        let signs: Vec<bool> = bad.iter().map(|line| line.contains('✓')).collect();
        assert_eq!(signs, [false, true, false]);
    }

    #[test]
    fn cold_functions_have_verdicts_of_their_own() {
        let cold = Scenario { cold: true, ..scenario(1, 4, [200, 200]) };
        let lines = verdicts(&Report { scenarios: vec![scenario(1, 4, [12, 12]), cold] });
        let signs: Vec<bool> = lines.iter().map(|line| line.contains('✓')).collect();
        assert_eq!(signs, [true, true, false, true]);
    }

    #[test]
    fn figures_are_written_as_short_as_they_are() {
        assert_eq!((mean(40, 20).as_str(), mean(41, 20).as_str()), ("2", "2.05"));
        assert_eq!(spread([3, 3].into_iter()), "3");
        assert_eq!(spread([3, 5, 4].into_iter()), "4 (3–5)");
        assert_eq!(spread([].into_iter()), "–");
    }
}
