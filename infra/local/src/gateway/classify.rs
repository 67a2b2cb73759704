//! What an AWS request asks for, read from its head: service, operation, access key.
//!
//! Knows the wire protocols of AWS. Knows nothing of connections, processes or counts.

use hyper::{HeaderMap, Method, Uri};
use serde::{Deserialize, Serialize};

/// What one request asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AwsRequest {
    /// The service's signing name, such as `s3` or `states`; `-` when the request is not signed.
    pub service: String,
    /// The operation's API name, such as `GetObject`; the HTTP method when it is not known.
    pub operation: String,
    /// The access key that signed the request; empty when it is not signed.
    pub access_key_id: String,
}

/// Reads service, operation and access key from a request.
///
/// `form` is the body of a query-protocol request (see [`needs_form`]), else empty.
#[must_use]
pub fn classify(method: &Method, uri: &Uri, headers: &HeaderMap, form: &[u8]) -> AwsRequest {
    let query = Query::of(uri.query().unwrap_or_default());
    let (access_key_id, service) = signature(headers, &query).unwrap_or_default();
    let operation = target(headers)
        .or_else(|| match service.as_str() {
            "s3" => s3_operation(method, uri, headers, &query),
            "ses" => ses_operation(method, uri.path()),
            "lambda" => lambda_operation(method, uri.path()),
            _ => None,
        })
        .or_else(|| query.value("Action").map(str::to_owned))
        .or_else(|| Query::of(&String::from_utf8_lossy(form)).value("Action").map(str::to_owned))
        .unwrap_or_else(|| method.to_string());
    let service = if service.is_empty() { "-".to_owned() } else { service };
    AwsRequest { service, operation, access_key_id }
}

/// Names a request to a Databricks workspace by the little that faults tell apart: getting a token, reading, writing.
#[must_use]
pub fn classify_databricks(method: &Method, uri: &Uri) -> AwsRequest {
    let operation = match *method {
        _ if uri.path().starts_with("/oidc/") => "GetToken",
        Method::GET => "Read",
        _ => "Write",
    };
    AwsRequest { service: DATABRICKS.to_owned(), operation: operation.to_owned(), access_key_id: String::new() }
}

/// What stands for a service's signing name where the service is a Databricks workspace.
pub const DATABRICKS: &str = "databricks";

/// Says whether the operation's name is in the body, as in the query protocol.
#[must_use]
pub fn needs_form(method: &Method, headers: &HeaderMap) -> bool {
    let form =
        text(headers, "content-type").is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
    let short = text(headers, "content-length")
        .and_then(|value| value.parse::<usize>().ok())
        .is_some_and(|length| length <= FORM_BYTES_MAX);
    method == Method::POST && form && short
}

/// The longest query-protocol body that is read before it is forwarded.
pub const FORM_BYTES_MAX: usize = 1024 * 1024;

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn target(headers: &HeaderMap) -> Option<String> {
    let (_, operation) = text(headers, "x-amz-target")?.rsplit_once('.')?;
    Some(operation.to_owned())
}

/// The access key and the service of a signature, in the header or in a presigned address.
fn signature(headers: &HeaderMap, query: &Query<'_>) -> Option<(String, String)> {
    let header = text(headers, "authorization")
        .and_then(|value| value.split_once("Credential="))
        .and_then(|(_, rest)| rest.split([',', ' ']).next())
        .map(str::to_owned);
    // The oldest form of a presigned address, which some clients still make, is S3's alone.
    if let Some(key) = query.value("AWSAccessKeyId") {
        return Some((key.to_owned(), "s3".to_owned()));
    }
    let scope = match header {
        Some(scope) => scope,
        None => query.value("X-Amz-Credential")?.replace("%2F", "/").replace("%2f", "/"),
    };
    // Key, date, region, service, terminator. SigV4A leaves the region out.
    let parts: Vec<&str> = scope.split('/').collect();
    let service = parts.len().checked_sub(2).and_then(|index| parts.get(index))?;
    Some(((*parts.first()?).to_owned(), (*service).to_owned()))
}

fn s3_operation(method: &Method, uri: &Uri, headers: &HeaderMap, query: &Query<'_>) -> Option<String> {
    let path = uri.path().trim_start_matches('/');
    let has_key = path.split_once('/').is_some_and(|(_, key)| !key.is_empty());
    let copy = headers.contains_key("x-amz-copy-source");
    let name = match (method.as_str(), has_key) {
        ("GET", true) if query.has("uploadId") => "ListParts",
        ("GET", true) if query.has("tagging") => "GetObjectTagging",
        ("GET", true) => "GetObject",
        ("HEAD", true) => "HeadObject",
        ("PUT", true) if query.has("uploadId") && copy => "UploadPartCopy",
        ("PUT", true) if query.has("uploadId") => "UploadPart",
        ("PUT", true) if query.has("tagging") => "PutObjectTagging",
        ("PUT", true) if copy => "CopyObject",
        ("PUT", true) => "PutObject",
        ("POST", true) if query.has("uploads") => "CreateMultipartUpload",
        ("POST", true) if query.has("uploadId") => "CompleteMultipartUpload",
        ("POST", true) if query.has("select") => "SelectObjectContent",
        ("DELETE", true) if query.has("uploadId") => "AbortMultipartUpload",
        ("DELETE", true) => "DeleteObject",
        ("POST", false) if query.has("delete") => "DeleteObjects",
        ("GET", false) if path.is_empty() => "ListBuckets",
        ("GET", false) if query.value("list-type") == Some("2") => "ListObjectsV2",
        ("GET", false) if query.has("uploads") => "ListMultipartUploads",
        ("GET", false) if query.has("versions") => "ListObjectVersions",
        ("GET", false) if query.has("location") => "GetBucketLocation",
        ("GET", false) => "ListObjects",
        ("HEAD", false) => "HeadBucket",
        ("PUT", false) if uri.query().is_none() => "CreateBucket",
        ("DELETE", false) if uri.query().is_none() => "DeleteBucket",
        _ => return None,
    };
    Some(name.to_owned())
}

fn ses_operation(method: &Method, path: &str) -> Option<String> {
    let rest = path.strip_prefix("/v2/email/")?;
    let name = match (method.as_str(), rest.split_once('/')) {
        ("POST", None) if rest == "outbound-emails" => "SendEmail",
        ("POST", None) if rest == "outbound-bulk-emails" => "SendBulkEmail",
        ("POST", None) if rest == "identities" => "CreateEmailIdentity",
        ("GET", Some(("identities", _))) => "GetEmailIdentity",
        ("GET", None) if rest == "account" => "GetAccount",
        _ => return None,
    };
    Some(name.to_owned())
}

fn lambda_operation(method: &Method, path: &str) -> Option<String> {
    let invoke = method == Method::POST && path.ends_with("/invocations");
    invoke.then(|| "Invoke".to_owned())
}

/// The raw pairs of a query string or form; names are not decoded because AWS's need none.
struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    fn of(text: &'a str) -> Self {
        Self(text)
    }

    fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    fn has(&self, name: &str) -> bool {
        self.pairs().any(|(key, _)| key == name)
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.pairs().find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(service: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value = format!(
            "AWS4-HMAC-SHA256 Credential=ASIA1/20260101/us-east-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=00"
        );
        headers.insert("authorization", value.parse().unwrap());
        headers
    }

    fn s3(method: &str, address: &str, copy: Option<&str>) -> String {
        let mut headers = signed("s3");
        if let Some(source) = copy {
            headers.insert("x-amz-copy-source", source.parse().unwrap());
        }
        let request = classify(&method.parse().unwrap(), &address.parse().unwrap(), &headers, &[]);
        assert_eq!((request.service.as_str(), request.access_key_id.as_str()), ("s3", "ASIA1"));
        request.operation
    }

    #[test]
    fn s3_requests_are_named_by_method_and_shape() {
        let rows = [
            ("GET", "/b/k", None, "GetObject"),
            ("GET", "/b/k/deeper?x-id=GetObject", None, "GetObject"),
            ("HEAD", "/b/k", None, "HeadObject"),
            ("PUT", "/b/k", None, "PutObject"),
            ("PUT", "/b/k", Some("/b/other"), "CopyObject"),
            ("PUT", "/b/k?partNumber=1&uploadId=u", None, "UploadPart"),
            ("PUT", "/b/k?partNumber=1&uploadId=u", Some("/b/o"), "UploadPartCopy"),
            ("POST", "/b/k?uploads", None, "CreateMultipartUpload"),
            ("POST", "/b/k?uploadId=u", None, "CompleteMultipartUpload"),
            ("DELETE", "/b/k?uploadId=u", None, "AbortMultipartUpload"),
            ("DELETE", "/b/k", None, "DeleteObject"),
            ("POST", "/b?delete", None, "DeleteObjects"),
            ("GET", "/b?list-type=2&prefix=p", None, "ListObjectsV2"),
            ("GET", "/b/?list-type=2", None, "ListObjectsV2"),
            ("GET", "/b?prefix=p", None, "ListObjects"),
            ("GET", "/", None, "ListBuckets"),
            ("HEAD", "/b", None, "HeadBucket"),
            ("PUT", "/b", None, "CreateBucket"),
            ("PUT", "/b?policy", None, "PUT"),
        ];
        for (method, address, copy, expected) in rows {
            assert_eq!(s3(method, address, copy), expected, "{method} {address}");
        }
    }

    #[test]
    fn json_services_are_named_by_their_target() {
        let rows = [
            ("dynamodb", "DynamoDB_20120810.TransactWriteItems", "TransactWriteItems"),
            ("states", "AWSStepFunctions.StartExecution", "StartExecution"),
            ("sqs", "AmazonSQS.SendMessage", "SendMessage"),
        ];
        for (service, target, expected) in rows {
            let mut headers = signed(service);
            headers.insert("x-amz-target", target.parse().unwrap());
            let request = classify(&Method::POST, &"/".parse().unwrap(), &headers, &[]);
            assert_eq!((request.service.as_str(), request.operation.as_str()), (service, expected));
        }
    }

    #[test]
    fn a_query_protocol_request_is_named_by_its_action() {
        let mut headers = signed("sts");
        headers.insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
        headers.insert("content-length", "29".parse().unwrap());
        assert!(needs_form(&Method::POST, &headers));
        let form = b"Action=AssumeRole&Version=2011";
        let request = classify(&Method::POST, &"/".parse().unwrap(), &headers, form);
        assert_eq!(request.operation, "AssumeRole");
    }

    #[test]
    fn a_long_or_unsized_form_is_not_read() {
        let mut headers = signed("s3");
        headers.insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
        assert!(!needs_form(&Method::POST, &headers));
        headers.insert("content-length", "999999999".parse().unwrap());
        assert!(!needs_form(&Method::POST, &headers));
    }

    #[test]
    fn mail_and_invocations_are_named_by_their_path() {
        let send = classify(&Method::POST, &"/v2/email/outbound-emails".parse().unwrap(), &signed("ses"), &[]);
        assert_eq!(send.operation, "SendEmail");
        let invoke =
            classify(&Method::POST, &"/2015-03-31/functions/f/invocations".parse().unwrap(), &signed("lambda"), &[]);
        assert_eq!(invoke.operation, "Invoke");
    }

    #[test]
    fn a_presigned_address_carries_its_signature_in_the_query() {
        let address = "/b/k?X-Amz-Credential=ASIA9%2F20260101%2Fus-east-1%2Fs3%2Faws4_request";
        let request = classify(&Method::GET, &address.parse().unwrap(), &HeaderMap::new(), &[]);
        let expected = AwsRequest {
            service: "s3".to_owned(),
            operation: "GetObject".to_owned(),
            access_key_id: "ASIA9".to_owned(),
        };
        assert_eq!(request, expected);
        let old = "/b/k?AWSAccessKeyId=ASIA9&Signature=x&Expires=1";
        assert_eq!(classify(&Method::GET, &old.parse().unwrap(), &HeaderMap::new(), &[]), expected);
    }

    #[test]
    fn an_unsigned_request_belongs_to_no_service() {
        let request = classify(&Method::GET, &"/_ministack/health".parse().unwrap(), &HeaderMap::new(), &[]);
        assert_eq!((request.service.as_str(), request.operation.as_str()), ("-", "GET"));
    }
}
