//! Who may depend on whom. A crate that gains an edge changes a table here, with the reason in the same commit.

use std::collections::BTreeSet;

use crate::packages::{Package, Use, packages};

/// The edges between crates of ours, functions and tests aside. Dependencies point one way.
const EDGES: [(&str, &[&str]); 13] = [
    // The rules and the steps know nobody.
    ("delivery", &[]),
    ("events", &["delivery"]),
    ("rows", &["delivery"]),
    ("tables", &["delivery", "events"]),
    // Plans queries over the log that `tables` reads.
    ("sharing", &["delivery", "events", "tables"]),
    // Implements the ports of `delivery`, of `sharing`, and the secret of `unity-catalog`.
    ("aws", &["delivery", "events", "sharing", "unity-catalog"]),
    ("lambda", &["delivery", "events"]),
    // Fakes of the ports of both.
    ("testkit", &["delivery", "sharing"]),
    // Implements a port of `delivery`.
    ("unity-catalog", &["delivery"]),
    // Assembles the sharing backends from a function's settings, so that nine functions need not.
    ("backends", &["aws", "delivery", "lambda", "sharing", "tables", "unity-catalog"]),
    // Takes the time from outside, as everything does; reads the logs of registered tables as everybody does.
    ("fake-databricks", &["delivery", "tables"]),
    // The deployed server's router, over directories: nothing of AWS.
    ("serve-directory", &["delivery", "sharing", "tables"]),
    ("xtask", &[]),
];

/// What only the crates that are named for it may use, as prefixes of crate names. `functions` stands for each of
/// them.
const KEPT_BELOW: [(&[&str], &[&str]); 10] = [
    (&["aws-sdk-", "aws-config", "aws-smithy-", "aws-credential-"], &["aws"]),
    // `tables` reads and writes checkpoints, which are Parquet files, and merges small data files.
    (&["arrow"], &["rows", "tables"]),
    // The proof reads a shared file's footer, as a recipient does: no Arrow in it.
    (&["parquet"], &["rows", "sharing", "tables"]),
    // `backends` reads the footer of a data file; the fake workspace reads logs; `serve-directory` serves files.
    (&["object_store"], &["aws", "backends", "fake-databricks", "functions", "serve-directory", "tables"]),
    (&["lambda_runtime"], &["lambda"]),
    (&["lambda_http"], &["serve-share"]),
    (&["aws_lambda_events"], &["accept-run"]),
    (&["axum"], &["fake-databricks", "serve-directory", "serve-share", "sharing"]),
    (&["reqwest"], &["sharing", "unity-catalog"]),
    // 49 MB a binary, and 20 requests a table: checkpoints and merging are our own. It is the judge in tests.
    (&["deltalake", "delta_kernel", "datafusion"], &[]),
];

/// Test code may use these, too. (`tests` is the whole's test code: it plays operator, producer and recipient.)
const KEPT_BELOW_IN_TESTS: [(&str, &str); 1] = [("object_store", "sharing")];

/// What the rules and the steps may use: no SDK, no Arrow, no serde, no clock, no runtime.
const UNDER_THE_RULES: [&str; 4] = ["async-trait", "hex", "sha2", "thiserror"];

fn used<'a>(package: &'a Package, of: &'a BTreeSet<String>) -> BTreeSet<&'a str> {
    let program = package.dependencies.iter().filter(|dependency| dependency.used_in == Use::Program);
    program.map(|dependency| dependency.name.as_str()).filter(|name| of.contains(*name)).collect()
}

#[test]
fn crates_depend_on_each_other_in_one_direction() {
    let packages = packages();
    let names = packages.keys().cloned().collect();
    for (name, allowed) in EDGES {
        let unknown: Vec<_> =
            used(&packages[name], &names).into_iter().filter(|edge| !allowed.contains(edge)).collect();
        assert_eq!(unknown, Vec::<&str>::new(), "{name} gained an edge");
    }
}

#[test]
fn the_table_of_edges_has_no_circle() {
    let mut settled: BTreeSet<&str> = BTreeSet::new();
    while settled.len() < EDGES.len() {
        let ready = EDGES.iter().filter(|(_, edges)| edges.iter().all(|edge| settled.contains(edge)));
        let next: Vec<_> = ready.map(|(name, _)| *name).filter(|name| !settled.contains(name)).collect();
        assert!(!next.is_empty(), "a circle beyond {settled:?}");
        settled.extend(next);
    }
}

#[test]
fn every_crate_has_its_place() {
    let listed: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).chain(["tests"]).collect();
    let packages = packages();
    let found = packages.values().filter(|package| !package.is_function()).map(|package| package.name.as_str());
    assert_eq!(found.collect::<BTreeSet<_>>(), listed);
}

#[test]
fn nobody_depends_on_a_function_and_no_program_on_test_code() {
    let packages = packages();
    let names = packages.keys().cloned().collect();
    for package in packages.values() {
        for edge in used(package, &names) {
            let allowed =
                !packages[edge].is_function() && !["fake-databricks", "testkit", "tests", "xtask"].contains(&edge);
            assert!(allowed || package.name == "tests", "{} depends on {edge}", package.name);
        }
    }
}

#[test]
fn a_technology_stays_below_the_crate_that_is_named_for_it() {
    let mut strayed = Vec::new();
    for package in packages().values() {
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let rule = KEPT_BELOW.iter().find(|(kept, _)| kept.iter().any(|prefix| name.starts_with(prefix)));
            let Some((_, below)) = rule else { continue };
            let allowed = package.name == "tests"
                || below.contains(&package.name.as_str())
                || (package.is_function() && below.contains(&"functions"))
                || (dependency.used_in == Use::Tests && KEPT_BELOW_IN_TESTS.contains(&(name, &package.name)));
            if !allowed {
                strayed.push(format!("{} uses {name}", package.name));
            }
        }
    }
    assert_eq!(strayed, Vec::<String>::new());
}

#[test]
fn the_rules_know_no_technology() {
    let packages = packages();
    let program = packages["delivery"].dependencies.iter().filter(|dependency| dependency.used_in == Use::Program);
    let used: Vec<_> = program.map(|dependency| dependency.name.as_str()).collect();
    assert!(used.iter().all(|name| UNDER_THE_RULES.contains(name)), "delivery uses {used:?}");
}
