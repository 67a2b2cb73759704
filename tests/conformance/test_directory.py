"""Directory-based access: temporary credentials for a table's folder."""

import time

from harness.rules import PROTOCOL, REFERENCE, rule

SECTION = f"{PROTOCOL} Generate Temporary Table Credential"
KINDS = {
    "awsTempCredentials": {"accessKeyId", "secretAccessKey", "sessionToken"},
    "azureUserDelegationSas": {"sasToken"},
    "gcpOauthToken": {"oauthToken"},
}


def ask(server, table, **body):
    """Asks for credentials."""
    return server.request("POST", f"{server.path(*table.names)}/temporary-table-credentials", body=body)


def listed(server, table):
    """A table as its list has it."""
    items = server.get(server.path(*table.names[:2]) + "/tables").ok().json["items"]
    return next(item for item in items if item["name"] == server.renamed(*table.names)[2])


@rule("DIR-01", SECTION, needs="directory")
def test_credentials_are_of_one_cloud_with_a_location_and_an_end(server, plain):
    """The credentials have `location`, `expirationTime` in milliseconds ahead, and exactly one cloud's keys, whole."""
    found = ask(server, plain).ok().json["credentials"]
    kinds = [kind for kind in KINDS if found.get(kind)]
    assert len(kinds) == 1
    assert set(found[kinds[0]]) == KINDS[kinds[0]] and all(found[kinds[0]].values())
    assert found["location"] and time.time() * 1000 < found["expirationTime"] < (time.time() + 7 * 86_400) * 1000


@rule("DIR-02", f"{PROTOCOL} Access Modes", needs="directory")
def test_the_location_is_the_one_of_the_list(server, plain):
    """A table with `dir` in `accessModes` is listed with its `location`, for which the credentials are."""
    item = listed(server, plain)
    assert "dir" in item["accessModes"]
    for body in ({}, {"location": item["location"]}):
        found = ask(server, plain, **body).ok().json["credentials"]
        assert found["location"].rstrip("/") == item["location"].rstrip("/")


@rule("DIR-03", REFERENCE, needs="directory")
def test_a_location_outside_the_table_is_refused(server, plain, no_history):
    """A `location` that is not the table's is 400 or 403: above it, beside it, or another's."""
    location = listed(server, plain)["location"].rstrip("/")
    for other in (location.rsplit("/", 1)[0], location + "-more", f"{location}/../no_history", "s3://elsewhere/table"):
        ask(server, plain, location=other).refused(400, 403)


@rule("DIR-04", SECTION, needs="directory")
def test_credentials_of_no_table_are_404(server, truth):
    """Credentials for a table that does not exist are 404."""
    path = f"{server.path('alpha', 'main')}/tables/nothing/temporary-table-credentials"
    server.request("POST", path, body={}).refused(404)


@rule("DIR-05", REFERENCE, needs="directory")
def test_the_folder_of_a_table_without_shared_history_stays_closed(server, no_history):
    """Credentials open every version, so a table whose history is not shared is refused."""
    ask(server, no_history).refused(400, 403)


@rule("DIR-06", f"{PROTOCOL} Access Modes", without="directory")
def test_a_server_without_directories_offers_none(server, plain):
    """A server without directory-based access answers 4xx (or 501), and lists no table with `dir`."""
    answer = ask(server, plain)
    assert 400 <= answer.status < 500 or answer.status == 501
    assert "dir" not in listed(server, plain).get("accessModes", ["url"])
