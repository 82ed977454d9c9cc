use std::collections::{BTreeMap, HashMap};

use tower_activeconnect::Secret;
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::protocol::messages::AddedUsers;

use super::endpoint::Endpoint;
use super::fault::FaultRegistry;
use super::nonces::Nonces;
use super::report::{CallCounts, RejectionCounts, StateReport, UserReport};
use super::session::{Session, SessionParams};
use super::signature::Verified;
use super::{Action, ControlError};

/// The whole state of the service. It reads no clock and no random numbers: callers pass them. Times
/// are Unix milliseconds, those of signatures Unix seconds.
#[derive(Default)]
pub(super) struct State {
    users: BTreeMap<String, User>,
    /// In the order of their start; none is ever removed.
    sessions: Vec<Session>,
    by_token: HashMap<String, usize>,
    links: HashMap<String, Link>,
    messages: Vec<Message>,
    nonces: Nonces,
    calls: CallCounts,
    rejected: RejectionCounts,
    pub(super) faults: FaultRegistry,
}

#[derive(Default)]
struct User {
    devices: u32,
    label: Option<String>,
    newest_session: Option<usize>,
}

/// The longest label, in characters.
const MAX_LABEL_CHARS: usize = 64;

/// A registration link: the phone that opens it is registered for the user.
pub(super) struct Link {
    pub(super) user_id: String,
    pub(super) display_name: Option<String>,
    pub(super) used: bool,
}

/// An SMS that the page shows.
#[derive(Clone, PartialEq)]
pub(super) struct Message {
    pub(super) user_id: String,
    pub(super) phone_number: String,
    pub(super) text: String,
    pub(super) register_url: String,
}

/// The user does not exist: 404.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownUser;

/// Why a call of a known application or session is rejected with 401.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CallRejection {
    Signature(&'static str),
    Timestamp,
    Nonce,
}

impl State {
    /// Accepts or rejects a call, and counts it. A nonce is kept for as long as its timestamp would be
    /// accepted.
    pub(super) fn authorize_call(
        &mut self,
        call: Endpoint,
        client_id: &str,
        verified: Result<Verified, &'static str>,
        now_s: u64,
        tolerance_s: u64,
    ) -> Result<(), CallRejection> {
        let verified = verified.map_err(|reason| {
            self.rejected.signature += 1;
            CallRejection::Signature(reason)
        })?;
        if verified.signed_at.abs_diff(now_s) > tolerance_s {
            self.rejected.timestamp += 1;
            return Err(CallRejection::Timestamp);
        }
        self.nonces.forget_before(now_s.saturating_sub(tolerance_s));
        if !self.nonces.take(client_id, verified.nonce, verified.signed_at) {
            self.rejected.nonce += 1;
            return Err(CallRejection::Nonce);
        }
        self.calls.count(call);
        Ok(())
    }

    pub(super) fn add_users(&mut self, user_ids: Vec<String>) -> Result<AddedUsers, &'static str> {
        if user_ids.is_empty() {
            return Err("no users are named");
        }
        if user_ids.iter().any(String::is_empty) {
            return Err("a user id is empty");
        }
        let (mut created, mut existing) = (Vec::new(), Vec::new());
        for user_id in user_ids {
            if self.users.contains_key(&user_id) {
                existing.push(user_id);
            } else {
                self.users.insert(user_id.clone(), User::default());
                created.push(user_id);
            }
        }
        Ok(AddedUsers::new(created, existing))
    }

    /// Deletes the existing users and closes their sessions; false if none exists.
    pub(super) fn delete_users(&mut self, user_ids: &[String], now: u64) -> bool {
        let mut has_deleted = false;
        for user_id in user_ids {
            if self.users.remove(user_id).is_none() {
                continue;
            }
            has_deleted = true;
            self.links.retain(|_, link| link.user_id != *user_id);
            for session in self.sessions.iter_mut().filter(|session| session.user_id == *user_id) {
                // Ended sessions reject the action and stay unchanged.
                let _ = session.act(Action::Close, now);
            }
        }
        has_deleted
    }

    pub(super) fn has_device(&self, user_id: &str) -> Result<bool, UnknownUser> {
        self.users.get(user_id).map(|user| user.devices > 0).ok_or(UnknownUser)
    }

    /// Adds the registration link `token`, which is valid for one device of the user.
    pub(super) fn add_link(
        &mut self,
        user_id: &str,
        token: String,
        display_name: Option<String>,
    ) -> Result<(), UnknownUser> {
        if !self.users.contains_key(user_id) {
            return Err(UnknownUser);
        }
        let link = Link { user_id: user_id.to_owned(), display_name, used: false };
        self.links.insert(token, link);
        Ok(())
    }

    /// Disables all devices of the user.
    pub(super) fn remove_devices(&mut self, user_id: &str) -> Result<(), UnknownUser> {
        self.users.get_mut(user_id).ok_or(UnknownUser)?.devices = 0;
        Ok(())
    }

    pub(super) fn send(&mut self, message: Message) {
        self.messages.push(message);
    }

    pub(super) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Starts a session. It does not end older sessions of the user.
    pub(super) fn authenticate(
        &mut self,
        user_id: &str,
        params: &SessionParams,
        token: String,
        secret: Secret,
        now: u64,
    ) -> Result<(), UnknownUser> {
        let user = self.users.get_mut(user_id).ok_or(UnknownUser)?;
        let index = self.sessions.len();
        user.newest_session = Some(index);
        self.by_token.insert(token.clone(), index);
        self.sessions.push(Session::new(token, secret, user_id.to_owned(), params, now));
        Ok(())
    }

    pub(super) fn session(&mut self, token: &str) -> Option<&mut Session> {
        self.by_token.get(token).and_then(|index| self.sessions.get_mut(*index))
    }

    /// The user's label, if there is one.
    pub(super) fn label(&self, user_id: &str) -> Option<&str> {
        self.users.get(user_id)?.label.as_deref()
    }

    pub(super) fn link(&self, token: &str) -> Option<&Link> {
        self.links.get(token)
    }

    /// Opens a link on the phone. The first time, it registers a device.
    pub(super) fn redeem_link(&mut self, token: &str) -> bool {
        let Some(link) = self.links.get_mut(token).filter(|link| !link.used) else { return false };
        link.used = true;
        let user_id = link.user_id.clone();
        self.register_device(&user_id).is_ok()
    }

    pub(super) fn register_device(&mut self, user_id: &str) -> Result<(), ControlError> {
        let user = self.users.get_mut(user_id).ok_or(ControlError::UnknownUser)?;
        user.devices = user.devices.saturating_add(1);
        Ok(())
    }

    pub(super) fn set_label(&mut self, user_id: &str, label: String) -> Result<(), ControlError> {
        let user = self.users.get_mut(user_id).ok_or(ControlError::UnknownUser)?;
        if label.trim().is_empty()
            || label.chars().count() > MAX_LABEL_CHARS
            || label.chars().any(char::is_control)
        {
            return Err(ControlError::InvalidLabel);
        }
        user.label = Some(label);
        Ok(())
    }

    pub(super) fn act_on_user(
        &mut self,
        user_id: &str,
        action: Action,
        now: u64,
    ) -> Result<SessionStatus, ControlError> {
        let user = self.users.get(user_id).ok_or(ControlError::UnknownUser)?;
        let newest = user.newest_session.and_then(|index| self.sessions.get_mut(index));
        act(newest.ok_or(ControlError::NoSession)?, action, now)
    }

    pub(super) fn act_on_session(
        &mut self,
        token: &str,
        action: Action,
        now: u64,
    ) -> Result<SessionStatus, ControlError> {
        act(self.session(token).ok_or(ControlError::UnknownSession)?, action, now)
    }

    pub(super) fn report(&mut self, now: u64) -> StateReport {
        let users = self.users.iter();
        StateReport {
            users: users
                .map(|(user_id, user)| UserReport {
                    user_id: user_id.clone(),
                    devices: user.devices,
                    label: user.label.clone(),
                })
                .collect(),
            sessions: self.sessions.iter_mut().map(|session| session.report(now)).collect(),
            calls: self.calls,
            rejected: self.rejected,
        }
    }
}

fn act(session: &mut Session, action: Action, now: u64) -> Result<SessionStatus, ControlError> {
    session.act(action, now).map_err(|status| ControlError::NotAllowed { status, action })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower_activeconnect::protocol::AuthMethods;

    const NOW: u64 = 1_700_000_000_000;
    const NOW_S: u64 = NOW / 1000;

    fn with_users(user_ids: &[&str]) -> State {
        let mut state = State::default();
        let user_ids = user_ids.iter().map(|user_id| (*user_id).to_owned()).collect();
        assert!(state.add_users(user_ids).is_ok());
        state
    }

    fn start_session(state: &mut State, user_id: &str, token: &str) {
        let params = SessionParams {
            methods: AuthMethods::default(),
            duration_ms: 3_600_000,
            pending_ms: 60_000,
        };
        let result = state.authenticate(user_id, &params, token.into(), Secret::new("S"), NOW);
        assert_eq!(result, Ok(()));
    }

    fn authorize(
        state: &mut State,
        nonce: u64,
        signed_at: u64,
        now_s: u64,
    ) -> Result<(), CallRejection> {
        state.authorize_call(Endpoint::Status, "c", Ok(Verified { nonce, signed_at }), now_s, 300)
    }

    #[test]
    fn users_are_added_once_or_not_at_all() {
        let mut state = with_users(&["a"]);
        let added = state.add_users(vec!["a".into(), "b".into(), "b".into()]).expect("added");
        assert_eq!(added.created, Some(vec!["b".to_owned()]));
        assert_eq!(added.existing, Some(vec!["a".to_owned(), "b".to_owned()]));

        assert!(state.add_users(vec![]).is_err());
        assert!(state.add_users(vec!["c".into(), String::new()]).is_err());
        assert_eq!(state.has_device("c"), Err(UnknownUser));
    }

    #[test]
    fn deleting_user_closes_running_sessions_only() {
        let mut state = with_users(&["a", "b"]);
        for (user_id, token) in [("a", "A1"), ("a", "A2"), ("b", "B1")] {
            start_session(&mut state, user_id, token);
        }
        assert!(state.act_on_session("A1", Action::Cancel, NOW).is_ok());
        assert_eq!(state.add_link("a", "L".into(), None), Ok(()));

        assert!(state.delete_users(&["unknown".into(), "a".into()], NOW + 1));
        assert!(!state.delete_users(&["a".into()], NOW + 2));
        let statuses: Vec<_> =
            state.report(NOW + 3).sessions.iter().map(|session| session.status).collect();
        assert_eq!(
            statuses,
            [SessionStatus::Cancelled, SessionStatus::Closed, SessionStatus::Pending]
        );
        assert!(state.link("L").is_none());
        assert_eq!(state.act_on_user("a", Action::Close, NOW + 3), Err(ControlError::UnknownUser));

        // A later user with the same id is another user.
        assert!(state.add_users(vec!["a".into()]).is_ok());
        assert_eq!(state.act_on_user("a", Action::Close, NOW + 3), Err(ControlError::NoSession));
    }

    #[test]
    fn user_action_applies_to_newest_session() {
        let mut state = with_users(&["a"]);
        start_session(&mut state, "a", "OLD");
        start_session(&mut state, "a", "NEW");
        assert_eq!(state.act_on_user("a", Action::Approve, NOW), Ok(SessionStatus::Active));
        assert_eq!(state.session("OLD").expect("session").status(NOW), SessionStatus::Pending);
        assert_eq!(state.session("NEW").expect("session").status(NOW), SessionStatus::Active);
    }

    #[test]
    fn label_is_validated_and_deleted_with_user() {
        let mut state = with_users(&["a"]);
        let label_of_a = |state: &mut State| state.report(NOW).users[0].label.clone();
        assert_eq!(label_of_a(&mut state), None);
        let longest = "é".repeat(MAX_LABEL_CHARS);
        assert_eq!(state.set_label("unknown", "Alice".into()), Err(ControlError::UnknownUser));
        assert_eq!(state.set_label("a", "Alice".into()), Ok(()));
        assert_eq!(state.set_label("a", longest.clone()), Ok(()));
        for invalid in ["", " \u{a0}", "Al\nice", "Al\u{7f}ice", &format!("{longest}é")] {
            assert_eq!(
                state.set_label("a", invalid.into()),
                Err(ControlError::InvalidLabel),
                "{invalid:?}"
            );
        }
        assert_eq!(label_of_a(&mut state), Some(longest));

        // A later user with the same token is another user.
        assert!(state.delete_users(&["a".into()], NOW));
        assert!(state.add_users(vec!["a".into()]).is_ok());
        assert_eq!(label_of_a(&mut state), None);
    }

    #[test]
    fn link_registers_one_device() {
        let mut state = with_users(&["a"]);
        assert_eq!(state.add_link("unknown", "L".into(), None), Err(UnknownUser));
        assert_eq!(state.add_link("a", "L".into(), None), Ok(()));
        assert!(state.redeem_link("L"));
        assert!(!state.redeem_link("L"));
        assert_eq!(state.report(NOW).users[0].devices, 1);
        assert!(state.link("L").expect("kept").used);
        assert_eq!(state.remove_devices("a"), Ok(()));
        assert_eq!(state.has_device("a"), Ok(false));
    }

    #[test]
    fn timestamp_tolerance_is_symmetric() {
        let mut state = State::default();
        assert_eq!(authorize(&mut state, 1, NOW_S - 301, NOW_S), Err(CallRejection::Timestamp));
        assert_eq!(authorize(&mut state, 2, NOW_S + 301, NOW_S), Err(CallRejection::Timestamp));
        assert_eq!(authorize(&mut state, 3, NOW_S - 300, NOW_S), Ok(()));
        assert_eq!(authorize(&mut state, 4, NOW_S + 300, NOW_S), Ok(()));
    }

    #[test]
    fn nonce_is_kept_while_timestamp_is_valid() {
        let mut state = State::default();
        // A timestamp in the future stays valid for twice the tolerance.
        let signed_at = NOW_S + 300;
        assert_eq!(authorize(&mut state, 1, signed_at, NOW_S), Ok(()));
        assert_eq!(authorize(&mut state, 1, signed_at, NOW_S + 600), Err(CallRejection::Nonce));
        assert_eq!(authorize(&mut state, 1, signed_at, NOW_S + 601), Err(CallRejection::Timestamp));
    }

    #[test]
    fn rejection_is_counted_and_uses_no_nonce() {
        let mut state = State::default();
        let rejected = state.authorize_call(Endpoint::Logout, "c", Err("wrong"), NOW_S, 300);
        assert_eq!(rejected, Err(CallRejection::Signature("wrong")));
        assert_eq!(authorize(&mut state, 1, 0, NOW_S), Err(CallRejection::Timestamp));
        assert_eq!(authorize(&mut state, 1, NOW_S, NOW_S), Ok(()));
        assert_eq!(authorize(&mut state, 1, NOW_S, NOW_S), Err(CallRejection::Nonce));
        let report = state.report(NOW);
        assert_eq!(report.rejected, RejectionCounts { signature: 1, timestamp: 1, nonce: 1 });
        assert_eq!(report.calls, CallCounts { status: 1, ..CallCounts::default() });
    }
}
