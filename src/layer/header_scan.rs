//! Finds headers by comparing each name. A request usually has a dozen at most; comparing all costs
//! no more than the hash of one lookup, which absent headers pay too, and most requests lack most
//! of the headers that the gate reads.

use http::{HeaderMap, HeaderName, HeaderValue};

/// All values of this header, in their order.
pub(super) fn values<'a>(
    headers: &'a HeaderMap,
    name: &'a HeaderName,
) -> impl Iterator<Item = &'a HeaderValue> {
    headers.iter().filter(move |(other, _)| *other == name).map(|(_, value)| value)
}

/// The first value of each of these headers, in one pass.
#[inline(always)] // so that the comparisons are with constants
pub(super) fn first_values<'a, const N: usize>(
    headers: &'a HeaderMap,
    names: [&HeaderName; N],
) -> [Option<&'a HeaderValue>; N] {
    let mut found = [None; N];
    for (name, value) in headers {
        if let Some(at) = names.iter().position(|wanted| *wanted == name) {
            found[at].get_or_insert(value);
        }
    }
    found
}
