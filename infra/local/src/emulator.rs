//! The AWS emulator's process: how it is set up, started and waited for.

use std::{fs::File, net::Ipv4Addr, path::Path, time::Duration};

use bytes::Bytes;
use hyper::Method;
use tokio::process::{Child, Command};

use crate::{
    error::{Error, Result},
    files, http,
    process::{MARK, ProcessId, spawn_detached, tail},
    tools::Tools,
};

/// The region of every local stack.
pub const REGION: &str = "us-east-1";
/// The access key, and the secret, of the local account's root.
pub(crate) const ROOT_KEY: &str = "test";

/// How long the emulator may take to start.
const START_SECONDS_MAX: u64 = 60;

/// Where the emulator is and what it belongs to.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    /// The port on which it listens.
    pub(crate) port: u16,
    /// The port of the gateway through which functions call AWS.
    pub(crate) gateway_port: u16,
    /// Everything that it writes.
    pub(crate) data: &'a Path,
    /// Its output.
    pub(crate) log: &'a Path,
    /// The stack's mark.
    pub(crate) mark: &'a str,
}

/// A port of the loopback interface that is free as we look.
pub(crate) fn free_port() -> Result<u16> {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| Error::Port { source })
}

/// Starts the emulator.
pub(crate) fn start(tools: &Tools, setup: &Setup<'_>) -> Result<(Child, ProcessId)> {
    let log = File::create(setup.log).map_err(Error::file("create", setup.log))?;
    let log_too = log.try_clone().map_err(Error::file("open", setup.log))?;
    let mut command = Command::new(tools.program("ministack"));
    command.stdout(log).stderr(log_too).current_dir(setup.data);
    // Nothing of this machine's environment: it would reach the functions, and a profile or a key
    // of the person who runs this must never.
    command.env_clear();
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env("PATH", path).env(MARK, setup.mark);
    for (name, directory) in [("HOME", "home"), ("TMPDIR", "tmp"), ("STATE_DIR", "state"), ("S3_DATA_DIR", "s3")] {
        let directory = setup.data.join(directory);
        files::create_directory(&directory)?;
        command.env(name, directory);
    }
    let settings = [
        ("GATEWAY_PORT", setup.port.to_string()),
        ("BIND_HOST", "127.0.0.1".to_owned()),
        ("MINISTACK_HOST", "127.0.0.1".to_owned()),
        ("MINISTACK_REGION", REGION.to_owned()),
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", ROOT_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", ROOT_KEY.to_owned()),
        ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", setup.gateway_port)),
        ("AUTH", "true".to_owned()),
        ("PERSIST_STATE", "0".to_owned()),
        ("S3_PERSIST", "0".to_owned()),
        ("LAMBDA_EXECUTOR", "local".to_owned()),
        ("IOT_MTLS_ENABLED", "0".to_owned()),
        ("SFTP_ENABLED", "0".to_owned()),
        ("PYTHONUNBUFFERED", "1".to_owned()),
    ];
    command.envs(settings);
    spawn_detached(&mut command)
}

/// Waits until the emulator answers. Returns nothing if it ended instead.
pub(crate) async fn ready(child: &mut Child, port: u16, log: &Path) -> Result<Option<()>> {
    let address = format!("http://127.0.0.1:{port}/_ministack/ready");
    let started = std::time::Instant::now();
    while started.elapsed() < Duration::from_secs(START_SECONDS_MAX) {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return Ok(None);
        }
        if http::send(Method::GET, &address, Bytes::new()).await.is_ok() {
            return Ok(Some(()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(Error::Slow { what: "the emulator", seconds: START_SECONDS_MAX, log: log.to_owned() })
}

/// What to say when the emulator did not start.
pub(crate) fn did_not_start(log: &Path) -> Error {
    Error::Failed {
        what: "starting the emulator".to_owned(),
        status: "it ended at once".to_owned(),
        output: format!("{}\nsee {}", tail(log, 15), log.display()),
    }
}
