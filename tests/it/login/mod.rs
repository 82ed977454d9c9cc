//! Logins: attempts, claims, credentials, limits.
