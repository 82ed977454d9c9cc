//! Request extensions by which a handler finds its session.

use std::sync::Arc;

use http::Request;

use super::authorize::{Authorizer, Decision};
use super::handler_guard::HandlerGuard;
use super::response_format::ClientContext;
use crate::engine::{ActiveSession, RequestNumber, Upgrade};
use crate::verdict::Denial;

/// Inserts the [`ActiveSession`], or the [`Denial`] of a layer that forwards everything, and
/// replaces the extensions of an outer layer.
pub(super) fn attach_session<ReqBody, A>(
    authorizer: &Arc<Authorizer>,
    decision: Decision,
    client: &ClientContext,
    request: &mut Request<ReqBody>,
) -> Option<HandlerGuard<A>> {
    match decision {
        Decision::Allow(guard) => {
            let upgrade = client
                .upgrade_status
                .map(|status| Upgrade::new(authorizer.upgrades.clone(), status));
            let number = RequestNumber::next();
            let session = ActiveSession::new(
                guard.session().clone(),
                number,
                authorizer.policy,
                upgrade.clone(),
                authorizer.engine().clone(),
            );
            request.extensions_mut().remove::<Denial>();
            request.extensions_mut().insert(session);
            Some(HandlerGuard::new(guard, number, upgrade))
        }
        Decision::Deny(denial) => {
            request.extensions_mut().remove::<ActiveSession>();
            request.extensions_mut().insert(denial);
            // For the extractor, which denies a handler that needs a session as the gate would.
            request.extensions_mut().insert(authorizer.clone());
            None
        }
        // The caller awaits a deferred decision first.
        Decision::Deferred(_) => None,
    }
}
