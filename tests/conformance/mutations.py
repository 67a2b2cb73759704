"""Tries the suite itself: breaks one rule at a time behind a proxy, and demands that a test of its group fails.

usage: mutations.py --fixtures-command COMMAND [--fixtures-directory DIRECTORY] [--without NAME,…] [--only NAME,…]

COMMAND loads fixtures into a server that conforms. Prints a table: mutation, rule that it breaks, tests that failed.
Ends with 1 if a mutation is not noticed, or if the server fails through a proxy that breaks nothing.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid

from fixtures.build import build
from harness.loading import Hook
from harness.proxy import Proxy

HERE = os.path.dirname(os.path.abspath(__file__))
MUTATIONS = {}


def mutation(name, *groups):
    """Registers a mutation of `test_<group>.py`. Its docstring says which rule it breaks.

    A mutation is `mutate(request, send, loaded)`: it gives the answer, which `send(request)` gets from the server.
    """
    def register(function):
        MUTATIONS[name] = (groups, function)
        return function
    return register


def answering(name, *groups, endpoint=None):
    """Registers a mutation that changes answers only: `change(response, request)`, of one endpoint or of all."""
    def register(change):
        def mutate(request, send, loaded):
            response = send(request)
            if endpoint is None or request.endpoint == endpoint:
                change(response, request)
            return response
        mutate.__doc__ = change.__doc__
        return mutation(name, *groups)(mutate)
    return register


# Lists.

@answering("a-share-is-not-listed", "listing", "authentication", endpoint="shares")
def _(response, request):
    """The last share is missing from the list."""
    if response.status == 200:
        response.json = {**response.json, "items": response.json.get("items", [])[:-1]}


@answering("a-next-page-is-lost", "listing")
def _(response, request):
    """The `nextPageToken` of a list is lost."""
    if response.status == 200 and "maxResults" in request.parameters:
        response.json = {name: value for name, value in response.json.items() if name != "nextPageToken"}


@answering("table-ids-change", "listing", endpoint="tables")
def _(response, request):
    """Tables get another `id` in each answer."""
    if response.status == 200:
        items = [{**item, "id": str(uuid.uuid4())} for item in response.json.get("items", [])]
        response.json = {**response.json, "items": items}


@mutation("list-tokens-are-not-checked", "listing")
def _(request, send, loaded):
    """A page token that the server did not give begins the list anew."""
    response = send(request)
    if response.status == 400 and "pageToken" in request.parameters:
        request.without("pageToken")
        response = send(request)
    return response


@mutation("names-are-case-sensitive", "listing")
def _(request, send, loaded):
    """Names in another case are not found."""
    response = send(request)
    if re.search(r"/(ALPHA|Alpha)(/|$)", request.path):
        response.status, response.json = 404, {"errorCode": "RESOURCE_DOES_NOT_EXIST", "message": "no"}
    return response


@mutation("max-results-is-not-checked", "listing")
def _(request, send, loaded):
    """`maxResults` that is no number is ignored."""
    if not request.parameters.get("maxResults", "1").isdigit() or len(request.parameters.get("maxResults", "")) > 10:
        request.without("maxResults")
    return send(request)


# Errors.

@answering("not-found-is-forbidden", "errors", "authentication")
def _(response, request):
    """What does not exist is 403 instead of 404."""
    if response.status == 404:
        response.status = 403


@answering("errors-have-no-code", "errors")
def _(response, request):
    """Errors come without `errorCode`."""
    if response.status >= 400 and response.body:
        response.json = {"message": "no"}


@mutation("an-empty-body-is-a-query", "errors")
def _(request, send, loaded):
    """A query without a body, or with a broken one, is answered."""
    if request.endpoint == "query" and not request.json and request.body != b"{}":
        request.body = b"{}"
    return send(request)


# Tokens.

@mutation("any-token-is-good", "authentication")
def _(request, send, loaded):
    """Every request is taken for the first recipient's."""
    request.headers["Authorization"] = f"Bearer {loaded.token}"
    return send(request)


@mutation("a-token-may-be-longer", "authentication")
def _(request, send, loaded):
    """Text behind the token is ignored."""
    if request.headers.get("Authorization", "").startswith(f"Bearer {loaded.token}"):
        request.headers["Authorization"] = f"Bearer {loaded.token}"
    return send(request)


@mutation("recipients-are-not-told-apart", "authentication")
def _(request, send, loaded):
    """The second recipient sees what the first sees."""
    if loaded.other_token and request.headers.get("Authorization") == f"Bearer {loaded.other_token}":
        request.headers["Authorization"] = f"Bearer {loaded.token}"
    return send(request)


@mutation("tokens-do-not-end", "authentication")
def _(request, send, loaded):
    """A token that has ended is still good."""
    if loaded.expired_token and request.headers.get("Authorization") == f"Bearer {loaded.expired_token}":
        request.headers["Authorization"] = f"Bearer {loaded.token}"
    return send(request)


# Version and metadata.

@answering("the-version-is-one-too-high", "version", endpoint="version")
def _(response, request):
    """The version is one too high."""
    if "Delta-Table-Version" in response.headers:
        response.headers["Delta-Table-Version"] = str(int(response.headers["Delta-Table-Version"]) + 1)


@mutation("starting-timestamps-are-ignored", "version")
def _(request, send, loaded):
    """`startingTimestamp` is ignored."""
    request.without("startingTimestamp")
    return send(request)


def change_schema(response, change):
    """Changes the schema of an answer in Parquet format."""
    lines = response.lines
    schema = json.loads(lines[1]["metaData"]["schemaString"])
    change(schema)
    lines[1]["metaData"]["schemaString"] = json.dumps(schema)
    response.lines = lines


@answering("a-column-is-lost", "metadata", endpoint="metadata")
def _(response, request):
    """The schema lacks its last column."""
    if response.is_ndjson() and "schemaString" in response.lines[1]["metaData"]:
        change_schema(response, lambda schema: schema["fields"].pop())


@answering("field-metadata-leaks", "metadata", endpoint="metadata")
def _(response, request):
    """Field metadata has the notes of writers."""
    if response.is_ndjson() and "schemaString" in response.lines[1]["metaData"]:
        change_schema(response, lambda schema: schema["fields"][-1]["metadata"].update({"delta.note": "x"}))


@answering("partition-columns-are-absent", "metadata", "golden")
def _(response, request):
    """`partitionColumns` is absent."""
    if response.is_ndjson():
        lines = response.lines
        lines[1]["metaData"].pop("partitionColumns", None)
        response.lines = lines


@answering("the-configuration-leaks", "metadata", "golden")
def _(response, request):
    """`configuration` has the table's properties."""
    if response.is_ndjson() and "schemaString" in response.lines[1]["metaData"]:
        lines = response.lines
        lines[1]["metaData"]["configuration"] = {"delta.appendOnly": "false"}
        response.lines = lines


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


def on_files(name, *groups, endpoint="query"):
    """Registers a mutation of each file line: `change(content)`."""
    def register(change):
        def each(response, request):
            if response.is_ndjson():
                response.each_file(lambda kind, content: change(content))
        each.__doc__ = change.__doc__
        return answering(name, *groups, endpoint=endpoint)(each)
    return register


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


# The run.

def run(loaded, directory, without, groups, mutate):
    """Runs groups of tests through a proxy, and gives the names of tests that failed, and the exit code."""
    proxy = Proxy(loaded.endpoint, lambda request, send: mutate(request, send, loaded))
    profile = {"endpoint": proxy.endpoint, "token": loaded.token, "otherToken": loaded.other_token,
               "expiredToken": loaded.expired_token, "notLoaded": loaded.not_loaded, "names": loaded.names,
               "without": sorted(loaded.without | without)}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(profile, file)
        file.flush()
        tests = [os.path.join(HERE, f"test_{group}.py") for group in groups]
        command = [sys.executable, "-m", "pytest", *tests, "-q", "--tb=no", "-p", "no:cacheprovider",
                   f"--profile={file.name}", f"--fixtures-directory={directory}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=HERE)
    proxy.close()
    if done.returncode not in (0, 1):
        raise SystemExit(f"pytest ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    failed = re.findall(r"^(?:FAILED|ERROR) \S*?::(\w+)", done.stdout, re.MULTILINE)
    return sorted(set(failed)), done


def main():
    """Breaks one rule after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fixtures-command", required=True)
    parser.add_argument("--fixtures-directory")
    parser.add_argument("--without", default="")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = options.fixtures_directory or os.path.join(temporary, "fixtures")
        if not os.path.exists(os.path.join(directory, "manifest.json")):
            build(directory)
        hook = Hook(options.fixtures_command, directory)
        try:
            return judge(options, hook.loaded, directory)
        finally:
            hook.close()


def judge(options, loaded, directory):
    """Runs every mutation, prints the table, and gives the exit code."""
    without = {name for name in options.without.split(",") if name}
    only = {name for name in options.only.split(",") if name}
    groups = sorted({group for groups, _ in MUTATIONS.values() for group in groups})
    if not only:
        failed, done = run(loaded, directory, without, groups, lambda request, send, loaded: send(request))
        if done.returncode != 0:
            print(done.stdout, done.stderr, sep="\n")
            print("the server does not pass through a proxy that breaks nothing")
            return 1
    unnoticed = []
    print("| mutation | what it breaks | group | failing tests |\n|---|---|---|---|")
    for name, (groups, mutate) in MUTATIONS.items():
        if only and name not in only:
            continue
        for group in groups:
            failed, _ = run(loaded, directory, without, [group], mutate)
            names = "<br>".join(f"`{test}`" for test in failed) or "**none**"
            print(f"| {name} | {mutate.__doc__} | {group} | {names} |", flush=True)
            unnoticed += [] if failed else [(name, group)]
    print(f"\n{len(MUTATIONS)} mutations, not noticed: {unnoticed or 'none'}")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    raise SystemExit(main())
