use std::sync::Arc;

use crate::identity::SessionCredential;
use crate::login::browser_proofs::BrowserProof;
use crate::login::username::LoginKey;
use crate::session::live::Session;

/// The proof that makes the browser a known one.
#[derive(Debug)]
pub(crate) struct BrowserToRemember {
    pub(crate) name: LoginKey,
    pub(crate) proof: BrowserProof,
}

/// The result of an attempt, for the browser that started it.
#[derive(Debug)]
pub(crate) struct ClaimedSession {
    pub(crate) credential: SessionCredential,
    pub(crate) session: Arc<Session>,
    /// None if the login had no name, as one that confirms.
    pub(crate) remember_as: Option<BrowserToRemember>,
    /// Whether the credential is delivered in a body.
    pub(crate) deliver_in_body: bool,
}
