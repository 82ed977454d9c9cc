"""The emulator as a child process, and both published SDKs configured for it."""

import importlib
import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

APPLICATION_ID = "a4c123b1612dd272d1371c17149d4395"
APPLICATION_SECRET = "MXG9EDN581U33XTPLPFT75V2"

# The package, and the variable and module attribute for the server URL.
SDKS = [("Activeconnect", "ACTIVE_CONNECT_SERVER"), ("IAMPASS", "IAMPASS_SERVER")]


@dataclass
class Emulator:
    """The emulator's control interface."""

    url: str

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, method=method, data=data)
        try:
            with urllib.request.urlopen(request) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def state(self) -> Any:
        status, state = self.call("GET", "/emulator/state")
        assert status == 200
        return state

    def user(self, user_id: str) -> Any:
        return next((u for u in self.state()["users"] if u["user_id"] == user_id), None)

    def session(self, session: Any) -> Any:
        token = session.session_token
        return next(s for s in self.state()["sessions"] if s["session_token"] == token)

    def register_device(self, user_id: str) -> None:
        quoted = urllib.parse.quote(user_id, safe="")
        status, _ = self.call("POST", f"/emulator/users/{quoted}/register_device")
        assert status == 200

    def act(self, session: Any, action: str) -> str:
        path = f"/emulator/sessions/{session.session_token}/{action}"
        status, body = self.call("POST", path)
        assert status == 200, body
        return body["status"]

    def fault(self, **fault: Any) -> None:
        status, body = self.call("POST", "/emulator/faults", fault)
        assert status == 200, body

    def clear_faults(self) -> None:
        assert self.call("DELETE", "/emulator/faults") == (200, {"status": True})


@dataclass
class Sdk:
    """The modules of one SDK, and its two API classes for the emulator's application."""

    name: str
    hmac: ModuleType
    management_api: ModuleType
    authentication_api: ModuleType
    authentication_method: ModuleType
    status: ModuleType

    def management(self, app: str = APPLICATION_ID, secret: str = APPLICATION_SECRET) -> Any:
        return self.management_api.ManagementAPI(app, secret)

    def authentication(self, app: str = APPLICATION_ID, secret: str = APPLICATION_SECRET) -> Any:
        return self.authentication_api.AuthenticationAPI(app, secret)

    @property
    def results(self) -> Any:
        return self.management_api.ManagementAPIResult


@pytest.fixture(scope="session", params=["any", "own"])
def dialect(request):
    """An emulator that accepts every dialect, and one that accepts only the SDK's own."""
    return request.param


@pytest.fixture(scope="session", params=SDKS, ids=[name for name, _ in SDKS])
def package(request):
    return request.param


@pytest.fixture(scope="session")
def emulator(dialect, package):
    name, _ = package
    program = os.environ.get("ACTIVECONNECT_EMULATOR")
    if not program:
        pytest.exit("set ACTIVECONNECT_EMULATOR to the activeconnect-emulator program", 2)
    arguments = [program, "--listen", "127.0.0.1:0"]
    arguments += ["--application-id", APPLICATION_ID, "--application-secret", APPLICATION_SECRET]
    arguments += ["--dialect", name.lower() if dialect == "own" else "any"]
    child = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    try:
        line = child.stdout.readline()
        assert line.startswith("listening on http://"), line
        yield Emulator(line.removeprefix("listening on ").strip())
    finally:
        child.terminate()
        child.wait(timeout=10)
        child.stdout.close()


@pytest.fixture(scope="session")
def sdk(emulator, package):
    name, variable = package
    # The SDK reads the variable when it is imported, and must never call the vendor's server.
    os.environ[variable] = emulator.url
    modules = ["hmac", "management_api", "authentication_api", "authentication_method", "status"]
    imported = {module: importlib.import_module(f"{name}.{module}") for module in modules}
    # Each module copied the URL at its import, perhaps that of an earlier emulator.
    for module in ("management_api", "authentication_api"):
        setattr(imported[module], variable, emulator.url)
    return Sdk(name, **imported)


@pytest.fixture
def fault(emulator):
    """Injects faults until the test ends."""
    yield emulator.fault
    emulator.clear_faults()


@pytest.fixture
def management(sdk):
    return sdk.management()


@pytest.fixture
def authentication(sdk):
    return sdk.authentication()


@pytest.fixture
def user(request, management, emulator):
    """A user with a device and a unique id."""
    user_id = f"user of {request.node.name}"
    created, existing = management.add_users([user_id])
    assert (created, existing) == ([user_id], [])
    emulator.register_device(user_id)
    return user_id


@pytest.fixture
def session(user, authentication):
    session = authentication.authenticate_user(user)
    assert session is not None and session.session_token
    return session
