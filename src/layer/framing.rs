//! Framing of response bodies: the positions where a stream can end without a partial message.

use bytes::Bytes;
use http::HeaderValue;
use http_body::Frame;

/// The framing of a body.
pub(super) enum Framing {
    /// Server-sent events.
    Sse(SseFraming),
    /// Server-sent events with a content encoding: no event can be appended.
    EncodedSse,
    /// gRPC messages.
    Grpc(GrpcFraming),
    /// gRPC messages for browsers, which do not see trailers: the status is a last message.
    GrpcWeb(GrpcFraming),
    /// Any other bytes. Their clean end means that they are complete.
    Other,
}

impl Framing {
    /// Tracks messages in responses to gRPC calls only: a download that has gRPC's content type
    /// must not end as if it were complete.
    pub(super) fn from_content_type(
        content_type: Option<&HeaderValue>,
        is_encoded: bool,
        is_grpc_call: bool,
    ) -> Self {
        let content_type = content_type.map_or(&b""[..], HeaderValue::as_bytes);
        let has_type = |essence: &[u8]| {
            content_type
                .get(..essence.len())
                // The first letter rules most types out.
                .is_some_and(|start| {
                    start[0].eq_ignore_ascii_case(&essence[0])
                        && start.eq_ignore_ascii_case(essence)
                })
        };
        if has_type(b"application/grpc-web-text") {
            // Base64 in chunks that the server chooses: the end of a message cannot be found.
            Self::Other
        } else if is_grpc_call && has_type(b"application/grpc-web") {
            Self::GrpcWeb(GrpcFraming::default())
        } else if is_grpc_call && has_type(b"application/grpc") {
            Self::Grpc(GrpcFraming::default())
        } else if has_type(b"text/event-stream") && !is_encoded {
            Self::Sse(SseFraming::default())
        } else if has_type(b"text/event-stream") {
            Self::EncodedSse
        } else {
            Self::Other
        }
    }

    pub(super) fn observe(&mut self, frame: &Frame<Bytes>) {
        match (self, frame.data_ref()) {
            (Self::Sse(sse), Some(data)) => sse.observe(data),
            (Self::Grpc(grpc) | Self::GrpcWeb(grpc), Some(data)) => grpc.observe(data),
            (Self::EncodedSse | Self::Other, _) | (_, None) => {}
        }
    }
}

/// Tracks lines: an empty line ends an event.
#[derive(Debug)]
pub(super) struct SseFraming {
    line_is_empty: bool,
    after_cr: bool,
    at_boundary: bool,
}

impl Default for SseFraming {
    fn default() -> Self {
        Self { line_is_empty: true, after_cr: false, at_boundary: true }
    }
}

impl SseFraming {
    fn observe(&mut self, data: &[u8]) {
        for byte in data {
            let ends_line = *byte == b'\r' || (*byte == b'\n' && !self.after_cr);
            if ends_line {
                self.at_boundary = self.line_is_empty;
                self.line_is_empty = true;
            } else if *byte != b'\n' {
                self.line_is_empty = false;
                self.at_boundary = false;
            }
            self.after_cr = *byte == b'\r';
        }
    }

    pub(super) fn is_between_events(&self) -> bool {
        self.at_boundary
    }
}

/// Tracks the five bytes before each message: a flag and the length (gRPC over HTTP/2,
/// "Length-Prefixed-Message").
#[derive(Clone, Debug, Default)]
pub(super) struct GrpcFraming {
    prefix: [u8; 4],
    prefix_bytes: u8,
    remaining: u32,
}

impl GrpcFraming {
    /// How many of these bytes belong to the message that is partially sent.
    pub(super) fn bytes_left_in_message(&self, data: &[u8]) -> usize {
        let mut ahead = self.clone();
        for (i, byte) in data.iter().enumerate() {
            if ahead.is_between_messages() {
                return i;
            }
            ahead.observe(std::slice::from_ref(byte));
        }
        data.len()
    }

    pub(super) fn observe(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.remaining > 0 {
                let taken = data.len().min(self.remaining as usize);
                self.remaining -= taken as u32;
                data = &data[taken..];
            } else {
                if self.prefix_bytes > 0 {
                    self.prefix[usize::from(self.prefix_bytes) - 1] = data[0];
                }
                self.prefix_bytes += 1;
                data = &data[1..];
                if self.prefix_bytes == 5 {
                    self.prefix_bytes = 0;
                    self.remaining = u32::from_be_bytes(self.prefix);
                }
            }
        }
    }

    pub(super) fn is_between_messages(&self) -> bool {
        self.prefix_bytes == 0 && self.remaining == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sse_boundary_is_between_events() {
        for (text, between) in [
            ("", true),
            ("data: a\n\n", true),
            ("data: a\r\n\r\n", true),
            ("data: a\r\r", true),
            ("\n", true),
            (": keep alive\n\n", true),
            ("data: a", false),
            ("data: a\n", false),
            ("data: a\r\n", false),
            ("data: a\n\nd", false),
            ("data: a\n\nevent: b\n", false),
        ] {
            // For each split of the bytes into two frames.
            for cut in 0..=text.len() {
                let mut sse = SseFraming::default();
                sse.observe(&text.as_bytes()[..cut]);
                sse.observe(&text.as_bytes()[cut..]);
                assert_eq!(sse.is_between_events(), between, "{text:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn bytes_left_end_with_the_message() {
        let wire = [0, 0, 0, 0, 3, 7, 7, 7, 0, 0, 0, 0, 1, 7];
        for sent in 0..=wire.len() {
            let mut grpc = GrpcFraming::default();
            grpc.observe(&wire[..sent]);
            let ends = if sent == 0 {
                0
            } else if sent <= 8 {
                8
            } else {
                14
            };
            assert_eq!(grpc.bytes_left_in_message(&wire[sent..]), ends - sent, "{sent}");
        }
    }

    #[test]
    fn grpc_boundary_is_between_messages() {
        let mut wire = Vec::new();
        let mut ends = vec![0];
        for length in [0_u32, 1, 300, 0, 70_000] {
            wire.push(0);
            wire.extend(length.to_be_bytes());
            wire.extend(std::iter::repeat_n(7, length as usize));
            ends.push(wire.len());
        }
        for step in [1, 2, 5, 7, 1000, wire.len()] {
            let mut grpc = GrpcFraming::default();
            let mut passed = 0;
            for frame in wire.chunks(step) {
                grpc.observe(frame);
                passed += frame.len();
                assert_eq!(grpc.is_between_messages(), ends.contains(&passed), "{passed}");
            }
        }
    }
}
