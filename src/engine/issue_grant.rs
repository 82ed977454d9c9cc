//! How the application issues an enrollment grant.

use crate::engine::handle::Activeconnect;
use crate::enrollment::enrollment_error::EnrollmentError;
use crate::enrollment::grants::EnrollmentGrant;
use crate::identity::UserId;

impl Activeconnect {
    /// Issues a grant for a user that the application has verified: by a sign-up a moment ago, by a
    /// mail to the address on record, or by the help desk. Never issue one for a typed name: the
    /// person who redeems the grant becomes that user.
    ///
    /// A user has at most one grant: a new one revokes the previous one, so that a grant sent to a
    /// wrong address, or lost, is void once another is sent. Grants live in this process's memory,
    /// as hashes.
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
