//! The Lambda Runtime API on a loopback port, for one process of one function: hands out at most one invocation.
//!
//! See "Using the Lambda runtime API" in AWS's guide. Errors of the function are answers, too.

use std::{
    convert::Infallible,
    ffi::OsStr,
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use local_stack::{
    Error, Result,
    process::{Group, tail},
};
use tokio::{
    net::TcpListener,
    process::Command,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{JoinHandle, JoinSet},
};

const VERSION: &str = "/2018-06-01/runtime";
/// How long the function has, as it is told.
const FUNCTION_SECONDS_MAX: u64 = 900;
/// As AWS allows.
const ANSWER_BYTES_MAX: usize = 6 << 20;
const LINES_MAX: usize = 20;

/// What the process did.
#[derive(Debug)]
pub(super) enum Event {
    /// It asked for an invocation.
    Asked(Instant),
    /// It answered the invocation.
    Answered(Bytes),
    /// It reported an error, of its start or of the invocation.
    Failed(Bytes),
}

/// A process of a function, and the API that it talks to. Both end with this value.
#[derive(Debug)]
pub(super) struct Served {
    group: Group,
    events: UnboundedReceiver<Event>,
    server: JoinHandle<()>,
}

impl Served {
    /// Starts a function's binary with an environment as Lambda gives it, and returns it with the moment before its
    /// start. Nothing else of this process's environment reaches it.
    pub(super) async fn start<'a>(
        binary: &Path,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
        invocation: Option<Bytes>,
        log: &Path,
    ) -> Result<(Self, Instant)> {
        let no_port = |source| Error::Port { source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(no_port)?;
        let address = listener.local_addr().map_err(no_port)?;
        let (sender, events) = unbounded_channel();
        let server = tokio::spawn(serve(listener, Api { invocation: Arc::new(Mutex::new(invocation)), sender }));

        let open = || File::create(log).map_err(|source| Error::File { operation: "create", path: log.into(), source });
        let out = open()?;
        let err = out.try_clone().map_err(|source| Error::File { operation: "open", path: log.into(), source })?;
        let mut command = Command::new(binary);
        command.env_clear().envs(lambda_environment(binary, address)).envs(settings);
        command.stdout(out).stderr(err).stdin(Stdio::null());
        let began = Instant::now();
        let group = Group::spawn(&mut command)?;
        Ok((Self { group, events, server }, began))
    }

    /// The function's process id.
    pub(super) fn pid(&mut self) -> Option<u32> {
        self.group.child().id()
    }

    /// Waits for what the process does next. That it ends instead, or does nothing in time, is an error.
    pub(super) async fn next(&mut self, within: Duration, log: &Path) -> Result<Event> {
        let failed = |status: String| Error::Failed {
            what: "running a function".to_owned(),
            status,
            output: format!("{}\nsee {}", tail(log, LINES_MAX), log.display()),
        };
        tokio::select! {
            event = self.events.recv() => event.ok_or_else(|| failed("its runtime API ended".to_owned())),
            status = self.group.wait() => Err(failed(status.map_or_else(|error| error.to_string(), |s| s.to_string()))),
            () = tokio::time::sleep(within) => Err(failed(format!("no sign of it for {} s", within.as_secs()))),
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What Lambda sets beside a function's own variables.
fn lambda_environment(binary: &Path, api: SocketAddr) -> Vec<(&'static str, String)> {
    let name = binary.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = binary.parent().map(Path::as_os_str).unwrap_or(OsStr::new("/")).to_string_lossy().into_owned();
    vec![
        ("AWS_LAMBDA_RUNTIME_API", api.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON".to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/spillway/{name}")),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/09/01/[$LATEST]0".to_owned()),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023".to_owned()),
        ("AWS_REGION", local_stack::REGION.to_owned()),
        ("AWS_DEFAULT_REGION", local_stack::REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("LAMBDA_TASK_ROOT", folder),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime".to_owned()),
        ("_HANDLER", "bootstrap".to_owned()),
        ("LANG", "en_US.UTF-8".to_owned()),
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("TZ", ":UTC".to_owned()),
    ]
}

#[derive(Debug, Clone)]
struct Api {
    invocation: Arc<Mutex<Option<Bytes>>>,
    sender: UnboundedSender<Event>,
}

async fn serve(listener: TcpListener, api: Api) {
    // The connections end with this task.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let api = api.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| handle(api.clone(), request));
            // A function that is ended breaks its connection.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn handle(api: Api, request: Request<Incoming>) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().strip_prefix(VERSION).unwrap_or_default().to_owned();
    if request.method() == Method::GET && path == "/invocation/next" {
        // Whoever listens no longer has seen enough.
        let _ = api.sender.send(Event::Asked(Instant::now()));
        let invocation = api.invocation.lock().ok().and_then(|mut waiting| waiting.take());
        return match invocation {
            Some(payload) => Ok(next(payload)),
            None => std::future::pending().await,
        };
    }
    let body = Limited::new(request.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let event = if path.ends_with("/response") { Event::Answered(body) } else { Event::Failed(body) };
    let _ = api.sender.send(event);
    let mut accepted = Response::new(Full::default());
    *accepted.status_mut() = StatusCode::ACCEPTED;
    Ok(accepted)
}

fn next(payload: Bytes) -> Response<Full<Bytes>> {
    let deadline = SystemTime::now() + Duration::from_secs(FUNCTION_SECONDS_MAX);
    let deadline = deadline.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut response = Response::new(Full::new(payload));
    for (name, value) in [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned()),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:bench".to_owned()),
        ("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0".to_owned()),
    ] {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use local_stack::http::send;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    async fn serving(invocation: Option<Bytes>) -> (String, UnboundedReceiver<Event>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = format!("http://{}{VERSION}", listener.local_addr().unwrap());
        let (sender, events) = unbounded_channel();
        tokio::spawn(serve(listener, Api { invocation: Arc::new(Mutex::new(invocation)), sender }));
        (address, events)
    }

    #[tokio::test]
    async fn an_invocation_is_handed_out_and_its_answer_is_seen() {
        let (address, mut events) = serving(Some(Bytes::from("{}"))).await;
        let payload = send(Method::GET, &format!("{address}/invocation/next"), Bytes::new()).await.unwrap();
        assert_eq!(payload, "{}");
        send(Method::POST, &format!("{address}/invocation/1/response"), Bytes::from("[1]")).await.unwrap();
        send(Method::POST, &format!("{address}/init/error"), Bytes::from("no")).await.unwrap();
        assert!(matches!(events.recv().await, Some(Event::Asked(_))));
        assert!(matches!(events.recv().await, Some(Event::Answered(body)) if body == "[1]"));
        assert!(matches!(events.recv().await, Some(Event::Failed(body)) if body == "no"));
    }

    #[tokio::test]
    async fn a_process_that_ends_is_an_error_with_its_last_words() {
        let log = std::env::temp_dir().join(format!("served-{}", std::process::id()));
        // Without an argument it says what is wrong and ends.
        let (mut served, _) = Served::start(Path::new("/bin/mkdir"), [], None, &log).await.unwrap();
        let error = served.next(WITHIN, &log).await.unwrap_err().to_string();
        local_stack::files::remove(&log).unwrap();
        assert!(error.contains("mkdir"), "{error}");
    }
}
