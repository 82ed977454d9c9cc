//! How denials and cut streams reach gRPC clients.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::header::{ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::step_up::StepUp;
use crate::verdict::Denial;

/// Characters that are escaped in a `grpc-message` (gRPC over HTTP/2, "Responses").
const GRPC_MESSAGE_ESCAPE: &AsciiSet = &CONTROLS.add(b'%');
/// The domain of the reason in `ErrorInfo`.
const ERROR_INFO_DOMAIN: &str = "tower-activeconnect";

/// Trailers-only: HTTP 200, the status in the headers, no body. The content type is the request's.
pub(super) fn denial_response(
    denial: Denial,
    content_type: &HeaderValue,
    retry_after: Duration,
    step_up: Option<StepUp>,
) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type.clone());
    let metadata = step_up.map(|step_up| step_up.metadata()).unwrap_or_default();
    let status = status(denial, retry_after, &metadata);
    headers.extend(status.map(|(name, value)| (Some(name), value)));
    if content_type.as_bytes().starts_with(b"application/grpc-web") {
        // Without this a page of another origin that CORS allows cannot read the status.
        let names = HeaderValue::from_static("grpc-status, grpc-message, grpc-status-details-bin");
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, names);
    }
    response
}

/// The status as headers or as trailers, with its details.
pub(super) fn status(
    denial: Denial,
    retry_after: Duration,
    metadata: &[(&str, String)],
) -> [(HeaderName, HeaderValue); 3] {
    let message = denial.to_string();
    let details = STANDARD_NO_PAD.encode(details(denial, &message, retry_after, metadata));
    let message = utf8_percent_encode(&message, GRPC_MESSAGE_ESCAPE).to_string();
    let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    [
        (HeaderName::from_static("grpc-status"), value(code(denial).to_string())),
        (HeaderName::from_static("grpc-message"), value(message)),
        (HeaderName::from_static("grpc-status-details-bin"), value(details)),
    ]
}

/// `UNAUTHENTICATED`, `PERMISSION_DENIED` or `UNAVAILABLE`.
const fn code(denial: Denial) -> u8 {
    match denial {
        Denial::NoIdentity
        | Denial::NoSession
        | Denial::Ended
        | Denial::Pending
        | Denial::Suspended => 16,
        Denial::NoToken | Denial::StepUp => 7,
        Denial::Unavailable => 14,
    }
}

/// A `google.rpc.Status` with the reason as `google.rpc.ErrorInfo`, and `google.rpc.RetryInfo` where
/// trying again helps (googleapis, `google/rpc/status.proto` and `error_details.proto`).
fn details(
    denial: Denial,
    message: &str,
    retry_after: Duration,
    metadata: &[(&str, String)],
) -> Vec<u8> {
    let reason = denial.as_str().to_ascii_uppercase().replace('-', "_");
    let mut info = [encode_string(1, &reason), encode_string(2, ERROR_INFO_DOMAIN)].concat();
    let metadata = metadata.iter().map(|(name, value)| (*name, value.as_str()));
    for (name, value) in std::iter::once(("denial", denial.as_str())).chain(metadata) {
        info.extend(encode_bytes(3, &[encode_string(1, name), encode_string(2, value)].concat()));
    }
    let mut status = [
        encode_varint_field(1, code(denial).into()),
        encode_string(2, message),
        encode_any("ErrorInfo", &info),
    ]
    .concat();
    if denial == Denial::Unavailable {
        let delay = encode_bytes(1, &encode_varint_field(1, retry_after.as_secs()));
        status.extend(encode_any("RetryInfo", &delay));
    }
    status
}

/// One detail of a `Status`.
fn encode_any(name: &str, message: &[u8]) -> Vec<u8> {
    let url = format!("type.googleapis.com/google.rpc.{name}");
    encode_bytes(3, &[encode_string(1, &url), encode_bytes(2, message)].concat())
}

fn encode_string(number: u8, text: &str) -> Vec<u8> {
    encode_bytes(number, text.as_bytes())
}

/// A field of bytes: tag, length, bytes (Protocol Buffers, "Encoding").
fn encode_bytes(number: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![number << 3 | 2], encode_varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn encode_varint_field(number: u8, value: u64) -> Vec<u8> {
    [vec![number << 3], encode_varint(value)].concat()
}

fn encode_varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    const ALL: [Denial; 8] = [
        Denial::NoIdentity,
        Denial::NoToken,
        Denial::NoSession,
        Denial::Pending,
        Denial::Suspended,
        Denial::Ended,
        Denial::StepUp,
        Denial::Unavailable,
    ];

    /// T123: read by tonic's own types.
    #[test]
    fn client_reads_code_message_and_details() {
        for denial in ALL {
            let retry_after = Duration::from_secs(300);
            let headers = status(denial, retry_after, &[]).into_iter().collect();
            let read = tonic::Status::from_header_map(&headers).unwrap();
            assert_eq!(read.code() as u8, code(denial));
            assert_eq!(read.message(), denial.to_string());
            let details = read.get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!(info.reason, denial.as_str().to_ascii_uppercase().replace('-', "_"));
            assert_eq!(info.domain, ERROR_INFO_DOMAIN);
            assert_eq!(info.metadata["denial"], denial.as_str());
            let delay = details.retry_info().and_then(|retry| retry.retry_delay);
            assert_eq!(delay, (denial == Denial::Unavailable).then_some(retry_after));
        }
    }

    /// Clients are written by that table.
    #[test]
    fn readme_lists_each_reason_with_its_code() {
        let readme = include_str!("../../README.md");
        for denial in ALL {
            let code = match code(denial) {
                7 => "PERMISSION_DENIED",
                14 => "UNAVAILABLE",
                16 => "UNAUTHENTICATED",
                other => panic!("{other}"),
            };
            let reason = denial.as_str().to_ascii_uppercase().replace('-', "_");
            assert!(readme.contains(&format!("| `{reason}` | `{code}` |")), "{reason}");
        }
    }

    /// T124: a browser may read the status.
    #[test]
    fn browsers_may_read_the_status() {
        for (content_type, exposed) in [
            ("application/grpc", false),
            ("application/grpc+proto", false),
            ("application/grpc-web", true),
            ("application/grpc-web+proto", true),
            ("application/grpc-web-text", true),
        ] {
            let content_type = HeaderValue::from_static(content_type);
            let response = denial_response(Denial::Ended, &content_type, Duration::ZERO, None);
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()[CONTENT_TYPE], content_type);
            assert_eq!(response.headers().contains_key(ACCESS_CONTROL_EXPOSE_HEADERS), exposed);
            assert_eq!(response.headers()["grpc-status"], "16");
        }
    }

    #[test]
    fn long_fields_have_long_lengths() {
        assert_eq!(encode_varint(0), [0]);
        assert_eq!(encode_varint(127), [127]);
        assert_eq!(encode_varint(300), [0xac, 0x02]);
    }
}
