//! Enrollment, and registration of phones.
mod lifecycle;
mod registration;
