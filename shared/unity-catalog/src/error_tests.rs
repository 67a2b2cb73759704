use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(status: u16, body: &str) -> Refusal {
    Refusal::read(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes(), Timestamp::EPOCH)
}

fn body(code: &str, message: &str) -> String {
    json!({"error_code": code, "message": message, "details": []}).to_string()
}

#[test]
fn both_shapes_say_the_same() {
    for (status, code, message, kind) in [
        (400, "INVALID_PARAMETER_VALUE", "UpdateShare no fields to update.", ApiErrorKind::Invalid),
        (401, "UNAUTHENTICATED", "no", ApiErrorKind::Unauthenticated),
        (403, "PERMISSION_DENIED", "User is not an owner", ApiErrorKind::Denied),
        (404, "NOT_FOUND", "gone", ApiErrorKind::Missing),
        (404, "RESOURCE_DOES_NOT_EXIST", "gone", ApiErrorKind::Missing),
        (400, "TABLE_DOES_NOT_EXIST", "gone", ApiErrorKind::Missing),
        (404, "ENDPOINT_NOT_FOUND", "No API found", ApiErrorKind::Invalid),
        (409, "ALREADY_EXISTS", "there", ApiErrorKind::Exists),
        (400, "RESOURCE_ALREADY_EXISTS", "there", ApiErrorKind::Exists),
        (400, "INVALID_PARAMETER_VALUE", "Shared Table 'x.y' already exists", ApiErrorKind::Exists),
        (400, "INVALID_PARAMETER_VALUE", "a Recipient object with the same sharing identifier", ApiErrorKind::Exists),
        (409, "ABORTED", "somebody else", ApiErrorKind::Conflict),
        (429, "RESOURCE_EXHAUSTED", "slower", ApiErrorKind::Throttled),
        (400, "BAD_REQUEST", "RPC token bucket limit has been exceeded.", ApiErrorKind::Throttled),
        (400, "BAD_REQUEST", "Unexpected error", ApiErrorKind::Unavailable),
        (500, "INTERNAL_ERROR", "no", ApiErrorKind::Unavailable),
        (503, "TEMPORARILY_UNAVAILABLE", "no", ApiErrorKind::Unavailable),
    ] {
        let expected = Refusal {
            kind,
            status,
            code: Some(code.to_owned()),
            message: Some(message.to_owned()),
            request_id: None,
            retry_after_seconds: None,
        };
        assert_eq!(read(status, &body(code, message)), expected, "{status} {code}");
        assert_eq!(read(status, &format!("{code}: {message}")), expected, "{status} {code} as text");
    }
}

#[test]
fn what_is_not_the_api_s_own_word_says_nothing() {
    let page = "<html><head><title>404 Not Found</title></head></html>";
    assert_eq!(read(404, page).kind, ApiErrorKind::Unreadable, "a proxy does not know what exists");
    assert_eq!(read(404, page).message, None);
    assert_eq!(read(302, "").kind, ApiErrorKind::Unreadable);
    assert_eq!(read(404, "{}").kind, ApiErrorKind::Unreadable);
    assert_eq!(read(403, "").kind, ApiErrorKind::Denied);
}

#[test]
fn the_request_is_named_by_header_or_detail() {
    let details = json!({"error_code": "X", "message": "m", "details": [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retry_delay": "7.5s"},
        {"@type": "type.googleapis.com/google.rpc.RequestInfo", "request_id": "in-detail", "serving_data": ""},
    ]})
    .to_string();
    let refusal = read(503, &details);
    assert_eq!((refusal.request_id.as_deref(), refusal.retry_after_seconds), (Some("in-detail"), Some(7)));
    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", "in-header".parse().unwrap());
    headers.insert("retry-after", "3".parse().unwrap());
    let refusal = Refusal::read(StatusCode::SERVICE_UNAVAILABLE, &headers, details.as_bytes(), Timestamp::EPOCH);
    assert_eq!((refusal.request_id.as_deref(), refusal.retry_after_seconds), (Some("in-header"), Some(3)));
}

#[test]
fn a_time_to_come_back_at_counts_from_the_answer_s_own_or_from_when_it_came() {
    let came_at = Timestamp::parse("2026-10-21T07:27:50Z").unwrap();
    let later = "Wed, 21 Oct 2026 07:28:00 GMT";
    for (retry_after, date, expected) in [
        (later, Some("Wed, 21 Oct 2026 07:27:57 GMT"), Some(3)),
        (later, None, Some(10)),
        (later, Some("no date"), Some(10)),
        (later, Some("Wed, 21 Oct 2026 07:28:01 GMT"), Some(0)),
        ("Wed, 21 Oct 2020 07:28:00 GMT", None, Some(0)),
        ("7", Some(later), Some(7)),
        ("Wed, 21 Oct 2026", None, None),
        ("-3", None, None),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", retry_after.parse().unwrap());
        if let Some(date) = date {
            headers.insert("date", date.parse().unwrap());
        }
        let refusal = Refusal::read(StatusCode::TOO_MANY_REQUESTS, &headers, b"", came_at);
        assert_eq!(refusal.retry_after_seconds, expected, "{retry_after} in an answer of {date:?}");
    }
}

#[test]
fn an_error_says_what_where_and_why() {
    let error = read(403, &body("PERMISSION_DENIED", "User is not\nan owner of Share 'x'.")).error("make a share", 3);
    assert_eq!(
        error.to_string(),
        "could not make a share: the workspace answered 403 PERMISSION_DENIED at attempt 3: User is not an owner of \
         Share 'x'."
    );
    assert_eq!(PortError::from(error).kind, PortErrorKind::Denied);
}

#[test]
fn activation_codes_and_tokens_do_not_get_into_messages() {
    let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl";
    let message = format!("see https://host/delta_sharing/retrieve_config.html?CODE-1 or 'Bearer {jwt}' (dapi{jwt})");
    let refusal = read(400, &body("BAD_REQUEST", &message));
    let message = refusal.message.unwrap();
    assert_eq!(message, "see https://host/delta_sharing/retrieve_config.html?… or 'Bearer … …");
}

#[test]
fn overlapping_locations_are_told_apart() {
    let overlap = body("INVALID_PARAMETER_VALUE", "LOCATION_OVERLAP: Input path url 's3://b/t' overlaps");
    assert!(read(400, &overlap).error("x", 1).is_location_overlap());
    assert!(!read(400, &body("INVALID_PARAMETER_VALUE", "other")).error("x", 1).is_location_overlap());
}

proptest! {
    #[test]
    fn no_answer_can_break_the_parser_or_flood_the_log(
        status in 100_u16..600,
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..2_000),
            ".{0,2000}".prop_map(String::into_bytes),
            ("[A-Z_]{0,10}", ".{0,1500}").prop_map(|(code, message)| format!("{code}: {message}").into_bytes()),
        ],
    ) {
        let refusal = Refusal::read(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), &body, Timestamp::EPOCH);
        if let Some(message) = &refusal.message {
            prop_assert!(message.chars().count() <= MESSAGE_CHARACTERS_MAX);
            prop_assert!(!message.chars().any(char::is_control), "one line");
        }
        prop_assert!(refusal.code.as_ref().is_none_or(|code| code.len() <= WORD_BYTES_MAX));
        prop_assert!(refusal.error("try", 1).to_string().lines().count() <= 1);
    }

    #[test]
    fn code_and_message_are_read_from_either_shape(
        code in "[A-Z][A-Z_]{0,30}",
        message in "[a-zA-Z0-9'.,]{1,12}( [a-zA-Z0-9'.,]{1,12}){0,8}",
    ) {
        for text in [body(&code, &message), format!("{code}: {message}")] {
            let refusal = read(400, &text);
            prop_assert_eq!(refusal.code.as_deref(), Some(code.as_str()));
            prop_assert_eq!(refusal.message.as_deref(), Some(message.as_str()));
        }
    }

    #[test]
    fn the_query_of_a_url_never_stays(host in "[a-z]{1,10}", secret in "[A-Za-z0-9]{8,40}", around in "[ \"'(]?") {
        let message = format!("look at {around}https://{host}.test/a?{secret} now");
        let refusal = read(400, &body("BAD_REQUEST", &message));
        prop_assert!(!refusal.message.unwrap().contains(&secret));
    }
}
