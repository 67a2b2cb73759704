//! A gateway in front of a made-up emulator, with made-up functions: this very test, started again.

use std::{
    io::{Read, Write},
    net::TcpStream as BlockingStream,
    process::{Child, Command, Stdio},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, body::Incoming};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use super::{
    client::Admin,
    faults::{Fault, FaultAction, FaultMoment},
    *,
};

const MARK: &str = "SPILLWAY_LOCAL_STACK=gateway-tests";
const TARGET: &str = "SPILLWAY_TEST_GATEWAY_PORT";
const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=ASIA1/20260101/us-east-1/s3/aws4_request, \
                         SignedHeaders=host, Signature=00";

/// What the emulator received: the head's first line, then each header, then the body.
#[derive(Debug)]
struct Received {
    method: Method,
    target: String,
    headers: hyper::HeaderMap,
    body: Bytes,
}

struct World {
    ports: Ports,
    admin: Admin,
    emulator: SocketAddr,
    received: mpsc::UnboundedReceiver<Received>,
}

/// Starts a gateway in front of an emulator that answers 207 and the request's path.
async fn world() -> World {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let emulator = listener.local_addr().unwrap();
    let (sender, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let sender = sender.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let sender = sender.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    let answer = parts.uri.path().to_owned();
                    let target = parts.uri.to_string();
                    let (method, headers) = (parts.method, parts.headers);
                    sender.send(Received { method, target, headers, body }).unwrap();
                    let mut response = Response::new(Full::new(Bytes::from(answer)));
                    *response.status_mut() = StatusCode::MULTI_STATUS;
                    Ok::<_, hyper::Error>(response)
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let ports = gateway_before(emulator).await;
    World { ports, admin: Admin::at(&format!("http://127.0.0.1:{}", ports.admin)), emulator, received }
}

async fn gateway_before(emulator: SocketAddr) -> Ports {
    let gateway = Gateway::bind().await.unwrap();
    let ports = gateway.ports();
    tokio::spawn(gateway.serve(emulator, MARK.to_owned()));
    ports
}

/// Sends bytes as they are and reads until the other side closes.
async fn raw(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A function's process: it sends one request for each line that it is given and says what came.
struct Function(Child);

impl Function {
    fn start(name: &str, mark: &str, port: u16) -> Self {
        let (mark_name, mark_value) = mark.split_once('=').unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "gateway::tests::plays_a_function_when_it_is_started_as_one"])
            .args(["--nocapture", "--test-threads", "1", "--quiet"])
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env(mark_name, mark_value)
            .env(TARGET, port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Asks for one object and returns the status line; empty if the connection was dropped.
    fn ask(&mut self, method: &str, path: &str) -> Option<String> {
        let stdin = self.0.stdin.as_mut().unwrap();
        writeln!(stdin, "{method} {path}").ok()?;
        let stdout = self.0.stdout.as_mut().unwrap();
        let (mut line, mut byte) = (String::new(), [0]);
        while stdout.read(&mut byte).ok()? == 1 {
            line.push(char::from(byte[0]));
            if byte[0] == b'\n' {
                match line.split_once("ANSWER ") {
                    Some((_, answer)) => return Some(answer.trim().to_owned()),
                    None => line.clear(),
                }
            }
        }
        None
    }

    fn is_alive(&mut self) -> bool {
        // The signal is delivered at once; that the parent sees it takes a moment.
        for _ in 0..100 {
            if self.0.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn plays_a_function_when_it_is_started_as_one() {
    let Ok(port) = std::env::var(TARGET) else { return };
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let mut stream = BlockingStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
        let head = format!("{line} HTTP/1.1\r\nhost: x\r\nauthorization: {SIGNATURE}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let mut out = std::io::stdout();
        writeln!(out, "ANSWER {}", answer.lines().next().unwrap_or("dropped")).unwrap();
        out.flush().unwrap();
    }
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(act).await.unwrap()
}

fn kill(when: FaultMoment, nth: u64) -> Fault {
    Fault {
        function: Some("publish-run".to_owned()),
        service: Some("s3".to_owned()),
        operation: Some("PutObject".to_owned()),
        path_contains: None,
        nth,
        times: 1,
        when,
        action: FaultAction::Kill,
        status: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_signature_covers_arrives_as_it_was_sent() {
    let mut world = world().await;
    let request = format!(
        "PUT /b/a%20b//c+d/%E2%82%AC?x=%2F&y&z=1+2 HTTP/1.1\r\nHost: b.s3.example:99\r\n\
         Authorization: {SIGNATURE}\r\nX-Amz-Date: now\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\
         Content-Length: 5\r\n\r\nhello"
    );
    let answer = raw(world.ports.aws, &request).await;
    assert!(answer.starts_with("HTTP/1.1 207"), "{answer}");
    let received = world.received.recv().await.unwrap();
    assert_eq!(received.method, Method::PUT);
    assert_eq!(received.target, "/b/a%20b//c+d/%E2%82%AC?x=%2F&y&z=1+2");
    assert_eq!(received.body, "hello");
    let header = |name: &str| received.headers.get(name).and_then(|value| value.to_str().ok());
    assert_eq!(header("host"), Some("b.s3.example:99"));
    assert_eq!(header("authorization"), Some(SIGNATURE));
    assert_eq!(header("x-amz-date"), Some("now"));
    assert_eq!(header("content-length"), Some("5"));
    assert_eq!(header("x-hop"), None);
    // Bucket policies that deny plain HTTP hold because of this one.
    assert_eq!(header("x-forwarded-proto"), Some("https"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_read_for_its_action_and_forwarded_whole() {
    let mut world = world().await;
    let form = "Action=AssumeRole&Version=2011-06-15";
    let request = format!(
        "POST / HTTP/1.1\r\nHost: sts\r\nAuthorization: {}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        SIGNATURE.replace("/s3/", "/sts/"),
        form.len(),
    );
    raw(world.ports.aws, &request).await;
    assert_eq!(world.received.recv().await.unwrap().body, form);
    let counts = world.admin.requests().await.unwrap();
    assert_eq!((counts[0].service.as_str(), counts[0].operation.as_str()), ("sts", "AssumeRole"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stream_both_ways_while_they_are_made() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ports = gateway_before(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(("127.0.0.1", ports.aws)).await.unwrap();
    client.write_all(b"PUT /b/k HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await.unwrap();
    // The emulator has the first piece before the second is sent.
    let (mut emulator, _) = listener.accept().await.unwrap();
    read_until(&mut emulator, "one").await;
    client.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.unwrap();
    read_until(&mut emulator, "two").await;
    // And the client has the first piece of the answer before the emulator sends the second.
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nthree\r\n";
    emulator.write_all(head).await.unwrap();
    read_until(&mut client, "three").await;
    emulator.write_all(b"4\r\nfour\r\n0\r\n\r\n").await.unwrap();
    read_until(&mut client, "four").await;
}

async fn read_until(stream: &mut TcpStream, wanted: &str) {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(wanted) {
        let mut buffer = [0; 1024];
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer));
        let count = read.await.unwrap().unwrap();
        assert_ne!(count, 0, "closed before `{wanted}`: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..count]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emulator_that_is_gone_is_said_to_be_gone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let ports = gateway_before(gone).await;
    let answer = raw(ports.aws, "GET /b/k HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(answer.contains("the emulator did not answer"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sharing_port_stands_for_the_function_url() {
    let mut world = world().await;
    let request = "GET /shares?maxResults=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t\r\n\
                   Connection: close\r\n\r\n";
    let early = raw(world.ports.sharing, request).await;
    assert!(early.starts_with("HTTP/1.1 503"), "{early}");

    world.admin.set_sharing_host("abc.lambda-url.us-east-1.on.aws").await.unwrap();
    let answer = raw(world.ports.sharing, request).await;
    assert!(answer.starts_with("HTTP/1.1 207"), "{answer}");
    let received = world.received.recv().await.unwrap();
    assert_eq!(received.target, "/shares?maxResults=1");
    let header = |name: &str| received.headers.get(name).and_then(|value| value.to_str().ok());
    assert_eq!(header("host"), Some("abc.lambda-url.us-east-1.on.aws"));
    assert_eq!(header("authorization"), Some("Bearer t"));
    assert_eq!(header("x-forwarded-for"), Some("127.0.0.1"));
    // Sharing clients are no AWS callers.
    assert!(world.admin.requests().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_under_their_functions_name() {
    let world = world().await;
    let port = world.ports.aws;
    blocking(move || {
        let mut function = Function::start("spillway-StageRun-1", MARK, port);
        for path in ["/b/one", "/b/two"] {
            assert_eq!(function.ask("GET", path).as_deref(), Some("HTTP/1.1 207 Multi-Status"));
        }
        let mut foreign = Function::start("another-projects", "SPILLWAY_LOCAL_STACK=other", port);
        foreign.ask("GET", "/b/one");
    })
    .await;
    let counts = world.admin.requests().await.unwrap();
    let ours = counts.iter().find(|count| count.is_function).unwrap();
    assert_eq!(
        (ours.caller.as_str(), ours.service.as_str(), ours.operation.as_str(), ours.count),
        ("spillway-StageRun-1", "s3", "GetObject", 2)
    );
    // A process of another stack is no function of this one, whatever it calls itself.
    assert_eq!(counts.iter().filter(|count| count.is_function).count(), 1);
    let log = world.admin.request_log().await.unwrap();
    let paths: Vec<&str> = log.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["/b/one", "/b/two", "/b/one"]);
    assert!(log.iter().all(|entry| entry.status == Some(207)));
    assert_eq!(log[0].access_key_id, "ASIA1");
    world.admin.reset_requests().await.unwrap();
    assert!(world.admin.requests().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_before_the_nth_request_leaves_no_effect() {
    let mut world = world().await;
    world.admin.order_fault(&kill(FaultMoment::Before, 2)).await.unwrap();
    let port = world.ports.aws;
    let pid = blocking(move || {
        let mut function = Function::start("spillway-PublishRun-1", MARK, port);
        assert_eq!(function.ask("PUT", "/b/1").as_deref(), Some("HTTP/1.1 207 Multi-Status"));
        assert_eq!(function.ask("GET", "/b/1").as_deref(), Some("HTTP/1.1 207 Multi-Status"));
        assert_eq!(function.ask("PUT", "/b/2"), None);
        assert!(!function.is_alive());
        function.0.id()
    })
    .await;
    let faults = world.admin.faults().await.unwrap();
    assert_eq!((faults[0].matched, faults[0].fired), (2, 1));
    assert_eq!(faults[0].killed_pids, [pid]);
    let mut reached = Vec::new();
    while let Ok(received) = world.received.try_recv() {
        reached.push(format!("{} {}", received.method, received.target));
    }
    assert_eq!(reached, ["PUT /b/1", "GET /b/1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_after_the_nth_request_leaves_its_effect() {
    let mut world = world().await;
    world.admin.order_fault(&kill(FaultMoment::After, 1)).await.unwrap();
    let port = world.ports.aws;
    blocking(move || {
        let mut function = Function::start("spillway-PublishRun-1", MARK, port);
        assert_eq!(function.ask("PUT", "/b/1"), None);
        assert!(!function.is_alive());
    })
    .await;
    assert_eq!(world.received.try_recv().unwrap().target, "/b/1");
    let log = world.admin.request_log().await.unwrap();
    assert_eq!(log[0].status, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_can_answer_or_drop_and_leaves_the_process_alone() {
    let world = world().await;
    let refuse = Fault { action: FaultAction::Status, status: Some(503), ..kill(FaultMoment::Before, 1) };
    let drop = Fault { action: FaultAction::Drop, ..kill(FaultMoment::After, 2) };
    world.admin.order_fault(&refuse).await.unwrap();
    world.admin.order_fault(&drop).await.unwrap();
    let port = world.ports.aws;
    blocking(move || {
        let mut function = Function::start("spillway-PublishRun-1", MARK, port);
        let mut ask = || function.ask("PUT", "/b/1");
        assert_eq!(ask().as_deref(), Some("HTTP/1.1 503 Service Unavailable"));
        assert_eq!(ask().as_deref(), Some("dropped"));
        assert_eq!(ask().as_deref(), Some("HTTP/1.1 207 Multi-Status"));
    })
    .await;
    world.admin.clear_faults().await.unwrap();
    assert!(world.admin.faults().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_is_no_function_is_never_killed() {
    let world = world().await;
    let anything = Fault { function: None, service: None, operation: None, ..kill(FaultMoment::Before, 1) };
    world.admin.order_fault(&anything).await.unwrap();
    let port = world.ports.aws;
    blocking(move || {
        let mut foreign = Function::start("publish-run", "SPILLWAY_LOCAL_STACK=other", port);
        assert_eq!(foreign.ask("PUT", "/b/1").as_deref(), Some("HTTP/1.1 207 Multi-Status"));
        assert!(foreign.is_alive());
    })
    .await;
    assert_eq!(world.admin.faults().await.unwrap()[0].matched, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_for_databricks_stands_for_the_workspace_and_can_end_who_writes_there() {
    let mut world = world().await;
    let port = world.ports.databricks;
    let request = "GET /api/2.1/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert!(raw(port, request).await.starts_with("HTTP/1.1 503"));

    world.admin.set_workspace(&format!("http://{}", world.emulator)).await.unwrap();
    let (service, operation) = (Some("databricks".to_owned()), Some("Write".to_owned()));
    world.admin.order_fault(&Fault { service, operation, ..kill(FaultMoment::After, 1) }).await.unwrap();
    blocking(move || {
        let mut function = Function::start("spillway-PublishRun-1", MARK, port);
        assert_eq!(function.ask("POST", "/oidc/v1/token").as_deref(), Some("HTTP/1.1 207 Multi-Status"));
        assert_eq!(function.ask("GET", "/api/2.1/x").as_deref(), Some("HTTP/1.1 207 Multi-Status"));
        assert_eq!(function.ask("PATCH", "/api/2.1/x"), None);
        assert!(!function.is_alive());
    })
    .await;
    let mut reached = Vec::new();
    while let Ok(received) = world.received.try_recv() {
        reached.push(received.method);
    }
    assert_eq!(reached, [Method::POST, Method::GET, Method::PATCH]);
    let log = world.admin.request_log().await.unwrap();
    let operations: Vec<_> = log.iter().map(|entry| (entry.service.as_str(), entry.operation.as_str())).collect();
    assert_eq!(operations, [("databricks", "GetToken"), ("databricks", "Read"), ("databricks", "Write")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_not_understood_is_refused_with_the_reason() {
    let world = world().await;
    let wrong = world.admin.order_fault(&kill(FaultMoment::Before, 0)).await.unwrap_err();
    assert!(wrong.to_string().contains("`nth` and `times` count from 1"), "{wrong}");
    let request = "GET /nothing HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert!(raw(world.ports.admin, request).await.starts_with("HTTP/1.1 404"));
}
