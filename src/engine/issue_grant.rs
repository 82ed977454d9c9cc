//! How the application issues an enrollment grant.

use crate::engine::handle::Activeconnect;
use crate::enrollment::enrollment_error::EnrollmentError;
use crate::enrollment::grants::EnrollmentGrant;
use crate::identity::UserId;

impl Activeconnect {
    /// A grant for a user that the application has verified: one who has just signed up, who reads the
    /// mail that was sent to the address known for them, or is known to the help desk. Never for
    /// a typed name: the person who redeems the grant becomes that user.
    ///
    /// A user has one grant at most: a new one withdraws the one before, so that what was sent to
    /// the wrong place, or lost, is void as soon as it is sent again. Grants live in this process's
    /// memory, as hashes.
    ///
    /// # Errors
    ///
    /// [`EnrollmentError::TooManyGrants`] while 10,000 users have one, and when there is no
    /// randomness. Whether the user is enrolled is seen when the grant is redeemed.
    pub fn enrollment_grant(&self, user: &UserId) -> Result<EnrollmentGrant, EnrollmentError> {
        let engine = self.engine();
        let now = engine.now();
        let issued = engine.key_ring.issue_grant(now.wall);
        let bits = issued.map_err(|_| EnrollmentError::Rng)?;
        if engine.enrollment.grants.insert(bits.key(), user, now) {
            Ok(EnrollmentGrant(bits))
        } else {
            Err(EnrollmentError::TooManyGrants)
        }
    }
}
