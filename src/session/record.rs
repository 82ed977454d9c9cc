//! The texts of a session, packed: a process may hold a million sessions, most of them parked.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::Secret;
use crate::client::{Client, ClientError, RemoteSession};
use crate::identity::{UserId, UserToken};
use crate::protocol::StatusReading;
use crate::session::client_details::ClientDetails;

/// The length of a user token's digest, which tells tokens apart.
const TOKEN_DIGEST_LEN: usize = 16;
/// Between two texts. No byte of UTF-8 has this value.
const SEPARATOR: u8 = 0xff;
/// An unknown browser or a program started the login.
const UNKNOWN_BROWSER: u8 = b'u';
/// A known browser or the application started the login.
const KNOWN_BROWSER: u8 = b'k';
/// In place of the session token at the end of a path. No byte of UTF-8 has this value either.
const TOKEN_PLACEHOLDER: u8 = 0xfe;

/// The user of a session and its names at the service, in one allocation that is zeroised with the
/// session, because it holds the session's secret.
///
/// The user's token itself is not needed again: the lookup table is only asked whether its token is
/// still the same. Both URLs have the client's own origin. A path that ends in the session's token,
/// as usual, stores that end as one byte.
pub(crate) struct PackedRecord {
    /// The digest of the user's token; [`UNKNOWN_BROWSER`] or [`KNOWN_BROWSER`]; then the user, the
    /// session token, its secret, the paths of the status and the logout URL; and, if anything was
    /// recorded of the client that started the login: browser, system and address.
    texts: Zeroizing<Box<[u8]>>,
}

impl PackedRecord {
    pub(crate) fn new(
        user: &UserId,
        token: &UserToken,
        remote: &RemoteSession,
        client: &ClientDetails,
        is_of_unknown_browser: bool,
    ) -> Self {
        let name = remote.token();
        let [status, logout] = remote.url_paths().map(|path| match path.strip_suffix(name) {
            Some(rest) => (rest, &[TOKEN_PLACEHOLDER][..]),
            None => (path, &[][..]),
        });
        let texts = [user.as_str(), name, remote.secret().expose()].map(|text| (text, &[][..]));
        let client = client.to_texts();
        let client = client.iter().flatten().map(|text| (text.as_str(), &[][..]));
        let texts = || texts.into_iter().chain([status, logout]).chain(client.clone());
        // One allocation: text that moves as it grows would leave secrets behind.
        let length = texts().map(|(text, end)| text.len() + end.len() + 1).sum::<usize>() - 1;
        let mut record = Vec::with_capacity(TOKEN_DIGEST_LEN + 1 + length);
        record.extend_from_slice(&hash_token(token));
        record.push(if is_of_unknown_browser { UNKNOWN_BROWSER } else { KNOWN_BROWSER });
        for (i, (text, end)) in texts().enumerate() {
            if i > 0 {
                record.push(SEPARATOR);
            }
            record.extend_from_slice(text.as_bytes());
            record.extend_from_slice(end);
        }
        Self { texts: Zeroizing::new(record.into_boxed_slice()) }
    }

    pub(crate) fn user(&self) -> &str {
        self.texts().next().map_or("", text)
    }

    /// The session token: the name of the session at the service.
    pub(crate) fn token(&self) -> &[u8] {
        self.remote_texts()[0]
    }

    /// The client that started the login.
    pub(crate) fn client(&self) -> ClientDetails {
        let mut texts = self.texts().skip(5).map(text);
        ClientDetails::from_texts(std::array::from_fn(|_| texts.next().unwrap_or_default()))
    }

    /// Whether an unknown browser or a program started the login.
    pub(crate) fn is_of_unknown_browser(&self) -> bool {
        self.texts[TOKEN_DIGEST_LEN] == UNKNOWN_BROWSER
    }

    /// The digest of the token that the user had when the session was made.
    pub(crate) fn token_digest(&self) -> &[u8] {
        &self.texts[..TOKEN_DIGEST_LEN]
    }

    /// The digest of a token, by which the registry finds its sessions.
    pub(crate) fn digest_of(token: &UserToken) -> [u8; TOKEN_DIGEST_LEN] {
        hash_token(token)
    }

    /// Whether this is the token that the user had when the session was made.
    pub(crate) fn matches_token(&self, token: &UserToken) -> bool {
        self.texts.starts_with(&hash_token(token))
    }

    /// The session for calls to the service.
    pub(crate) fn remote(&self, client: &Client) -> Result<RemoteSession, ClientError> {
        let [token, secret, status, logout] = self.remote_texts();
        let (status, logout) = (path(status, token), path(logout, token));
        client.restore(text(token), text(secret), &status, &logout)
    }

    /// Asks the service for the session's status.
    pub(crate) async fn status(&self, client: &Client) -> Result<StatusReading, ClientError> {
        let [token, secret, status, _] = self.remote_texts();
        let (secret, status) = (Secret::new(text(secret)), path(status, token));
        client.status_at(text(token), &secret, &status).await
    }

    /// The session token, its secret, and the paths of the status and the logout URL.
    fn remote_texts(&self) -> [&[u8]; 4] {
        let mut texts = self.texts().skip(1);
        std::array::from_fn(|_| texts.next().unwrap_or_default())
    }

    fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.texts[TOKEN_DIGEST_LEN + 1..].split(|byte| *byte == SEPARATOR)
    }
}

/// A path as the service named it.
fn path(kept: &[u8], token: &[u8]) -> String {
    match kept.strip_suffix(&[TOKEN_PLACEHOLDER]) {
        Some(rest) => [text(rest), text(token)].concat(),
        None => text(kept).to_owned(),
    }
}

/// A text again; it was one when it went in.
fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or_default()
}

impl fmt::Debug for PackedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("user", &self.user()).finish_non_exhaustive()
    }
}

fn hash_token(token: &UserToken) -> [u8; TOKEN_DIGEST_LEN] {
    let hash: [u8; 32] = Sha256::digest(token.as_str()).into();
    std::array::from_fn(|i| hash[i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Credentials;

    fn client(server: &str) -> Client {
        let credentials = Credentials::new("APPLICATION", "MXG9EDN581U33XTPLPFT75V2");
        Client::new(credentials.unwrap().with_server(server).unwrap()).unwrap()
    }

    #[test]
    fn record_round_trips() {
        let token = UserToken::random().unwrap();
        for (server, prefix) in
            [("https://iam-api.com", ""), ("http://127.0.0.1:8099/prefix", "/prefix")]
        {
            let client = client(server);
            for (status, logout) in [
                ("/authentication/session_status/TOKEN", "/authentication/logout/TOKEN"),
                ("/s?token=TOKEN", "/l/TOKEN/close"),
                ("//two/slashes", "/"),
                ("/TOKENTOKEN", "/%C3%A9?q=%27"),
            ] {
                let [status, logout] = [status, logout].map(|path| [prefix, path].concat());
                for user in ["alice", "", "Zoë", &"x".repeat(90_000)] {
                    let user = UserId::from(user);
                    let remote = client.restore("TOKEN", "SECRET", &status, &logout).unwrap();
                    let is_unknown = user.as_str().is_empty();
                    let client_details = ClientDetails::default();
                    let record =
                        PackedRecord::new(&user, &token, &remote, &client_details, is_unknown);
                    assert_eq!(record.user(), user.as_str());
                    assert_eq!(record.is_of_unknown_browser(), is_unknown);
                    assert!(record.matches_token(&token));
                    assert!(!record.matches_token(&UserToken::random().unwrap()));
                    let again = record.remote(&client).unwrap();
                    assert_eq!((again.token(), again.secret().expose()), ("TOKEN", "SECRET"));
                    assert_eq!(again.url_paths(), [&status, &logout]);
                    assert_eq!(again.status_url().origin(), remote.status_url().origin());
                }
            }
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let client = client("https://iam-api.com");
        let remote = client.restore("TOKEN", "SECRET", "/s/TOKEN", "/l/TOKEN").unwrap();
        let user_token = UserToken::random().unwrap();
        let record = PackedRecord::new(
            &"alice".into(),
            &user_token,
            &remote,
            &ClientDetails::default(),
            true,
        );
        let shown = format!("{record:?}");
        assert!(shown.contains("alice"));
        assert!(!shown.contains("SECRET") && !shown.contains("TOKEN"));
    }
}
