//! Enrollment and the registration of phones.

#[cfg(feature = "sqlite")]
mod lifecycle;
mod registration;
