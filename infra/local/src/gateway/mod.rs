//! The gateway: everything that talks to the emulator talks to it, so it can count and disturb.
//!
//! Four loopback ports: AWS calls (of functions and clients), the public sharing endpoint, the functions' calls to the
//! Databricks workspace, and the admin API. It knows nothing of the stack beyond these.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper::{Response, http::uri::Authority, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};

pub mod admin;
pub mod caller;
pub mod classify;
pub mod client;
pub mod faults;
pub mod ledger;
mod proxy;

use crate::error::{Error, Result};

/// Where a running gateway listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// AWS calls.
    pub aws: u16,
    /// The public sharing endpoint.
    pub sharing: u16,
    /// Calls to the Databricks workspace.
    pub databricks: u16,
    /// The admin API.
    pub admin: u16,
}

/// What all connections share.
struct Shared {
    emulator: Authority,
    upstream: proxy::Upstream,
    callers: caller::Callers,
    ledger: Mutex<ledger::Ledger>,
    faults: Mutex<faults::Faults>,
    sharing_host: Mutex<Option<String>>,
    workspace: Mutex<Option<Authority>>,
}

/// A gateway that listens and does not serve yet.
#[derive(Debug)]
pub struct Gateway {
    aws: TcpListener,
    sharing: TcpListener,
    databricks: TcpListener,
    admin: TcpListener,
    ports: Ports,
}

impl Gateway {
    /// Takes four free ports of the loopback interface.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Port`] if there are none.
    pub async fn bind() -> Result<Self> {
        let listen = || async {
            let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
            let port = listener.local_addr()?.port();
            Ok::<_, std::io::Error>((listener, port))
        };
        let bound = async { Ok([listen().await?, listen().await?, listen().await?, listen().await?]) };
        let [(aws, aws_port), (sharing, sharing_port), (databricks, databricks_port), (admin, admin_port)] =
            bound.await.map_err(|source| Error::Port { source })?;
        let ports = Ports { aws: aws_port, sharing: sharing_port, databricks: databricks_port, admin: admin_port };
        Ok(Self { aws, sharing, databricks, admin, ports })
    }

    /// The ports that were taken.
    #[must_use]
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Serves until the process ends. `mark` is the environment entry of the stack's processes.
    pub async fn serve(self, emulator: SocketAddr, mark: String) {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let upstream = Client::builder(TokioExecutor::new())
            // The emulator closes idle connections after 75 s; we do so well before.
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_timer(TokioTimer::new())
            .build(connector);
        let shared = Arc::new(Shared {
            emulator: proxy::authority(emulator),
            upstream,
            callers: caller::Callers::new(mark),
            ledger: Mutex::default(),
            faults: Mutex::default(),
            sharing_host: Mutex::default(),
            workspace: Mutex::default(),
        });
        tokio::join!(
            accept(self.aws, shared.clone(), Role::Aws),
            accept(self.sharing, shared.clone(), Role::Sharing),
            accept(self.databricks, shared.clone(), Role::Databricks),
            accept(self.admin, shared, Role::Admin),
        );
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Aws,
    Sharing,
    Databricks,
    Admin,
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, role: Role) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(serve_connection(stream, peer, shared.clone(), role));
            }
            // Out of file descriptors, most likely: let connections end before the next try.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve_connection(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>, role: Role) {
    // Latency of small requests; a refusal costs only speed.
    let _ = stream.set_nodelay(true);
    let local = stream.local_addr().ok();
    let io = TokioIo::new(stream);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(None);
    // An error here is the client's going away, or a fault that dropped the connection.
    let _ = match role {
        Role::Aws | Role::Databricks => {
            // Found out once: a connection belongs to one process for its whole life.
            let known = shared.clone();
            let found = tokio::task::spawn_blocking(move || Arc::new(known.callers.find(peer, local.unwrap_or(peer))));
            let Ok(caller) = found.await else { return };
            let service = service_fn(move |request| {
                let (shared, caller) = (shared.clone(), caller.clone());
                async move {
                    if role == Role::Databricks {
                        return proxy::forward_databricks(shared, caller, request).await;
                    }
                    proxy::forward_aws(shared, caller, request).await
                }
            });
            http.serve_connection(io, service).await
        }
        Role::Sharing => {
            let service = service_fn(move |request| {
                let shared = shared.clone();
                async move { Ok::<Response<_>, Infallible>(proxy::forward_sharing(shared, peer, request).await) }
            });
            http.serve_connection(io, service).await
        }
        Role::Admin => {
            let service = service_fn(move |request| {
                let shared = shared.clone();
                async move { Ok::<Response<_>, Infallible>(admin::handle(shared, request).await) }
            });
            http.serve_connection(io, service).await
        }
    };
}

/// Runs a gateway as its own process: writes its ports to `ports_file` and serves.
///
/// # Errors
///
/// Returns [`Error`] if it cannot listen or the file cannot be written.
pub async fn run(emulator: SocketAddr, mark: String, ports_file: &Path) -> Result<()> {
    let gateway = Gateway::bind().await?;
    crate::files::write_json(ports_file, &gateway.ports())?;
    gateway.serve(emulator, mark).await;
    Ok(())
}

#[cfg(test)]
mod tests;
