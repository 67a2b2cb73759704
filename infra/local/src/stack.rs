//! The local stack as a whole: started, reused, handed out, ended.
//!
//! What runs is recorded *before* it is started, under a mark that every process of the stack
//! carries in its environment. So whatever happens to the command that started it, the next one
//! finds everything and ends it, and never anything else.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use crate::{
    deploy::{self, Deployment},
    emulator,
    error::{Error, Result},
    files::{self, Lock, Project},
    functions::{self, Functions, Targets},
    gateway::{Ports, client::Admin},
    process::{self, MARK, ProcessId, spawn_detached, tail},
    progress::Progress,
    stack_file::{DatabricksFile, StackFile, address, sharing},
    tools::{Requirements, Tools},
    workspace,
};

/// What to do about an instance that is running already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Keep it, and deploy into it what has changed.
    Reuse,
    /// End it and start from nothing.
    Replace,
}

/// How a stack came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was running and up to date.
    AlreadyUp,
    /// It was running; what had changed was deployed.
    Updated,
    /// It was started.
    Started,
}

/// What is recorded of a running instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    mark: String,
    emulator_port: u16,
    ports: Option<Ports>,
    gateway: Option<ProcessId>,
    emulator: Option<ProcessId>,
    databricks: Option<ProcessId>,
    /// The Databricks workspace's URL.
    databricks_url: Option<String>,
    /// The fingerprint of what is deployed; nothing while a deployment is under way.
    deployed: Option<String>,
}

/// A running local stack. It ends with this value unless it is left running.
#[derive(Debug)]
pub struct LocalStack {
    place: Place,
    state: State,
    file: StackFile,
    outcome: Outcome,
    tools: Tools,
    ends: bool,
    _lock: Lock,
}

/// An instance's directory, and the well-known `stack.json`.
#[derive(Debug, Clone)]
struct Place {
    directory: PathBuf,
    well_known: PathBuf,
}

const GATEWAY_SECONDS_MAX: u64 = 20;
const STARTS_MAX: u32 = 3;

impl LocalStack {
    /// Installs the tools, builds the functions, starts the instance and deploys.
    ///
    /// # Errors
    ///
    /// Returns [`Error`]; nothing of the instance is left running then, except that a running
    /// stack into which a change could not be deployed keeps running.
    pub async fn start(
        project: &Project,
        instance: &str,
        existing: Existing,
        targets: Targets,
        progress: &Progress,
    ) -> Result<Self> {
        let place = Place::of(project, instance);
        let lock = place.lock(instance)?;
        // Asked now: building may put a newer program in this one's place, and then the system calls it deleted.
        let program = std::env::current_exe().map_err(Error::file("find", "this program"))?;
        let tools = Tools::install(project, Requirements::Stack, progress).await?;
        let functions = functions::build(project, targets, progress).await?;
        let fingerprint = deploy::fingerprint(project, &functions)?;

        if existing == Existing::Reuse
            && let Some(state) = place.healthy().await
        {
            let up_to_date = state.deployed.as_deref() == Some(&fingerprint);
            if up_to_date && let Some(file) = files::read_json(&place.stack_file()) {
                let outcome = Outcome::AlreadyUp;
                return Ok(Self { place, state, file, outcome, tools, ends: true, _lock: lock });
            }
            let mut running = Running { place: place.clone(), state, ends: false };
            let file = running.deploy(project, &tools, &functions, fingerprint, progress).await?;
            let (state, outcome) = (running.state.clone(), Outcome::Updated);
            return Ok(Self { place, state, file, outcome, tools, ends: true, _lock: lock });
        }

        place.clean().await?;
        let mut running = Running::start(&place, &program, &functions, &tools, progress).await?;
        let file = running.deploy(project, &tools, &functions, fingerprint, progress).await?;
        running.ends = false;
        let (state, outcome) = (running.state.clone(), Outcome::Started);
        Ok(Self { place, state, file, outcome, tools, ends: true, _lock: lock })
    }

    /// What a client needs.
    #[must_use]
    pub fn file(&self) -> &StackFile {
        &self.file
    }

    /// Where that is written.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.place.stack_file()
    }

    /// How the stack came to be.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The Python tools, official clients among them.
    #[must_use]
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// The gateway's admin API.
    #[must_use]
    pub fn gateway(&self) -> Admin {
        Admin::at(&self.file.gateway_admin)
    }

    /// Leaves the stack running and returns the well-known place of its `stack.json`.
    ///
    /// # Errors
    ///
    /// Returns [`Error::File`] if that cannot be written; the stack ends then.
    pub fn leave_running(mut self) -> Result<PathBuf> {
        files::write_json(&self.place.well_known, &self.file)?;
        self.ends = false;
        Ok(self.place.well_known.clone())
    }

    /// Ends the stack and removes its data; its logs stay.
    ///
    /// # Errors
    ///
    /// Returns [`Error::File`] if something cannot be removed.
    pub async fn stop(mut self) -> Result<()> {
        self.ends = false;
        self.place.end(&self.state.mark).await
    }
}

impl Drop for LocalStack {
    fn drop(&mut self) {
        if self.ends {
            self.place.end_now(&self.state.mark);
        }
    }
}

/// Ends every instance that no command is using, and returns their names.
///
/// # Errors
///
/// Returns [`Error::Busy`] after the others have ended, if a command is using one.
pub async fn down(project: &Project) -> Result<Vec<String>> {
    let mut ended = Vec::new();
    let mut busy = None;
    let entries = std::fs::read_dir(project.target()).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.path().join("state.json").is_file()) {
        let instance = entry.file_name().to_string_lossy().into_owned();
        let place = Place::of(project, &instance);
        match place.lock(&instance) {
            Ok(_lock) => {
                place.clean().await?;
                ended.push(instance);
            }
            Err(error) => busy = Some(error),
        }
    }
    ended.sort();
    busy.map_or(Ok(ended), Err)
}

impl Place {
    fn of(project: &Project, instance: &str) -> Self {
        Self { directory: project.instance(instance), well_known: project.target().join("stack.json") }
    }

    fn lock(&self, instance: &str) -> Result<Lock> {
        files::lock(&self.directory.join("lock"))?.ok_or_else(|| Error::Busy { instance: instance.to_owned() })
    }

    fn state_file(&self) -> PathBuf {
        self.directory.join("state.json")
    }

    fn stack_file(&self) -> PathBuf {
        self.directory.join("stack.json")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The recorded state, if all of it is alive and answers and no deployment was broken off.
    async fn healthy(&self) -> Option<State> {
        let state: State = files::read_json(&self.state_file())?;
        state.deployed.as_ref()?;
        let alive = state.gateway?.is_alive() && state.emulator?.is_alive() && state.databricks?.is_alive();
        let admin = Admin::at(&address(state.ports?.admin));
        let ready = format!("{}/_ministack/ready", address(state.ports?.aws));
        let answers = alive
            && admin.health().await.is_ok()
            && crate::http::send(hyper::Method::GET, &ready, bytes::Bytes::new()).await.is_ok()
            && workspace::answers(state.databricks_url.as_ref()?).await;
        answers.then_some(state)
    }

    /// Ends what an earlier command recorded, however much of it still lives.
    async fn clean(&self) -> Result<()> {
        match files::read_json::<State>(&self.state_file()) {
            Some(state) => self.end(&state.mark).await,
            None => self.forget(),
        }
    }

    async fn end(&self, mark: &str) -> Result<()> {
        process::end_marked(mark).await;
        self.forget()
    }

    fn end_now(&self, mark: &str) {
        process::kill_marked(mark);
        // In a destructor there is nobody to tell; the next start removes what is left.
        let _ = self.forget();
    }

    /// Removes what only a running stack has.
    fn forget(&self) -> Result<()> {
        let ours = files::read_json::<StackFile>(&self.stack_file());
        if ours.is_some() && ours == files::read_json(&self.well_known) {
            files::remove(&self.well_known)?;
        }
        for name in ["stack.json", "gateway.json", "data", "build", "state.json"] {
            files::remove(&self.directory.join(name))?;
        }
        Ok(())
    }
}

/// The processes of an instance while it is being started.
struct Running {
    place: Place,
    state: State,
    ends: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ends {
            self.place.end_now(&self.state.mark);
        } else if self.state.deployed.is_none() {
            // The stack stays, and what is in it is known to be no fingerprint's. Should this not be
            // written, the next start takes the deployment for unfinished and starts anew.
            self.state.deployed = Some(String::new());
            let _ = self.save();
        }
    }
}

impl Running {
    async fn start(
        place: &Place,
        program: &Path,
        functions: &Functions,
        tools: &Tools,
        progress: &Progress,
    ) -> Result<Self> {
        let stage = progress.stage("starting the emulator");
        for attempt in 1.. {
            let mut running = Self::record(place)?;
            running.start_gateway(program).await?;
            if running.start_emulator(tools).await?.is_some() {
                running.start_databricks(&functions.databricks).await?;
                stage.done_with(&address(running.ports()?.aws));
                return Ok(running);
            }
            // Somebody took the port between our look and the emulator's; or it is broken.
            if attempt == STARTS_MAX {
                return Err(emulator::did_not_start(&place.log("emulator.log")));
            }
            drop(running);
        }
        Err(emulator::did_not_start(&place.log("emulator.log")))
    }

    /// Writes down what is about to be started.
    fn record(place: &Place) -> Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let state = State {
            mark: format!("{}:{}", place.directory.display(), since.as_nanos()),
            emulator_port: emulator::free_port()?,
            ports: None,
            gateway: None,
            emulator: None,
            databricks: None,
            databricks_url: None,
            deployed: None,
        };
        let running = Self { place: place.clone(), state, ends: true };
        running.save()?;
        Ok(running)
    }

    fn save(&self) -> Result<()> {
        files::write_json(&self.place.state_file(), &self.state)
    }

    fn ports(&self) -> Result<Ports> {
        self.state.ports.ok_or_else(|| Error::Project("the gateway has no ports".to_owned()))
    }

    async fn start_gateway(&mut self, program: &Path) -> Result<()> {
        let ports_file = self.place.directory.join("gateway.json");
        files::remove(&ports_file)?;
        let log = self.place.log("gateway.log");
        let out = File::create(&log).map_err(Error::file("create", &log))?;
        let err = out.try_clone().map_err(Error::file("open", &log))?;
        let emulator = SocketAddr::from((Ipv4Addr::LOCALHOST, self.state.emulator_port));
        let mut command = Command::new(program);
        command
            .args(["gateway", "--emulator", &emulator.to_string(), "--ports-file"])
            .arg(&ports_file)
            .env(MARK, &self.state.mark)
            .stdout(out)
            .stderr(err);
        let (mut child, process) = spawn_detached(&mut command)?;
        self.state.gateway = Some(process);
        self.save()?;
        let ports = wait_for_ports(&mut child, &ports_file, &log).await?;
        self.state.ports = Some(ports);
        self.save()
    }

    async fn start_emulator(&mut self, tools: &Tools) -> Result<Option<()>> {
        let data = self.place.directory.join("data");
        files::create_directory(&data)?;
        let log = self.place.log("emulator.log");
        let setup = emulator::Setup {
            port: self.state.emulator_port,
            gateway_port: self.ports()?.aws,
            data: &data,
            log: &log,
            mark: &self.state.mark,
        };
        let (mut child, process) = emulator::start(tools, &setup)?;
        self.state.emulator = Some(process);
        self.save()?;
        emulator::ready(&mut child, self.state.emulator_port, &log).await
    }

    async fn start_databricks(&mut self, program: &Path) -> Result<()> {
        let log = self.place.log("databricks.log");
        let (mut child, process) = workspace::start(program, self.state.emulator_port, &log, &self.state.mark)?;
        self.state.databricks = Some(process);
        self.save()?;
        let url = workspace::ready(&mut child, &log).await?.url;
        Admin::at(&address(self.ports()?.admin)).set_workspace(&url).await?;
        self.state.databricks_url = Some(url);
        self.save()
    }

    fn databricks_url(&self) -> Result<String> {
        let missing = || Error::Project("the Databricks workspace has no address".to_owned());
        self.state.databricks_url.clone().ok_or_else(missing)
    }

    async fn deploy(
        &mut self,
        project: &Project,
        tools: &Tools,
        functions: &Functions,
        fingerprint: String,
        progress: &Progress,
    ) -> Result<StackFile> {
        let ports = self.ports()?;
        // Until the deployment is through, what is deployed is not known.
        self.state.deployed = None;
        self.save()?;
        let deployment = Deployment {
            project,
            tools,
            functions,
            directory: &self.place.directory,
            endpoint: &address(ports.aws),
            sharing: &address(ports.sharing),
            databricks: &address(ports.databricks),
            mark: &self.state.mark,
        };
        let deployed = deployment.run(progress).await?;
        let sharing = sharing(&deployed)?;
        Admin::at(&address(ports.admin)).set_sharing_host(&sharing.host).await?;
        let bucket = deployed.outputs.get("TablesBucketName").map(String::as_str).unwrap_or_default();
        workspace::make_catalog(&self.databricks_url()?, bucket).await?;
        let databricks = DatabricksFile::new(&self.databricks_url()?, &deployed.secret_arn);
        let file = StackFile::new(ports, self.state.emulator_port, &sharing.path, deployed.outputs, databricks);
        files::write_json(&self.place.stack_file(), &file)?;
        self.state.deployed = Some(fingerprint);
        self.save()?;
        Ok(file)
    }
}

async fn wait_for_ports(child: &mut Child, ports_file: &Path, log: &Path) -> Result<Ports> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(GATEWAY_SECONDS_MAX) {
        if let Some(ports) = files::read_json(ports_file) {
            return Ok(ports);
        }
        if let Ok(Some(status)) = child.try_wait() {
            let (what, status) = ("starting the gateway".to_owned(), status.to_string());
            return Err(Error::Failed { what, status, output: tail(log, 15) });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(Error::Slow { what: "the gateway", seconds: GATEWAY_SECONDS_MAX, log: log.to_owned() })
}
