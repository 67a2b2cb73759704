"""Mutations of queries: files, hints, old versions, pages and refreshing."""

import json
import time
import uuid

from .registry import answering, mutation, on_files

# Queries.

@answering("the-last-file-is-lost", "query", "official_client", "duckdb", endpoint="query")
def _(response, request):
    """The last file line of a query is lost."""
    if response.is_ndjson() and len(response.lines) > 2:
        response.lines = response.lines[:-1]


@answering("a-file-comes-twice", "query", endpoint="query")
def _(response, request):
    """The last file line comes twice."""
    if response.is_ndjson() and len(response.lines) > 2:
        response.lines = response.lines + response.lines[-1:]


@answering("the-version-header-is-absent", "query", "official_client", endpoint="query")
def _(response, request):
    """`Delta-Table-Version` is absent."""
    response.headers.pop("Delta-Table-Version", None)


@answering("the-version-header-is-wrong", "query", "time_travel", endpoint="query")
def _(response, request):
    """`Delta-Table-Version` of a query is one too high."""
    if "Delta-Table-Version" in response.headers:
        response.headers["Delta-Table-Version"] = str(int(response.headers["Delta-Table-Version"]) + 1)


@on_files("files-have-no-id", "query", "file_ids")
def _(content):
    """File lines lack `id`."""
    del content["id"]


@on_files("file-ids-change", "query", "refresh")
def _(content):
    """A file gets another `id` in each answer."""
    content["id"] = uuid.uuid4().hex


@on_files("partition-values-are-absent", "query", "golden")
def _(content):
    """File lines of tables without partitions lack `partitionValues`."""
    if not content.get("partitionValues"):
        content.pop("partitionValues", None)


@on_files("partition-values-are-encoded", "query")
def _(content):
    """Partition values are percent-encoded."""
    from urllib.parse import quote
    values = content.get("partitionValues") or {}
    values.update({name: quote(text) for name, text in values.items() if text})


@on_files("sizes-are-wrong", "query", "files")
def _(content):
    """`size` is a byte too small."""
    if "size" in content:
        content["size"] -= 1


@on_files("statistics-are-wrong", "query")
def _(content):
    """Statistics count a row too many."""
    if content.get("stats"):
        stats = json.loads(content["stats"])
        content["stats"] = json.dumps({**stats, "numRecords": stats["numRecords"] + 1})


@on_files("urls-have-ended", "query", "files")
def _(content):
    """`expirationTimestamp` is in the past."""
    content["expirationTimestamp"] = int(time.time() * 1000) - 1_000


@on_files("expirations-are-seconds", "query")
def _(content):
    """`expirationTimestamp` is in seconds."""
    content["expirationTimestamp"] = content.get("expirationTimestamp", 0) // 1_000


@answering("an-end-comes-unasked", "query", "end_of_stream", "official_client", endpoint="query")
def _(response, request):
    """An `endStreamAction` comes without being asked for."""
    if response.is_ndjson() and "endStreamAction" not in response.lines[-1]:
        response.lines = response.lines + [{"endStreamAction": {}}]


@answering("line-breaks-are-raw", "query", "official_client", endpoint="query")
def _(response, request):
    """U+2028 stands raw in a line."""
    response.body = response.body.replace(b"\\u2028", "\u2028".encode())


@answering("queries-are-json", "query", endpoint="query")
def _(response, request):
    """The `Content-Type` of a query is `application/json`."""
    if response.is_ndjson():
        response.headers["Content-Type"] = "application/json"


# Hints.

@answering("hints-lose-a-file", "hints", endpoint="query")
def _(response, request):
    """With hints, the last file that may match is left out, as by wrong statistics."""
    if response.is_ndjson() and {"jsonPredicateHints", "predicateHints"} & set(request.json):
        if "file" in response.lines[-1]:
            response.lines = response.lines[:-1]


@mutation("bad-hints-are-refused", "hints")
def _(request, send, loaded):
    """Hints that are not understood are 400."""
    response = send(request)
    hint = request.json.get("jsonPredicateHints", request.json.get("predicateHints", ["{}"])[0])
    if request.endpoint == "query" and ("bad" in hint or "nothing" in hint):
        response.status, response.json = 400, {"errorCode": "INVALID_PARAMETER_VALUE", "message": "no"}
        response.headers["Content-Type"] = "application/json"
    return response


@mutation("bad-hints-leave-nothing", "hints")
def _(request, send, loaded):
    """Hints that are not understood leave no file."""
    response = send(request)
    hint = request.json.get("jsonPredicateHints", "{}")
    if response.is_ndjson() and ("startsWith" in hint or '"like"' in hint):
        response.each_file(lambda kind, content: False)
    return response


def equality(request):
    """The column and the literal of a hint that is one equality, or two empty objects."""
    try:
        hint = json.loads(request.json["jsonPredicateHints"])
        left, right = hint["children"] if hint["op"] == "equal" else ({}, {})
        return (left, right) if (left["op"], right["op"]) == ("column", "literal") else ({}, {})
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}, {}


def excluding(name, kind):
    """Registers a mutation that leaves out files by their bounds: `read` makes a number or a text of a bound or a
    literal, wrongly."""
    def register(read):
        def may_hold(content, column, value):
            stats = json.loads(content.get("stats") or "{}")
            low, high = (stats.get(bound, {}).get(column) for bound in ("minValues", "maxValues"))
            return low is None or high is None or read(low) <= read(value) <= read(high)

        def change(response, request):
            column, literal = equality(request)
            if response.is_ndjson() and kind in (column.get("valueType"), literal.get("valueType")):
                response.each_file(lambda _, content: may_hold(content, column["name"], literal["value"]))
        change.__doc__ = read.__doc__
        return answering(name, "hints", endpoint="query")(change)
    return register


@excluding("long-numbers-are-cut", "int")
def _(value):
    """Bounds and literals are cut to 32 bits where a hint says `int`."""
    return (int(value) + 2**31) % 2**32 - 2**31


@excluding("floats-are-doubles", "float")
def _(value):
    """Bounds and literals are numbers of 64 bits where a hint says `float`."""
    return float(value)


@excluding("times-without-a-zone-are-in-utc", "timestamp")
def _(value):
    """A timestamp literal without a zone is taken to be in UTC."""
    return value.replace(" ", "T")[:19]


@answering("a-limit-leaves-nothing", "query", "official_client", endpoint="query")
def _(response, request):
    """`limitHint` leaves the first file only, however many rows were asked for."""
    if response.is_ndjson() and request.json.get("limitHint", 0) > 1:
        response.lines = response.lines[:3]


# Time travel.

@mutation("versions-are-ignored", "time_travel", "official_client")
def _(request, send, loaded):
    """`version` is ignored."""
    request.without("version")
    return send(request)


@mutation("timestamps-are-ignored", "time_travel")
def _(request, send, loaded):
    """`timestamp` is ignored."""
    request.without("timestamp")
    return send(request)


@mutation("history-is-open", "time_travel")
def _(request, send, loaded):
    """A version of a table without shared history is answered with the newest one."""
    if "/no_history/" in request.path:
        request.without("version", "timestamp", "startingVersion")
    return send(request)


@mutation("two-versions-are-one", "time_travel")
def _(request, send, loaded):
    """Of two ways to name a version, the first is taken."""
    if "version" in request.json and {"timestamp", "startingVersion"} & set(request.json):
        request.without("timestamp", "startingVersion")
    elif "timestamp" in request.json:
        request.without("startingVersion")
    return send(request)


@answering("removes-are-lost", "time_travel", endpoint="query")
def _(response, request):
    """Changes since a version lack `remove` lines."""
    if response.is_ndjson():
        response.each_file(lambda kind, content: kind != "remove")


# Pages and refreshing.

#: How many lines the pages before a page token had.
PASSED = {}


def is_page(response, request):
    """Whether an answer is a page."""
    return response.is_ndjson() and "maxFiles" in {**request.json, **request.parameters}


@answering("pages-end-early", "paging")
def _(response, request):
    """The `nextPageToken` of a query's page is lost."""
    if is_page(response, request) and "endStreamAction" in response.lines[-1]:
        response.lines = response.lines[:-1] + [{"endStreamAction": {}}]


@answering("a-page-loses-a-file", "paging")
def _(response, request):
    """The last file of each page is lost."""
    if is_page(response, request) and "file" in response.lines[-2]:
        response.lines = response.lines[:-2] + response.lines[-1:]


@mutation("page-tokens-are-not-checked", "paging")
def _(request, send, loaded):
    """A page token that was changed, or is another table's, begins anew."""
    response = send(request)
    if response.status == 400 and "pageToken" in request.json:
        request.without("pageToken")
        response = send(request)
    return response


@mutation("pages-are-of-the-newest-version", "paging")
def _(request, send, loaded):
    """The next page is of the newest version, and not of the one that the token pins."""
    asked = {**request.parameters, **request.json}
    token, page = asked.get("pageToken"), send(request)
    if not is_page(page, request):
        return page
    passed = PASSED.get(token, 0)
    lines, end = page.lines[2:-1], page.lines[-1]
    following = end["endStreamAction"].get("nextPageToken")
    if following:
        PASSED[following] = passed + len(lines)
    if token is None:
        return page
    request.without("pageToken", "maxFiles")
    whole = send(request)
    shown = whole.lines[2 + passed:2 + passed + len(lines)] if following else whole.lines[2 + passed:]
    if whole.headers["Delta-Table-Version"] == page.headers["Delta-Table-Version"] and len(shown) == len(lines):
        return page
    whole.lines = [*whole.lines[:2], *shown, end]
    return whole


@answering("refresh-tokens-are-not-given", "refresh")
def _(response, request):
    """No `refreshToken` is given."""
    if response.is_ndjson() and request.json.get("includeRefreshToken"):
        response.lines = response.lines[:-1] + [{"endStreamAction": {}}]


@mutation("refresh-tokens-are-not-checked", "refresh")
def _(request, send, loaded):
    """A refresh token is ignored, whatever it is."""
    request.without("refreshToken")
    return send(request)


@mutation("refreshing-is-of-the-newest-version", "refresh")
def _(request, send, loaded):
    """A good refresh token gives the newest version, and not the one that it pins."""
    response = send(request)
    if response.status == 200 and "refreshToken" in request.json:
        request.without("refreshToken")
        response = send(request)
    return response
