"""Every call and every course of a session, with the vendor's SDKs."""

import http.client
import json
import time
import urllib.error
import urllib.request

import pytest

from conftest import APPLICATION_ID, APPLICATION_SECRET

UNUSUAL_USER_IDS = ["a/b", "a b", "a+b", "a%b", "é", "%2F", "x?y#z"]

# Actions on the phone, and the resulting status.
STATUS_PATHS = [
    ([], "pending"),
    (["identify"], "identifying"),
    (["approve"], "active"),
    (["identify", "approve"], "active"),
    (["approve", "walk_away"], "walkaway"),
    (["approve", "walk_away", "return"], "active"),
    (["cancel"], "cancelled"),
    (["identify", "cancel"], "cancelled"),
    (["fail"], "failed"),
    (["identify", "fail"], "failed"),
    (["timeout"], "timeout"),
    (["identify", "timeout"], "timeout"),
    (["close"], "closed"),
    (["identify", "close"], "closed"),
    (["approve", "close"], "closed"),
    (["approve", "walk_away", "close"], "closed"),
]


def raw(method, url, headers, body=None):
    """Sends exactly these headers; returns the status code."""
    request = urllib.request.Request(url, headers=headers, method=method, data=body)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


# Users


def test_users_are_created_once(sdk, management, request):
    a, b, c = (f"{request.node.name} {letter}" for letter in "abc")
    assert management.add_users([a, b]) == ([a, b], [])
    assert management.add_users([b, c]) == ([c], [b])
    assert management.add_user(a) == sdk.results.user_exists
    assert management.add_user(f"{a} new") == sdk.results.success


def test_invalid_users_are_rejected(sdk, management):
    assert management.add_users([]) == (None, None)
    assert management.add_users([""]) == (None, None)
    assert management.add_user("") == sdk.results.failed


def test_users_are_deleted(sdk, management, emulator, user):
    assert management.delete_user(user) == sdk.results.success
    assert emulator.user(user) is None
    assert management.delete_user(user) == sdk.results.failed
    assert management.add_user(user) == sdk.results.success
    assert management.delete_users([user, "nobody"]) == sdk.results.success


def test_a_deleted_users_session_is_closed(sdk, management, emulator, user, session):
    emulator.act(session, "approve")
    assert session.get_status() == sdk.status.Status.active
    assert management.delete_user(user) == sdk.results.success
    assert session.get_status() == sdk.status.Status.closed


# Devices


@pytest.mark.parametrize("display_name", [None, "", "Ann O'Neil + co, 100%/é"])
def test_a_registration_link_registers_a_device(sdk, management, emulator, request, display_name):
    user = request.node.name
    assert management.add_user(user) == sdk.results.success
    assert management.has_registered_mobile_device(user) == sdk.results.no_mobile_device
    link = management.get_registration_link(user, display_name)
    assert link.startswith(f"{emulator.url}/register/")
    assert raw("GET", link, {}) == 200
    assert management.has_registered_mobile_device(user) == sdk.results.no_mobile_device
    assert raw("POST", link, {}) == 200
    assert management.has_registered_mobile_device(user) == sdk.results.has_mobile_device
    assert raw("POST", link, {}) == 410
    assert emulator.user(user)["devices"] == 1


def test_sms_needs_a_phone_number(management, user):
    assert management.send_registration_sms(user, "Ann", "+15551234567", "Welcome!") is True
    assert management.send_registration_sms(user, None, "+15551234567", None) is True
    assert management.send_registration_sms(user, None, "5551234567", None) is False
    assert management.send_registration_sms(user, None, "+1555CALLNOW", None) is False


def test_unknown_users_are_rejected(sdk, management, authentication):
    assert management.get_registration_link("nobody", None) is None
    assert management.has_registered_mobile_device("nobody") == sdk.results.failed
    assert management.send_registration_sms("nobody", None, "+15551234567", None) is False
    assert management.delete_user("nobody") == sdk.results.failed
    assert authentication.authenticate_user("nobody") is None


def test_a_lost_device_is_disabled(sdk, management, authentication, emulator, user):
    # Neither SDK has this call; the test signs it with the SDK's code.
    quoted = user.replace(" ", "+")
    url = f"{emulator.url}/management/lost_user_mobile_device/{APPLICATION_ID}/{quoted}"
    headers = sdk.hmac.make_authentication_headers(APPLICATION_ID, APPLICATION_SECRET, url)
    assert raw("GET", url, headers) == 200
    assert management.has_registered_mobile_device(user) == sdk.results.no_mobile_device
    assert authentication.authenticate_user(user).failure_reason == "NO_MOBILE_DEVICE"


# Sessions


def test_session_needs_a_device(sdk, management, authentication, request):
    user = request.node.name
    assert management.add_user(user) == sdk.results.success
    session = authentication.authenticate_user(user)
    assert session.failed
    assert session.failure_reason == "NO_MOBILE_DEVICE"
    assert session.session_token is None and session.session_secret is None
    assert session.status_url is None and session.logout_url is None


def test_session_starts(sdk, emulator, user, session):
    assert session.session_status == sdk.status.Status.pending
    assert session.in_progress and session.failure_reason is None
    assert session.status_url == (
        f"{emulator.url}/authentication/session_status/{session.session_token}"
    )
    assert session.logout_url == f"{emulator.url}/authentication/logout/{session.session_token}"
    kept = emulator.session(session)
    assert (kept["user_id"], kept["methods"]) == (user, [])
    assert kept["expires_at"] - kept["created_at"] == 3600


def test_methods_are_requested(sdk, authentication, emulator, user):
    method = sdk.authentication_method.AuthenticationMethod
    session = authentication.authenticate_user(user, [method.facial, method.device])
    # Activeconnect 0.0.10 joins the wrong variable and sends `?methods=`, so the service chooses.
    wanted = [] if sdk.name == "Activeconnect" else ["device", "facial"]
    assert emulator.session(session)["methods"] == wanted


def test_duration_is_requested(sdk, authentication, emulator, user):
    if sdk.name == "Activeconnect":
        with pytest.raises(TypeError):
            authentication.authenticate_user(user, duration_seconds=1)
        return
    session = authentication.authenticate_user(user, duration_seconds=1)
    emulator.act(session, "approve")
    kept = emulator.session(session)
    assert kept["expires_at"] - kept["created_at"] == 1

    deadline = time.monotonic() + 10
    while session.get_status() != sdk.status.Status.closed:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    rejected = authentication.authenticate_user(user, duration_seconds=0)
    assert rejected.failed and rejected.failure_reason


@pytest.mark.parametrize("actions, status", STATUS_PATHS, ids=["-".join([s, *a]) for a, s in STATUS_PATHS])
def test_every_status_is_reported(sdk, emulator, session, actions, status):
    for action in actions:
        emulator.act(session, action)
    assert session.get_status() == sdk.status.Status[status]
    assert session.session_status == sdk.status.Status[status]
    assert session.active == (status == "active")
    assert session.in_progress == (status in ("pending", "identifying"))
    assert session.failed == (status in ("failed", "timeout", "cancelled"))


def test_every_status_is_covered(sdk):
    assert {status for _, status in STATUS_PATHS} == {status.name for status in sdk.status.Status}


def test_phone_walks_away_and_returns(sdk, emulator, session):
    emulator.act(session, "approve")
    for _ in range(2):
        emulator.act(session, "walk_away")
        assert session.get_status() == sdk.status.Status.walkaway
        emulator.act(session, "return")
        assert session.get_status() == sdk.status.Status.active


@pytest.mark.parametrize("actions", [[], ["identify"], ["approve"], ["approve", "walk_away"]])
def test_application_ends_session(sdk, emulator, session, actions):
    for action in actions:
        emulator.act(session, action)
    assert session.destroy() is True
    assert session.get_status() == sdk.status.Status.closed
    assert session.destroy() is False


def test_phone_ends_session(sdk, emulator, session):
    emulator.act(session, "approve")
    assert session.get_status() == sdk.status.Status.active
    emulator.act(session, "close")
    assert session.get_status() == sdk.status.Status.closed
    kept = emulator.session(session)
    assert kept["ended_at"] <= kept["first_told_at"]
    assert (kept["changed_at"], kept["told_at"]) == (kept["ended_at"], kept["first_told_at"])
    assert session.destroy() is False


def test_new_request_keeps_older_sessions(sdk, authentication, emulator, user, session):
    emulator.act(session, "approve")
    newer = authentication.authenticate_user(user)
    assert newer.session_token != session.session_token
    assert session.get_status() == sdk.status.Status.active
    assert newer.destroy() is True
    assert session.get_status() == sdk.status.Status.active


# Signatures


def test_wrong_application_secret_is_rejected(sdk, emulator, user):
    before = emulator.state()["rejected"]["signature"]
    management, authentication = sdk.management(secret="WRONG"), sdk.authentication(secret="WRONG")
    assert management.add_users(["x"]) == (None, None)
    assert management.has_registered_mobile_device(user) == sdk.results.failed
    assert authentication.authenticate_user(user) is None
    assert emulator.state()["rejected"]["signature"] == before + 3


def test_wrong_application_is_rejected(sdk, user):
    management, authentication = sdk.management(app="0" * 32), sdk.authentication(app="0" * 32)
    assert management.add_users(["x"]) == (None, None)
    assert management.get_registration_link(user, None) is None
    assert authentication.authenticate_user(user) is None
    url = f"{authentication_url(sdk)}/{'0' * 32}/x"
    headers = sdk.hmac.make_authentication_headers("0" * 32, APPLICATION_SECRET, url)
    assert raw("POST", url, headers, b"{}") == 404


def authentication_url(sdk):
    servers = vars(sdk.authentication_api)
    server = servers.get("ACTIVE_CONNECT_SERVER") or servers.get("IAMPASS_SERVER")
    return f"{server}/authentication/authenticate_user"


def test_wrong_session_secret_is_rejected(sdk, emulator, session):
    emulator.act(session, "approve")
    right = session.session_secret
    session.session_secret = "WRONG"
    # The SDK reads every rejection as failed, and keeps its last status.
    assert session.get_status() == sdk.status.Status.failed
    assert session.session_status == sdk.status.Status.pending
    assert session.destroy() is False
    session.session_secret = right
    assert session.get_status() == sdk.status.Status.active


def test_session_cannot_sign_for_another(sdk, authentication, user, session):
    other = authentication.authenticate_user(user)
    other.status_url, other.logout_url = session.status_url, session.logout_url
    assert other.get_status() == sdk.status.Status.failed
    assert other.destroy() is False
    assert session.get_status() == sdk.status.Status.pending


def test_replayed_headers_are_rejected(sdk, emulator, user, session):
    before = emulator.state()["rejected"]["nonce"]
    url = f"{authentication_url(sdk)}/{APPLICATION_ID}/{user.replace(' ', '+')}"
    headers = sdk.hmac.make_authentication_headers(APPLICATION_ID, APPLICATION_SECRET, url)
    assert raw("POST", url, headers, b"{}") == 202
    assert raw("POST", url, headers, b"{}") == 401

    token, secret = session.session_token, session.session_secret
    headers = sdk.hmac.make_authentication_headers(token, secret, session.status_url)
    assert raw("GET", session.status_url, headers) == 200
    assert raw("GET", session.status_url, headers) == 401
    assert emulator.state()["rejected"]["nonce"] == before + 2


# Faults


def test_an_outage_fails_every_call(sdk, management, authentication, emulator, user, session, fault):
    emulator.act(session, "approve")
    fault(route="*", kind="http", status=503, retry_after_s=2)
    assert management.add_users(["nobody"]) == (None, None)
    assert management.has_registered_mobile_device(user) == sdk.results.failed
    assert management.get_registration_link(user, None) is None
    assert authentication.authenticate_user(user) is None
    assert session.get_status() == sdk.status.Status.failed
    assert session.destroy() is False
    emulator.clear_faults()
    assert session.get_status() == sdk.status.Status.active
    assert emulator.user("nobody") is None


def test_fault_applies_a_given_number_of_times(sdk, authentication, user, session, fault):
    fault(route="status", kind="http", status=500, times=2, user_id=user)
    failed, pending = sdk.status.Status.failed, sdk.status.Status.pending
    assert [session.get_status() for _ in range(3)] == [failed, failed, pending]


def test_unknown_status_raises(sdk, authentication, user, session, fault):
    # The SDKs look the status up in an enumeration and raise KeyError.
    fault(route="*", kind="unknown_status", times=2)
    with pytest.raises(KeyError):
        session.get_status()
    with pytest.raises(KeyError):
        authentication.authenticate_user(user)
    assert session.get_status() == sdk.status.Status.pending


@pytest.mark.parametrize("kind", ["reset", "truncate", "garbage", "redirect"])
def test_unreadable_response_raises(sdk, session, fault, kind):
    fault(route="status", kind=kind, times=1)
    # No server listens at the redirect's target.
    with pytest.raises((OSError, http.client.HTTPException, json.JSONDecodeError)):
        session.get_status()
    assert session.get_status() == sdk.status.Status.pending


def test_session_urls_of_another_origin_are_accepted(authentication, emulator, user, fault):
    fault(route="authenticate_user", kind="foreign_urls", times=1)
    session = authentication.authenticate_user(user)
    assert session.in_progress
    assert session.status_url.startswith("http://127.0.0.2:")
    assert session.logout_url.startswith("http://127.0.0.2:")
    assert emulator.session(session)["user_id"] == user


# Names


@pytest.mark.parametrize("user_id", UNUSUAL_USER_IDS)
def test_unusual_user_ids(sdk, management, authentication, emulator, user_id):
    assert management.add_user(user_id) == sdk.results.success
    assert management.add_user(user_id) == sdk.results.user_exists
    assert management.has_registered_mobile_device(user_id) == sdk.results.no_mobile_device
    link = management.get_registration_link(user_id, user_id)
    assert raw("POST", link, {}) == 200
    assert emulator.user(user_id)["devices"] == 1
    assert management.has_registered_mobile_device(user_id) == sdk.results.has_mobile_device
    assert management.send_registration_sms(user_id, user_id, "+15551234567", user_id) is True
    session = authentication.authenticate_user(user_id)
    assert emulator.session(session)["user_id"] == user_id
    emulator.act(session, "approve")
    assert session.get_status() == sdk.status.Status.active
    assert management.delete_user(user_id) == sdk.results.success
    assert session.get_status() == sdk.status.Status.closed
    assert emulator.user(user_id) is None
