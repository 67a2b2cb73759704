//! What tests and benches ask of a running gateway.

use bytes::Bytes;
use hyper::Method;

use super::{
    admin::{FaultId, SharingHost, WorkspaceAddress},
    faults::{Fault, OrderedFault},
    ledger::{LoggedRequest, RequestCount},
};
use crate::{error::Result, http};

/// The admin API of a running gateway.
#[derive(Debug, Clone)]
pub struct Admin {
    address: String,
}

impl Admin {
    /// Talks to the admin API at an address such as `http://127.0.0.1:4000`.
    #[must_use]
    pub fn at(address: &str) -> Self {
        Self { address: address.trim_end_matches('/').to_owned() }
    }

    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// Asks whether it is there.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Http`] if it does not answer.
    pub async fn health(&self) -> Result<()> {
        http::send(Method::GET, &self.path("/health"), Bytes::new()).await.map(drop)
    }

    /// The AWS requests since the last reset, counted by caller, service and operation.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Http`] if it does not answer.
    pub async fn requests(&self) -> Result<Vec<RequestCount>> {
        http::get_json(&self.path("/requests")).await
    }

    /// The AWS requests since the last reset, in order.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Http`] if it does not answer.
    pub async fn request_log(&self) -> Result<Vec<LoggedRequest>> {
        http::get_json(&self.path("/requests/log")).await
    }

    /// Forgets the requests.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Http`] if it does not answer.
    pub async fn reset_requests(&self) -> Result<()> {
        http::send(Method::DELETE, &self.path("/requests"), Bytes::new()).await.map(drop)
    }

    /// Orders a fault and returns its number.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Http`] if it does not answer or refuses the order.
    pub async fn order_fault(&self, fault: &Fault) -> Result<u64> {
        let address = self.path("/faults");
        let bytes = http::send_json(Method::POST, &address, fault).await?;
        http::decode::<FaultId>(&address, &bytes).map(|answer| answer.id)
    }

    /// The ordered faults, and which fired.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Http`] if it does not answer.
    pub async fn faults(&self) -> Result<Vec<OrderedFault>> {
        http::get_json(&self.path("/faults")).await
    }

    /// Forgets all faults.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Http`] if it does not answer.
    pub async fn clear_faults(&self) -> Result<()> {
        http::send(Method::DELETE, &self.path("/faults"), Bytes::new()).await.map(drop)
    }

    /// Sets the function URL that the sharing port stands for.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Http`] if it does not answer.
    pub async fn set_sharing_host(&self, host: &str) -> Result<()> {
        let host = SharingHost { host: host.to_owned() };
        http::send_json(Method::PUT, &self.path("/sharing"), &host).await.map(drop)
    }

    /// Sets the workspace that the port for Databricks stands for: a URL such as `http://127.0.0.1:4100`.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Http`] if it does not answer or takes the URL for none.
    pub async fn set_workspace(&self, url: &str) -> Result<()> {
        let authority = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        http::send_json(Method::PUT, &self.path("/databricks"), &WorkspaceAddress { authority }).await.map(drop)
    }
}
