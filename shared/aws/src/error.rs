//! What an SDK error means to a step.

use std::error::Error;

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use delivery::ports::{PortError, PortErrorKind};

/// Error codes that ask for a slower pace.
const THROTTLING: [&str; 8] = [
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "LimitExceededException",
    "TransactionInProgressException",
];

/// Error codes that a retry does not help against.
const DENIED: [&str; 4] =
    ["AccessDeniedException", "AccessDenied", "UnrecognizedClientException", "InvalidSignatureException"];

/// An SDK error, whole, with the kind that the steps tell apart.
pub(crate) fn port_error<E>(operation: &'static str, error: SdkError<E, Response>) -> PortError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let kind = match error.code() {
        Some(code) if THROTTLING.contains(&code) => PortErrorKind::Throttled,
        Some(code) if DENIED.contains(&code) => PortErrorKind::Denied,
        Some("ResourceNotFoundException" | "QueueDoesNotExist" | "StateMachineDoesNotExist") => PortErrorKind::NotFound,
        Some("ValidationException") => PortErrorKind::InvalidData,
        Some(_) | None => PortErrorKind::Unavailable,
    };
    PortError::new(kind, operation, error)
}
