//! What holds for every source file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tests::root;

use crate::packages::{Package, packages};

/// The longest source file, in lines: what can be read in one sitting.
const LINES_MAX: usize = 700;

/// The sources of every package: file and text.
fn sources() -> Vec<(Package, BTreeMap<PathBuf, String>)> {
    let read = |package: Package| {
        let mut files = BTreeMap::new();
        collect(&root().join(&package.folder), &mut files);
        (package, files)
    };
    packages().into_values().map(read).collect()
}

fn collect(folder: &Path, into: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.insert(path.clone(), fs::read_to_string(path).unwrap());
        }
    }
}

/// The sources for which something holds.
fn where_holds(holds: impl Fn(&Path, &str) -> bool) -> Vec<PathBuf> {
    let files = sources().into_iter().flat_map(|(_, files)| files);
    files.filter(|(path, text)| holds(path, text)).map(|(path, _)| path).collect()
}

#[test]
fn every_source_file_is_compiled() {
    let mut orphans = Vec::new();
    for (package, files) in sources() {
        for path in files.keys().filter(|path| !package.roots.contains(path)) {
            let file = path.file_name().unwrap().to_str().unwrap();
            let module = match file {
                "mod.rs" => path.parent().unwrap().file_name().unwrap().to_str().unwrap(),
                file => file.strip_suffix(".rs").unwrap(),
            };
            let ways = [format!("mod {module};"), format!("{file}\"]")];
            if !files.iter().any(|(of, text)| of != path && ways.iter().any(|way| text.contains(way))) {
                orphans.push(path.clone());
            }
        }
    }
    assert_eq!(orphans, Vec::<PathBuf>::new(), "in no module");
}

#[test]
fn every_folder_of_tests_is_a_target() {
    let packages = packages();
    let package = &packages["tests"];
    let mut forgotten = Vec::new();
    for entry in fs::read_dir(root().join(&package.folder)).unwrap() {
        let folder = entry.unwrap().path();
        if folder.is_dir() && !folder.ends_with("src") {
            let mut sources = BTreeMap::new();
            collect(&folder, &mut sources);
            if !sources.is_empty() && !package.roots.iter().any(|root| root.starts_with(&folder)) {
                forgotten.push(folder);
            }
        }
    }
    assert_eq!(forgotten, Vec::<PathBuf>::new(), "no [[test]] of their own");
}

#[test]
fn a_file_can_be_read_in_one_sitting() {
    let long = where_holds(|_, text| text.lines().count() > LINES_MAX);
    assert_eq!(long, Vec::<PathBuf>::new(), "over {LINES_MAX} lines");
}

#[test]
fn every_file_says_what_it_knows() {
    let is_part_of_its_neighbour = |path: &Path| path.file_stem().unwrap().to_str().unwrap().ends_with("tests");
    let silent = where_holds(|path, text| !text.starts_with("//! ") && !is_part_of_its_neighbour(path));
    assert_eq!(silent, Vec::<PathBuf>::new(), "begin with no doc comment");
}

#[test]
fn no_test_is_left_out_and_nothing_is_left_to_do() {
    let words = [["#[", "ignore"], ["TO", "DO"], ["FIX", "ME"], ["to", "do!("], ["un", "implemented!("]];
    let words = words.map(|parts| parts.concat());
    let left = where_holds(|_, text| words.iter().any(|word| text.contains(word)));
    assert_eq!(left, Vec::<PathBuf>::new(), "have one of {words:?}");
}
