"""What is not there, and what is malformed."""

import pytest

from harness.rules import PROTOCOL, REFERENCE, rule

#: Every endpoint of a table: method and the rest of its path.
ENDPOINTS = {"version": "GET", "metadata": "GET", "query": "POST", "changes?startingVersion=0": "GET"}


def ask(server, path, endpoint, method):
    """A well-formed request to an endpoint."""
    return server.request(method, f"{path}/{endpoint}", body={} if method == "POST" else None)


@rule("ERR-01", f"{PROTOCOL} Get Share")
def test_a_share_that_does_not_exist_is_404(server):
    """What is below a share that does not exist is 404."""
    for path in ("", "/schemas", "/all-tables", "/schemas/main/tables"):
        server.get(f"/shares/there-is-no-such-share{path}").refused(404)


@rule("ERR-02", f"{PROTOCOL} List Tables in a Schema")
def test_a_schema_that_does_not_exist_is_404(server):
    """The tables of a schema that does not exist are 404."""
    server.get(f"{server.path('alpha')}/schemas/there-is-no-such-schema/tables").refused(404)


@rule("ERR-03", f"{PROTOCOL} Query Table Version")
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_table_that_does_not_exist_is_404(server, endpoint):
    """Every endpoint of a table that does not exist is 404, whichever of its three names is unknown."""
    share, schema, table = server.renamed("alpha", "main", "plain")
    for names in ((share, schema, "nothing"), (share, "nothing", table), ("nothing", schema, table)):
        path = "/shares/{}/schemas/{}/tables/{}".format(*names)
        ask(server, path, endpoint, ENDPOINTS[endpoint]).refused(404)


@rule("ERR-04", f"{PROTOCOL} Query Table Version", needs="head-version")
def test_head_of_a_table_that_does_not_exist_is_404_without_a_body(server):
    """`HEAD` of a table that does not exist is 404 and has no body."""
    answer = server.request("HEAD", f"{server.path('alpha', 'main')}/tables/nothing")
    assert (answer.status, answer.text) == (404, "")


@rule("ERR-05", REFERENCE, needs="reference-errors")
def test_what_does_not_exist_has_the_error_code_of_the_reference_server(server):
    """`errorCode` of a 404 is `RESOURCE_DOES_NOT_EXIST`."""
    answer = server.get(f"{server.path('alpha', 'main')}/tables/nothing/version").refused(404)
    assert answer.json["errorCode"] == "RESOURCE_DOES_NOT_EXIST"


@rule("ERR-06", f"{PROTOCOL} Read Data from a Table")
@pytest.mark.parametrize("data", ["", "{", "[]", "null", '"text"', "{'version': 0}", "\xff"])
def test_a_query_whose_body_is_no_json_object_is_refused(server, plain, data):
    """A query whose body is empty, no JSON, or no JSON object is 400."""
    path = server.path(*plain.names) + "/query"
    answer = server.request("POST", path, data=data.encode("latin-1"), headers={"Content-Type": "application/json"})
    answer.refused(400)


@rule("ERR-07", f"{PROTOCOL} Read Data from a Table")
@pytest.mark.parametrize("body", [
    {"version": "one"}, {"version": 1.5}, {"version": True}, {"version": [1]}, {"timestamp": 5}, {"limitHint": "all"},
    {"startingVersion": {}}, {"version": 2**70},
], ids=str)
def test_a_query_parameter_of_the_wrong_type_is_refused(server, plain, body):
    """A parameter of a query whose value has the wrong type is 400."""
    server.query(plain, body).refused(400)


@rule("ERR-08", f"{PROTOCOL} Protocol")
def test_unknown_parameters_are_ignored(server, plain):
    """Fields of the body and parameters of the URL that the server does not know change nothing."""
    known = {content["id"] for _, content in server.query(plain).ok().files}
    asked = server.query(plain, {"somethingNew": {"deep": [1, 2]}}).ok()
    assert {content["id"] for _, content in asked.files} == known
    assert server.version(plain, somethingNew="1").ok().version == plain.latest


@rule("ERR-09", f"{PROTOCOL} REST APIs")
def test_a_path_that_is_no_endpoint_is_not_found(server, plain):
    """A path that the protocol does not know is 404 (or 405), and no 5xx."""
    for path in ("/", "/nothing", "/shares/", server.path(*plain.names) + "/nothing"):
        assert server.get(path).status in (404, 405)


@rule("ERR-10", f"{PROTOCOL} REST APIs")
def test_a_method_that_an_endpoint_does_not_have_is_refused(server, plain):
    """Another method than the endpoint's is 404, 405 or 501."""
    table = server.path(*plain.names)
    for method, path in (("POST", "/shares"), ("DELETE", "/shares"), ("GET", f"{table}/query"),
                         ("PUT", f"{table}/query"), ("POST", f"{table}/version")):
        assert server.request(method, path, data="{}").status in (404, 405, 501), (method, path)


@rule("ERR-11", "delta-io/delta-sharing issue 197")
def test_an_error_does_not_show_where_the_files_are(server, truth, plain):
    """Messages of errors have no path of the server's storage and no trace of its program."""
    asks = [server.query(plain, {"version": 10**6}), server.query(plain, {"timestamp": "never"}),
            server.get("/shares/nothing"), server.query(plain, {"version": -1})]
    for answer in asks:
        assert answer.status >= 400
        for part in (truth.folder, "_delta_log", "file://", "s3://", "\n\tat ", "Traceback", "panicked"):
            assert part not in answer.text, part


@rule("ERR-13", f"{PROTOCOL} Read Data from a Table")
def test_a_table_that_cannot_be_read_is_an_error_in_the_protocols_form(server, truth):
    """A table whose log is broken is 4xx or 5xx with the protocol's JSON, and no answer that looks whole."""
    table = truth.table("alpha.advanced.broken")
    answer = server.query(table)
    assert answer.status >= 400
    answer.refused(answer.status)
    assert truth.folder not in answer.text and "_delta_log" not in answer.text


@rule("ERR-12", f"{PROTOCOL} Names")
@pytest.mark.parametrize("name", ["..", "%2e%2e", "..%2f..%2fetc", "%00", "a%0ab", "%F0%9F%92%A9", "%ff"])
def test_a_hostile_name_is_not_found(server, name):
    """A table's name that climbs, or is no text, is 400 or 404."""
    url = f"{server.endpoint}{server.path('alpha', 'main')}/tables/{name}/version"
    import requests
    prepared = requests.Request("GET", url, headers={"Authorization": f"Bearer {server.token}"}).prepare()
    prepared.url = url
    assert server.session.send(prepared, timeout=60, allow_redirects=False).status_code in (400, 404)


@rule("ERR-14", REFERENCE, needs="reference-errors")
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_table_that_does_not_exist_is_refused_in_the_words_of_the_reference_server(server, endpoint):
    """The message of a table's 404 is "[Share/Schema/Table] 's/s/t' does not exist, please contact your share provider
    for further information."."""
    share, schema, _ = server.renamed("alpha", "main", "plain")
    for names in ((share, schema, "nothing"), (share, "nothing", "nothing"), ("nothing", schema, "nothing")):
        path = "/shares/{}/schemas/{}/tables/{}".format(*names)
        message = ask(server, path, endpoint, ENDPOINTS[endpoint]).refused(404).json["message"]
        assert message == f"[Share/Schema/Table] '{'/'.join(names)}' does not exist, please contact your share " \
            "provider for further information."
