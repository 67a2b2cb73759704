//! The conformance suite on our server: behind the deployed function's URL, and as a local process over directories.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tests::{Stack, root, unique};
use tokio::process::Command;

/// Far more than what any one group of the suite holds: a suite that leaves out most of its tests has not passed.
const PASSED_MIN: usize = 380;

struct Fixtures(PathBuf);

impl Drop for Fixtures {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn python(stack: &Stack) -> Command {
    let mut command = Command::new(&stack.python);
    command
        .current_dir(root())
        .env("AWS_ENDPOINT_URL", &stack.file.aws_endpoint)
        .env("AWS_ACCESS_KEY_ID", &stack.file.access_key_id)
        .env("AWS_SECRET_ACCESS_KEY", &stack.file.secret_access_key)
        .env("AWS_REGION", &stack.file.region)
        .env("AWS_DEFAULT_REGION", &stack.file.region)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs the suite on what a loader brings into a server. Says what failed, if something did.
async fn run(stack: &Stack, fixtures: &Path, loader: &[&str]) {
    let hook: Vec<_> = [stack.python.to_str().unwrap()].iter().chain(loader).copied().collect();
    let output = python(stack)
        .args(["-m", "pytest", "tests/conformance", "-q", "--tb=short", "-p", "no:cacheprovider"])
        .arg(format!("--fixtures-command={}", hook.join(" ")))
        .arg(format!("--fixtures-directory={}", fixtures.display()))
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{loader:?}\n{said}\n{errors}");
    let summary = said.lines().last().unwrap_or_default();
    let words: Vec<_> = summary.split_whitespace().collect();
    let passed = words.windows(2).find(|pair| pair[1].starts_with("passed")).and_then(|pair| pair[0].parse().ok());
    assert!(passed.is_some_and(|passed: usize| passed >= PASSED_MIN), "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sharing_server_conforms_deployed_and_as_a_local_process() {
    let stack = Stack::of_this_test();
    let fixtures = Fixtures(std::env::temp_dir().join(format!("conformance-{}", unique())));
    let built = python(&stack).arg("tests/conformance/fixtures/build.py").arg(&fixtures.0).output().await.unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

    let program = std::env::current_exe().unwrap().parent().unwrap().with_file_name("serve-directory");
    let local = ["tests/conformance/loaders/serve_directory.py", program.to_str().unwrap()];
    let (bucket, state) = (stack.output("TablesBucketName"), stack.output("StateTableName"));
    let endpoint = &stack.file.sharing_endpoint;
    let deployed = ["tests/conformance/loaders/spillway_stack.py", bucket, state, endpoint];
    tokio::join!(run(&stack, &fixtures.0, &local), run(&stack, &fixtures.0, &deployed));
}
