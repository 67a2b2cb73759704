"""Mutations of lists, errors, tokens, versions and metadata."""

import json
import re
import uuid

from .registry import answering, mutation

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


@mutation("a-page-of-a-list-may-be-any-size", "listing")
def _(request, send, loaded):
    """`maxResults` above 500 is 500."""
    if request.parameters.get("maxResults") == "501":
        request.parameters["maxResults"] = "500"
    return send(request)


# Errors.

@answering("refusals-say-nothing", "listing", "errors", "version", "time_travel", "changes", "paging", "refresh",
           "advanced")
def _(response, request):
    """The messages of errors have other words than the reference server's."""
    if response.status >= 400 and response.headers.get("Content-Type", "").startswith("application/json"):
        response.json = {**response.json, "message": "no"}


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
