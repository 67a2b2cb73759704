//! The workspace's packages, as cargo sees them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::root;

/// Where a package's dependency is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// In the program, or to build it.
    Program,
    /// In tests only.
    Tests,
}

/// A dependency of a package.
#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) used_in: Use,
}

/// A package of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// The package's folder below the root, such as `functions/stage-run`.
    pub(crate) folder: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    /// The files that cargo compiles as roots of a target.
    pub(crate) roots: Vec<PathBuf>,
}

impl Package {
    /// Whether the package is deployed as a function.
    pub(crate) fn is_function(&self) -> bool {
        self.folder.starts_with("functions")
    }
}

/// Every package of the workspace, by name.
pub(crate) fn packages() -> BTreeMap<String, Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter().map(package);
    packages.map(|package| (package.name.clone(), package)).collect()
}

fn package(value: &Value) -> Package {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let manifest = text(&value["manifest_path"]);
    let folder = Path::new(&manifest).parent().unwrap().strip_prefix(root()).unwrap().to_owned();
    let dependency = |value: &Value| Dependency {
        name: text(&value["name"]),
        used_in: if value["kind"] == "dev" { Use::Tests } else { Use::Program },
    };
    let listed = |name: &str| value[name].as_array().unwrap().iter();
    Package {
        name: text(&value["name"]),
        folder,
        dependencies: listed("dependencies").map(dependency).collect(),
        roots: listed("targets").map(|target| PathBuf::from(text(&target["src_path"]))).collect(),
    }
}
