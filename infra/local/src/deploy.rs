//! Deploys the production template, as it stands, into a running emulator.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Stdio,
};

use serde::Deserialize;
use tokio::process::Command;

use crate::{
    emulator::{REGION, ROOT_KEY},
    error::{Error, Result},
    files::{self, Project},
    functions::Functions,
    process::{Group, MARK, tail},
    progress::Progress,
    tools::Tools,
    workspace,
};

/// The stack's name, locally.
pub const STACK: &str = "spillway";
/// The address from which local e-mails come.
pub const SENDER: &str = "spillway@vendor.test";

/// How long rows wait for a batch of their metadata table, locally: the shortest time that the template allows, in
/// seconds.
const METADATA_BATCH_SECONDS: u32 = 2;

/// Where and how to deploy.
#[derive(Debug)]
pub(crate) struct Deployment<'a> {
    pub(crate) project: &'a Project,
    pub(crate) tools: &'a Tools,
    pub(crate) functions: &'a Functions,
    /// The instance's directory.
    pub(crate) directory: &'a Path,
    /// The gateway's address for AWS calls.
    pub(crate) endpoint: &'a str,
    /// The gateway's address for sharing clients.
    pub(crate) sharing: &'a str,
    /// The Databricks workspace.
    pub(crate) databricks: &'a str,
    /// The stack's mark: a deployment whose command was killed is found by it and ended.
    pub(crate) mark: &'a str,
}

/// What a deployment made.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deployed {
    /// The stack's outputs.
    pub(crate) outputs: BTreeMap<String, String>,
    /// The function URLs, by logical id.
    pub(crate) function_urls: BTreeMap<String, String>,
    /// The ARN of the Databricks service principal's secret.
    #[serde(skip)]
    pub(crate) secret_arn: String,
}

/// Where the secret of the service principal is.
#[derive(Deserialize)]
struct Kept {
    arn: String,
}

/// What decides whether a running stack is up to date: binaries, template, state machines, scripts.
pub(crate) fn fingerprint(project: &Project, functions: &Functions) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    functions.fingerprint.hash(&mut hasher);
    for path in inputs(project)? {
        let bytes = fs::read(&path).map_err(Error::file("read", &path))?;
        (path, bytes).hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn inputs(project: &Project) -> Result<Vec<PathBuf>> {
    let mut found = vec![project.template()];
    for directory in [project.root().join("infra/state-machines"), project.local("python")] {
        if directory.is_dir() {
            let entries = fs::read_dir(&directory).map_err(Error::file("list", &directory))?;
            found.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()));
        }
    }
    found.push(project.local("requirements.txt"));
    found.sort();
    Ok(found)
}

impl Deployment<'_> {
    /// Deploys and returns what is there.
    pub(crate) async fn run(&self, progress: &Progress) -> Result<Deployed> {
        let stage = progress.stage("deploying the stack");
        stage.detail("laying out the template");
        let template = self.built_template().await?;
        stage.detail("keeping the service principal's secret");
        let secret_arn = self.keep_secret().await?;
        stage.detail("sam deploy");
        self.sam_deploy(&template, &secret_arn).await?;
        stage.detail("reading the outputs");
        let deployed = Deployed { secret_arn, ..self.after_deploy().await? };
        stage.done_with(&format!("{} outputs", deployed.outputs.len()));
        Ok(deployed)
    }

    async fn built_template(&self) -> Result<PathBuf> {
        let build = self.directory.join("build");
        files::remove(&build)?;
        let template = self.project.template();
        if !template.is_file() {
            return Err(Error::Project(format!("there is no template at {}", template.display())));
        }
        let mut command = self.python("built_template.py");
        command.arg(template).arg(&self.functions.directory).arg(&build);
        self.logged(&mut command, "laying out the template", "template.log").await?;
        Ok(build.join("template.yaml"))
    }

    async fn sam_deploy(&self, template: &Path, secret_arn: &str) -> Result<()> {
        let mut command = self.tool("sam");
        // The function's architecture is this machine's: the binaries run here.
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
        command
            .args(["deploy", "--stack-name", STACK, "--region", REGION, "--resolve-s3"])
            .args(["--capabilities", "CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"])
            .args(["--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"])
            .arg("--template-file")
            .arg(template)
            .arg("--parameter-overrides")
            .arg(format!("Architecture={architecture}"))
            .arg(format!("PublicEndpoint={}/delta-sharing", self.sharing))
            .arg(format!("DatabricksHost={}", self.databricks))
            .arg(format!("DatabricksSecretArn={secret_arn}"))
            .arg(format!("DatabricksCatalog={}", workspace::CATALOG))
            .arg(format!("DatabricksDeploymentName={}", workspace::DEPLOYMENT))
            .arg(format!("MetadataBatchSeconds={METADATA_BATCH_SECONDS}"))
            .arg(format!("SenderAddress={SENDER}"));
        self.logged(&mut command, "deploying the stack", "deploy.log").await.map(drop)
    }

    async fn keep_secret(&self) -> Result<String> {
        let (client_id, client_secret) = workspace::PRINCIPAL;
        let mut command = self.python("workspace_secret.py");
        command.args([workspace::SECRET_NAME, client_id, client_secret]);
        let log = self.logged(&mut command, "keeping the service principal's secret", "secret.log").await?;
        Ok(last_line::<Kept>(&log)?.arn)
    }

    async fn after_deploy(&self) -> Result<Deployed> {
        let mut command = self.python("after_deploy.py");
        command.arg(STACK).arg(SENDER);
        let log = self.logged(&mut command, "reading the stack's outputs", "outputs.log").await?;
        last_line(&log)
    }

    fn python(&self, script: &str) -> Command {
        let mut command = self.tool("python");
        command.arg(self.project.local("python").join(script));
        command
    }

    /// A tool that sees the local stack, and no AWS settings of the person who runs it.
    fn tool(&self, name: &str) -> Command {
        let home = self.directory.join("data/home");
        let mut command = Command::new(self.tools.program(name));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LANG", "C.UTF-8")
            .env(MARK, self.mark)
            .env("TMPDIR", self.directory.join("data/tmp"))
            .env("HOME", home)
            .env("AWS_ENDPOINT_URL", self.endpoint)
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", ROOT_KEY)
            .env("AWS_SECRET_ACCESS_KEY", ROOT_KEY)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("SAM_CLI_TELEMETRY", "0")
            .env("SAM_CLI_POLL_DELAY", "0.2")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("COLUMNS", "160");
        command
    }

    async fn logged(&self, command: &mut Command, what: &str, log: &str) -> Result<PathBuf> {
        let log = self.directory.join(log);
        let out = File::create(&log).map_err(Error::file("create", &log))?;
        let err = out.try_clone().map_err(Error::file("open", &log))?;
        command.current_dir(self.directory).stdin(Stdio::null()).stdout(out).stderr(err);
        let mut group = Group::spawn(command)?;
        let status = group.wait().await;
        let status = status.map_err(|source| Error::Spawn { program: what.to_owned(), source })?;
        if status.success() {
            return Ok(log);
        }
        Err(Error::Failed {
            what: what.to_owned(),
            status: status.to_string(),
            output: format!("{}\nsee {}", tail(&log, 40), log.display()),
        })
    }
}

/// What a program's last line of output says, as JSON.
fn last_line<T: serde::de::DeserializeOwned>(log: &Path) -> Result<T> {
    let text = fs::read_to_string(log).map_err(Error::file("read", log))?;
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last)
        .map_err(|error| Error::Project(format!("could not read the last line of {}: {error}", log.display())))
}
