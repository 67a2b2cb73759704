"""Mutations of change data feeds, capabilities, ids, asynchrony, directories, advanced tables and URLs."""

import hashlib
import uuid

from .registry import answering, mutation, on_files

# Change data feed.

@answering("a-change-is-lost", "changes", "official_client", endpoint="changes")
def _(response, request):
    """The last change is lost."""
    if response.is_ndjson() and len(response.lines) > 2:
        response.lines = response.lines[:-1]


@on_files("changes-have-no-timestamp", "changes", endpoint="changes")
def _(content):
    """Lines of a feed lack `timestamp`."""
    del content["timestamp"]


@answering("the-feeds-version-is-the-newest", "changes", endpoint="changes")
def _(response, request):
    """`Delta-Table-Version` of a feed is the newest version."""
    if response.is_ndjson():
        response.headers["Delta-Table-Version"] = "6"


@mutation("flags-are-case-sensitive", "changes")
def _(request, send, loaded):
    """`includeHistoricalMetadata=True` is not understood."""
    if request.parameters.get("includeHistoricalMetadata") == "True":
        request.without("includeHistoricalMetadata")
    return send(request)


@mutation("ends-of-a-feed-are-ignored", "changes")
def _(request, send, loaded):
    """`endingVersion` and `endingTimestamp` are ignored."""
    if request.endpoint == "changes":
        request.without("endingVersion", "endingTimestamp")
    return send(request)


# Capabilities.

@mutation("capabilities-are-ignored", "capabilities")
def _(request, send, loaded):
    """The capabilities header is ignored."""
    request.headers.pop("delta-sharing-capabilities", None)
    return send(request)


@answering("the-format-is-not-said", "capabilities", "official_client")
def _(response, request):
    """The answer does not say its format."""
    response.headers.pop("delta-sharing-capabilities", None)


@mutation("capabilities-are-case-sensitive", "capabilities")
def _(request, send, loaded):
    """Capabilities in capitals are not understood."""
    text = request.headers.get("delta-sharing-capabilities", "")
    if text != text.lower():
        request.headers.pop("delta-sharing-capabilities")
    return send(request)


@answering("a-promised-end-is-missing", "end_of_stream")
def _(response, request):
    """The end that the header promises is missing."""
    if response.is_ndjson() and "endStreamAction" in response.lines[-1]:
        response.lines = response.lines[:-1]


@answering("the-first-expiry-is-wrong", "end_of_stream", "paging")
def _(response, request):
    """`minUrlExpirationTimestamp` is an hour too late."""
    if response.is_ndjson() and "minUrlExpirationTimestamp" in response.lines[-1].get("endStreamAction", {}):
        lines = response.lines
        lines[-1]["endStreamAction"]["minUrlExpirationTimestamp"] += 3_600_000
        response.lines = lines


@answering("the-scheme-of-ids-is-not-echoed", "file_ids")
def _(response, request):
    """`fileidhash` is not echoed."""
    response.headers.pop("fileidhash", None)


@mutation("unknown-schemes-of-ids-are-ignored", "file_ids")
def _(request, send, loaded):
    """An unknown `fileidhash` is ignored."""
    if request.headers.get("fileidhash", "delta").lower() not in ("parquet", "delta"):
        del request.headers["fileidhash"]
    return send(request)


@mutation("the-scheme-of-ids-is-ignored", "file_ids")
def _(request, send, loaded):
    """`fileidhash` is echoed, and the ids are those of the format."""
    scheme = request.headers.get("fileidhash", "").lower()
    if scheme not in ("parquet", "delta"):
        return send(request)
    del request.headers["fileidhash"]
    response = send(request)
    response.headers["fileidhash"] = scheme
    return response


@on_files("ids-are-of-another-hash", "file_ids")
def _(content):
    """An id is another hash than that of the scheme."""
    content["id"] = hashlib.sha256(content["id"].encode()).hexdigest()[:len(content["id"])]


# Asynchronous queries and directories.

@mutation("retries-are-new-queries", "async")
def _(request, send, loaded):
    """A retried submission is a new query."""
    if "idempotencyKey" in request.json:
        request.json = {**request.json, "idempotencyKey": uuid.uuid4().hex}
    return send(request)


@answering("asynchrony-is-not-echoed", "async", endpoint="query")
def _(response, request):
    """`asyncquery=true` is not echoed."""
    response.headers.pop("delta-sharing-capabilities", None)


@answering("credentials-are-of-two-clouds", "directory", endpoint="temporary-table-credentials")
def _(response, request):
    """Credentials of two clouds are given."""
    if response.status == 200:
        more = {"gcpOauthToken": {"oauthToken": "x"}}
        response.json = {"credentials": {**response.json["credentials"], **more}}


@mutation("any-location-is-given", "directory")
def _(request, send, loaded):
    """The `location` that is asked for is not checked."""
    if request.endpoint == "temporary-table-credentials":
        request.without("location")
    return send(request)


# Advanced tables, files.

@answering("deletion-vectors-are-lost", "advanced", "official_client", "golden", endpoint="query")
def _(response, request):
    """`deletionVector` of an `add` action is lost: deleted rows are back."""
    def change(kind, content):
        for action in content.get("deltaSingleAction", {}).values():
            action.pop("deletionVector", None)
    if response.is_ndjson():
        response.each_file(change)


@answering("protocols-are-made-up", "advanced")
def _(response, request):
    """Every table says reader version 1."""
    if response.is_ndjson() and "deltaProtocol" in response.lines[0].get("protocol", {}):
        lines = response.lines
        lines[0]["protocol"]["deltaProtocol"] = {"minReaderVersion": 1, "minWriterVersion": 2}
        response.lines = lines


@mutation("protocols-are-told-to-everyone", "advanced")
def _(request, send, loaded):
    """A reader without features is told the table's own protocol."""
    text = request.headers.get("delta-sharing-capabilities", "")
    if text == "responseformat=delta" and "/writer_features/" in request.path:
        request.headers["delta-sharing-capabilities"] = "responseformat=delta;readerfeatures=timestampntz"
    return send(request)


@mutation("features-are-not-asked-for", "advanced")
def _(request, send, loaded):
    """Advanced tables are given to readers without their features."""
    text = request.headers.get("delta-sharing-capabilities", "")
    if "/advanced/" in request.path and "responseformat=delta" in text:
        request.headers["delta-sharing-capabilities"] = \
            "responseformat=delta;readerfeatures=deletionvectors,columnmapping,timestampntz"
    return send(request)


@on_files("urls-do-not-look-presigned", "files")
def _(content):
    """URLs have no key that clients know."""
    if "url" in content:
        content["url"] = content["url"].split("?")[0] + "?token=x"


@answering("urls-are-of-one-file", "files", "query", "duckdb", endpoint="query")
def _(response, request):
    """Every file has the URL of the first one."""
    first = []

    def change(kind, content):
        if "url" in content:
            first.append(content["url"])
            content["url"] = first[0]
    if response.is_ndjson():
        response.each_file(change)
