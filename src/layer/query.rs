//! Values in the query of an address.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

/// Characters that are not encoded in the value of a query parameter; `/` for readability.
pub(super) const QUERY_VALUE_ESCAPES: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// `next` longer than this is not worth keeping.
pub(crate) const MAX_NEXT_LEN: usize = 2 * 1024;
