"""Points the suite at a server: options, fixtures, and which tests a server's capabilities leave out."""

import json
import os

import pytest

from fixtures.build import build
from harness.growing import Growth
from harness.loading import Hook, Loaded
from harness.rows import Fetcher
from harness.rules import CAPABILITIES
from harness.server import Server
from harness.truth import Truth


def pytest_addoption(parser):
    """The options; each has an environment variable."""
    group = parser.getgroup("delta sharing server")
    for name, text in [
        ("profile", "a profile file (version 1) of a server that has the fixtures"),
        ("fixtures-command", "a command that loads the directory it is given and prints where the server is"),
        ("fixtures-directory", "the fixtures' directory; it is made if it does not exist"),
        ("without", "capabilities that the server lacks, with commas"),
    ]:
        variable = "DELTA_SHARING_" + name.upper().replace("-", "_")
        group.addoption(f"--{name}", default=os.environ.get(variable), help=f"{text} [{variable}]")
    group.addoption("--update-golden", action="store_true", help="write the golden files anew")


def pytest_configure(config):
    """Builds the fixtures and starts the loading hook, before tests are chosen."""
    config.addinivalue_line("markers", "rule: a rule of the protocol")
    profile, command = config.getoption("profile"), config.getoption("fixtures_command")
    config.sharing = None
    if config.getoption("help") or config.getoption("collectonly") or not (profile or command):
        return
    directory = config.getoption("fixtures_directory")
    if directory is None:
        import tempfile
        config.temporary = tempfile.TemporaryDirectory(prefix="delta-sharing-fixtures-")
        directory = config.temporary.name
    if not os.path.exists(os.path.join(directory, "manifest.json")):
        build(directory)
    if command:
        config.sharing_hook = Hook(command, directory)
        loaded = config.sharing_hook.loaded
    else:
        with open(profile, encoding="utf-8") as file:
            loaded = Loaded(json.load(file))
    absent = {name.strip() for name in (config.getoption("without") or "").split(",") if name.strip()} | loaded.without
    if not loaded.other_token:
        absent.add("other-token")
    if not loaded.expired_token:
        absent.add("expired-token")
    if not loaded.grow:
        absent.add("growing-tables")
    if absent - set(CAPABILITIES):
        raise pytest.UsageError(f"unknown capabilities: {sorted(absent - set(CAPABILITIES))}")
    config.sharing = (loaded, Truth(directory, loaded.not_loaded, absent))


def pytest_unconfigure(config):
    """Ends the loading hook."""
    if getattr(config, "sharing_hook", None):
        config.sharing_hook.close()
    if getattr(config, "temporary", None):
        config.temporary.cleanup()


def pytest_collection_modifyitems(config, items):
    """Leaves out what this server lacks, with a reason."""
    for item in items:
        mark = item.get_closest_marker("rule")
        if mark is None:
            continue
        if config.sharing is None:
            item.add_marker(pytest.mark.skip(reason="no server: give --profile or --fixtures-command"))
            continue
        absent = config.sharing[1].absent
        lacking = absent.intersection(mark.kwargs["needs"])
        if lacking:
            item.add_marker(pytest.mark.skip(reason=f"the server lacks {', '.join(sorted(lacking))}"))
        elif mark.kwargs["without"] and mark.kwargs["without"] not in absent:
            item.add_marker(pytest.mark.skip(reason=f"for servers without {mark.kwargs['without']}"))


@pytest.fixture(scope="session")
def loaded(pytestconfig):
    """What the loading hook said."""
    return pytestconfig.sharing[0]


@pytest.fixture(scope="session")
def truth(pytestconfig):
    """The truth about the fixtures."""
    return pytestconfig.sharing[1]


@pytest.fixture(scope="session")
def server(loaded):
    """The server, with the first token."""
    return Server(loaded.endpoint, loaded.token, loaded.names)


@pytest.fixture(scope="session")
def other(server, loaded):
    """The server, with the second token."""
    return server.with_token(loaded.other_token)


@pytest.fixture(scope="session")
def grow(loaded, server):
    """Lets a table grow by one version."""
    return Growth(loaded.grow, server)


@pytest.fixture(scope="session")
def fetcher():
    """Fetches files."""
    return Fetcher()


@pytest.fixture
def plain(truth):
    """A table of three versions with a file each, whose history is shared."""
    return truth.table("alpha.main.plain")


@pytest.fixture
def no_history(truth):
    """A table of three versions whose history is not shared."""
    return truth.table("alpha.main.no_history")
