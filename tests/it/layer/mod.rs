//! The Tower layer: stacks, responses, extractors.
