//! How a handler learns whose session let its request in.

use std::sync::Arc;

use http::Request;

use super::authorize::{Authorizer, Decision};
use super::handler_guard::HandlerGuard;
use super::response_format::ClientContext;
use crate::engine::{ActiveSession, RequestNumber, Upgrade};
use crate::verdict::Denial;

/// Tells the handler who asks, or why that is not known. What another layer outside has told is replaced.
pub(super) fn attach_session<ReqBody, A>(
    gate: &Arc<Authorizer>,
    decision: Decision,
    client: &ClientContext,
    request: &mut Request<ReqBody>,
) -> Option<HandlerGuard<A>> {
    match decision {
        Decision::Allow(passage) => {
            let upgrade =
                client.upgrade_status.map(|status| Upgrade::new(gate.upgrades.clone(), status));
            let number = RequestNumber::next();
            let session = ActiveSession::new(
                passage.session().clone(),
                number,
                gate.policy,
                upgrade.clone(),
                gate.engine().clone(),
            );
            request.extensions_mut().remove::<Denial>();
            request.extensions_mut().insert(session);
            Some(HandlerGuard::new(passage, number, upgrade))
        }
        Decision::Deny(denial) => {
            request.extensions_mut().remove::<ActiveSession>();
            request.extensions_mut().insert(denial);
            // For the extractor, which answers a handler that needs a session as the gate would.
            request.extensions_mut().insert(gate.clone());
            None
        }
        // Answered before this is asked.
        Decision::Deferred(_) => None,
    }
}
