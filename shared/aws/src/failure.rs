//! From an SDK's error to a port's, by what the caller does about it.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
#[cfg(any(feature = "dynamodb", feature = "eventbridge", feature = "logs", feature = "sqs", feature = "sfn"))]
use delivery::ports::PortError;
use delivery::ports::PortErrorKind;

/// A port's error with the SDK's whole error as its source.
#[cfg(any(feature = "dynamodb", feature = "eventbridge", feature = "logs", feature = "sqs", feature = "sfn"))]
pub(crate) fn port_error<E, R>(operation: &'static str, error: SdkError<E, R>) -> PortError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    PortError::new(kind(&error), operation, error)
}

/// What kind of failure an SDK's error is.
pub(crate) fn kind<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> PortErrorKind {
    match error {
        SdkError::ConstructionFailure(_) => PortErrorKind::InvalidData,
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            PortErrorKind::Unavailable
        }
        SdkError::ServiceError(refusal) => refusal.err().code().map_or(PortErrorKind::Unavailable, kind_of_code),
        _ => PortErrorKind::Unavailable,
    }
}

/// The services' error codes, as their API references list them under "Errors" and "Common Errors". A code that is
/// not listed is one of a service in trouble.
fn kind_of_code(code: &str) -> PortErrorKind {
    match code {
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "ProvisionedThroughputExceededException"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "LimitExceededException"
        | "ExecutionLimitExceeded"
        | "TransactionInProgressException"
        | "TransactionConflictException"
        | "TransactionCanceledException" => PortErrorKind::Throttled,
        "AccessDeniedException"
        | "AccessDenied"
        | "KMSAccessDeniedException"
        | "KmsAccessDeniedException"
        | "KmsAccessDenied"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "MissingAuthenticationTokenException"
        | "MissingAuthenticationToken"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "NotAuthorized" => PortErrorKind::Denied,
        "ResourceNotFoundException"
        | "StateMachineDoesNotExist"
        | "QueueDoesNotExist"
        | "AWS.SimpleQueueService.NonExistentQueue" => PortErrorKind::NotFound,
        "ValidationException"
        | "SerializationException"
        | "InvalidName"
        | "InvalidArn"
        | "InvalidExecutionInput"
        | "InvalidMessageContents"
        | "InvalidParameterValue"
        | "ItemCollectionSizeLimitExceededException" => PortErrorKind::InvalidData,
        _ => PortErrorKind::Unavailable,
    }
}

#[cfg(all(
    test,
    any(feature = "dynamodb", feature = "eventbridge", feature = "logs", feature = "sqs", feature = "sfn")
))]
mod tests {
    use aws_smithy_types::error::ErrorMetadata;

    use super::*;

    #[derive(Debug)]
    struct Refusal(ErrorMetadata);

    impl std::fmt::Display for Refusal {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("refused")
        }
    }

    impl std::error::Error for Refusal {}

    impl ProvideErrorMetadata for Refusal {
        fn meta(&self) -> &ErrorMetadata {
            &self.0
        }
    }

    #[test]
    fn a_refusal_is_classified_by_its_code_and_kept_whole() {
        for (code, kind) in [
            ("ThrottlingException", PortErrorKind::Throttled),
            ("AccessDeniedException", PortErrorKind::Denied),
            ("ResourceNotFoundException", PortErrorKind::NotFound),
            ("ValidationException", PortErrorKind::InvalidData),
            ("InternalServerError", PortErrorKind::Unavailable),
        ] {
            let refusal = Refusal(ErrorMetadata::builder().code(code).build());
            let error = port_error("write", SdkError::service_error(refusal, ()));
            assert_eq!(error.kind, kind, "{code}");
            assert!(error.source.is::<SdkError<Refusal, ()>>());
        }
        let silent = Refusal(ErrorMetadata::builder().build());
        assert_eq!(port_error("write", SdkError::service_error(silent, ())).kind, PortErrorKind::Unavailable);
    }

    #[test]
    fn a_request_that_got_no_answer_is_unavailable() {
        let timeout = SdkError::<Refusal, ()>::timeout_error("late");
        assert_eq!(port_error("write", timeout).kind, PortErrorKind::Unavailable);
    }
}
