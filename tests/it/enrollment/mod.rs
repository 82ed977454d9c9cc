//! Enrollment and the registration of phones.
mod lifecycle;
mod registration;
