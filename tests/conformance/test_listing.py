"""Lists: shares, schemas, tables, and their pages."""

import uuid

import pytest

from harness.rules import CLIENT, PROTOCOL, REFERENCE, rule
from harness.server import every_page

FORBIDDEN = {" ", "/", "\x7f", *map(chr, range(0x20))}


def lists(truth, server):
    """The path of each kind of list that has two items or more."""
    alpha = server.path("alpha")
    return {"shares": "/shares", "schemas": f"{alpha}/schemas", "tables": f"{server.path('alpha', 'main')}/tables",
            "all-tables": f"{alpha}/all-tables"}


def items(server, path, **parameters):
    """All items of a list, page by page."""
    pages = every_page(lambda token: server.get(path, pageToken=token, **parameters))
    return [item for page in pages for item in page.json.get("items") or []]


def key(item):
    """What tells items of one list apart."""
    return (item.get("share"), item.get("schema"), item["name"])


def each_list(truth, server):
    """The lists that the server has."""
    return {kind: path for kind, path in lists(truth, server).items()
            if kind != "all-tables" or "all-tables" not in truth.absent}


@rule("LST-01", f"{PROTOCOL} List Shares")
def test_shares_lists_every_share_of_the_recipient_and_no_other(server, truth):
    """`GET /shares` gives every share that the token may see, and no other."""
    wanted = {server.renamed(share)[0] for share in truth.shares["token"] if truth.loaded(share)}
    assert {item["name"] for item in items(server, "/shares")} == wanted


@rule("LST-02", f"{PROTOCOL} List Shares")
def test_an_item_of_shares_has_a_name_and_optional_fields_of_their_types(server):
    """A share has a `name`; `id`, `displayName`, `comment` are strings within their limits, `properties` a small
    map."""
    for item in items(server, "/shares"):
        assert isinstance(item["name"], str) and 0 < len(item["name"]) <= 255
        for name, limit in (("id", 255), ("displayName", 255), ("comment", 65_536)):
            assert isinstance(item.get(name, ""), str) and len(item.get(name, "")) <= limit, name
        properties = item.get("properties") or {}
        assert len(properties) <= 50
        assert all(len(name) <= 255 and isinstance(text, str) and len(text) <= 1_000
                   for name, text in properties.items())


@rule("LST-03", f"{PROTOCOL} Get Share")
def test_a_share_is_the_same_alone_as_in_the_list(server):
    """`GET /shares/{share}` gives `{"share": …}` with what the list says of it."""
    for item in items(server, "/shares"):
        answer = server.get(f"/shares/{item['name']}").ok()
        assert answer.json == {"share": item}


@rule("LST-04", f"{PROTOCOL} List Schemas in a Share")
def test_schemas_lists_every_schema_with_its_share(server, truth):
    """`GET /shares/{share}/schemas` gives `name` and `share` of each schema."""
    share = server.renamed("alpha")[0]
    wanted = {server.renamed("alpha", schema)[1] for schema in truth.below("alpha")}
    found = items(server, f"{server.path('alpha')}/schemas")
    assert {item["name"] for item in found} == wanted
    assert {item["share"] for item in found} == {share}


@rule("LST-05", f"{PROTOCOL} List Tables in a Schema")
def test_tables_lists_every_table_with_its_schema_and_share(server, truth):
    """`GET …/tables` gives `name`, `schema` and `share` of each table of the schema."""
    share, schema = server.renamed("alpha", "main")
    here = [table for table in truth.tables.values() if server.renamed(*table.names)[:2] == [share, schema]]
    must = {tuple(server.renamed(*table.names)) for table in here if not truth.missing(table)}
    may = {tuple(server.renamed(*table.names)) for table in here if truth.loaded(*table.names)}
    found = {(item["share"], item["schema"], item["name"])
             for item in items(server, f"{server.path('alpha', 'main')}/tables")}
    assert must <= found <= may


@rule("LST-06", f"{PROTOCOL} List all Tables in a Share", needs="all-tables")
def test_all_tables_is_the_sum_of_the_lists_of_each_schema(server):
    """`GET /shares/{share}/all-tables` gives what the lists of its schemas give together."""
    path = server.path("alpha")
    each = [table for schema in items(server, f"{path}/schemas")
            for table in items(server, f"{path}/schemas/{schema['name']}/tables")]
    assert sorted(items(server, f"{path}/all-tables"), key=key) == sorted(each, key=key)


@rule("LST-07", CLIENT, without="all-tables")
def test_a_server_without_all_tables_answers_404(server):
    """A server without `all-tables` answers 404, for which clients list schema by schema."""
    assert server.get(f"{server.path('alpha')}/all-tables").status == 404


@rule("LST-08", f"{PROTOCOL} List Schemas in a Share")
def test_a_share_without_schemas_has_an_empty_list(server, truth):
    """A list of nothing is 200 with `items` empty or absent, and has no next page."""
    if not truth.loaded("hollow"):
        pytest.skip("the empty share is not loaded")
    answer = server.get(f"{server.path('hollow')}/schemas").ok()
    assert not answer.json.get("items") and not answer.json.get("nextPageToken")


@rule("LST-09", f"{PROTOCOL} List Tables in a Schema")
def test_a_schema_without_tables_has_an_empty_list(server, truth):
    """A schema without tables is listed, and its list of tables is 200 and empty."""
    if not truth.loaded("alpha", "bare"):
        pytest.skip("the empty schema is not loaded")
    answer = server.get(f"{server.path('alpha', 'bare')}/tables").ok()
    assert not answer.json.get("items") and not answer.json.get("nextPageToken")


@rule("LST-10", f"{PROTOCOL} List Shares")
def test_every_list_is_json_and_ends_without_a_next_page(server, truth):
    """Lists are `application/json; charset=utf-8`, and the last page's `nextPageToken` is absent or empty."""
    for path in each_list(truth, server).values():
        last = every_page(lambda token: server.get(path, pageToken=token))[-1]
        assert last.headers["Content-Type"].lower().replace(" ", "") == "application/json;charset=utf-8"
        assert last.json.get("nextPageToken", "") == ""


@rule("LST-11", f"{PROTOCOL} List Shares")
def test_pages_of_one_item_give_every_item_once(server, truth):
    """Followed to the end with `maxResults=1`, the pages of each list hold each item exactly once."""
    for path in each_list(truth, server).values():
        assert sorted(items(server, path, maxResults=1), key=key) == sorted(items(server, path), key=key)


@rule("LST-12", f"{PROTOCOL} List Shares", needs="list-paging")
def test_a_page_has_at_most_max_results_items(server, truth):
    """A page has at most `maxResults` items, and says where the next one begins if there are more."""
    for path in each_list(truth, server).values():
        count = len(items(server, path))
        for size in (1, 2):
            page = server.get(path, maxResults=size).ok().json
            assert len(page.get("items") or []) <= size
            assert bool(page.get("nextPageToken")) or len(page.get("items") or []) == count


@rule("LST-13", f"{PROTOCOL} List Shares")
def test_max_results_of_zero_gives_no_items(server, truth):
    """`maxResults=0` is legal and gives no items."""
    for path in each_list(truth, server).values():
        assert not server.get(path, maxResults=0).ok().json.get("items")


@rule("LST-14", f"{PROTOCOL} List Shares")
@pytest.mark.parametrize("value", ["-1", "many", "1.5", "", "99999999999999999999"])
def test_max_results_that_is_no_natural_number_is_refused(server, truth, value):
    """`maxResults` that is negative or no 32-bit number is 400."""
    for path in each_list(truth, server).values():
        server.get(path, maxResults=value).refused(400)


@rule("LST-15", f"{REFERENCE}; List Shares")
@pytest.mark.parametrize("token", ["garbage", "AAAA", "e30=", "%00", "a.b.c"])
def test_a_page_token_that_the_server_did_not_give_is_refused(server, truth, token):
    """A `pageToken` that the server did not issue is 400."""
    for path in each_list(truth, server).values():
        server.get(path, maxResults=1, pageToken=token).refused(400)


@rule("LST-16", f"{REFERENCE}; List Schemas in a Share")
def test_a_page_token_of_another_list_is_refused(server, truth):
    """A `pageToken` is good for the list that it came from, and 400 for another."""
    paths = each_list(truth, server)
    tokens = {kind: server.get(path, maxResults=1).ok().json.get("nextPageToken") for kind, path in paths.items()}
    tried = 0
    for kind, token in tokens.items():
        for path in (path for name, path in paths.items() if token and name != kind):
            server.get(path, maxResults=1, pageToken=token).refused(400)
            tried += 1
    if not tried:
        pytest.skip("no list has a second page")


@rule("LST-17", f"{PROTOCOL} List Tables in a Schema")
def test_names_in_urls_are_case_insensitive(server):
    """Shares, schemas and tables are found by their names in any case."""
    share, schema, table = server.renamed("alpha", "main", "plain")
    for change in (str.upper, str.title):
        path = f"/shares/{change(share)}"
        assert server.get(path).ok().json["share"]["name"] == share
        assert schema in [item["name"] for item in items(server, f"{path}/schemas")]
        tables = items(server, f"{path}/schemas/{change(schema)}/tables")
        assert table in [item["name"] for item in tables]
        assert server.get(f"{path}/schemas/{change(schema)}/tables/{change(table)}/version").ok().version == 2


@rule("LST-18", f"{PROTOCOL} Names")
def test_names_are_legal_and_differ_by_more_than_case(server, truth):
    """Names have no space, slash or control character, schemas and tables no period, and case does not tell them
    apart."""
    for kind, path in each_list(truth, server).items():
        found = items(server, path)
        names = [item["name"] for item in found]
        assert not any(FORBIDDEN & set(name) for name in names)
        assert kind == "shares" or not any("." in name for name in names)
        assert len({(item.get("schema", "").lower(), item["name"].lower()) for item in found}) == len(names)


@rule("LST-19", f"{PROTOCOL} List Tables in a Schema", needs="unicode-names")
def test_a_name_outside_ascii_is_listed_as_it_is_and_found_percent_encoded(server, truth):
    """A name outside ASCII is listed as it is, and found under its percent-encoded UTF-8."""
    table = truth.table("alpha.main.größe")
    names = [item["name"] for item in items(server, f"{server.path('alpha', 'main')}/tables")]
    assert server.renamed(*table.names)[2] in names
    assert server.version(table).ok().version == 0


@rule("LST-20", f"{PROTOCOL} List Tables in a Schema; Databricks as a recipient", needs="table-ids")
def test_every_table_has_a_uuid_of_its_own_that_stays(server):
    """Each table has an `id` that is a UUID, its own within the share, and the same in each answer."""
    path = f"{server.path('alpha', 'main')}/tables"
    first, second = items(server, path), items(server, path)
    identifiers = [str(uuid.UUID(item["id"])) for item in first]
    assert len(set(identifiers)) == len(identifiers)
    assert [item["id"] for item in second] == [item["id"] for item in first]


@rule("LST-21", f"{PROTOCOL} List Tables in a Schema", needs="table-ids")
def test_the_share_id_of_a_table_is_the_id_of_its_share(server):
    """`shareId` of a table is the `id` of its share."""
    share = server.get(server.path("alpha")).ok().json["share"]
    uuid.UUID(share["id"])
    found = {item["shareId"] for item in items(server, f"{server.path('alpha', 'main')}/tables")}
    assert found == {share["id"]}


@rule("LST-22", f"{PROTOCOL} Access Modes")
def test_access_modes_are_url_or_dir_and_dir_has_a_location(server):
    """`accessModes` of a table, if given, are `url` and `dir`; with `dir` there is a `location`."""
    for item in items(server, f"{server.path('alpha', 'main')}/tables"):
        modes = item.get("accessModes", ["url"])
        assert modes and set(modes) <= {"url", "dir"} and len(set(modes)) == len(modes)
        assert "dir" not in modes or item.get("location")


@rule("LST-23", REFERENCE, needs="reference-errors")
def test_a_page_of_a_list_has_at_most_five_hundred_items(server, truth):
    """`maxResults` of 500 is the most, and more is 400: "Acceptable values of 'maxResults' are 0 to 500, inclusive"."""
    for path in each_list(truth, server).values():
        server.get(path, maxResults=500).ok()
        message = server.get(path, maxResults=501).refused(400).json["message"]
        assert "Acceptable values of 'maxResults' are 0 to 500, inclusive" in message


@rule("LST-24", REFERENCE, needs="reference-errors")
def test_the_refusal_of_a_list_has_the_words_of_the_reference_server(server, truth):
    """`maxResults` that is no number is `INVALID_PARAMETER_VALUE`, and a token of nobody "invalid 'nextPageToken'"."""
    for path in each_list(truth, server).values():
        assert server.get(path, maxResults="many").refused(400).json["errorCode"] == "INVALID_PARAMETER_VALUE"
        token = server.get(path, maxResults=1, pageToken="garbage").refused(400).json
        assert token["errorCode"] == "INVALID_PARAMETER_VALUE" and "invalid 'nextPageToken'" in token["message"]
