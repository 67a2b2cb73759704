"""Answers in the form in which every conforming server's are the same: what may differ is taken out."""

import json

#: What a server may leave out, or has in its own way.
OPTIONAL = {"expirationTimestamp", "size", "numFiles", "version", "location", "auxiliaryLocations", "accessModes",
            "shareId", "displayName", "comment", "properties", "name", "description", "deletionVectorFileId", "tags",
            "minWriterVersion", "writerFeatures", "createdTime", "options", "modificationTime", "deletionTimestamp",
            "extendedFileMetadata", "baseRowId", "defaultRowCommitVersion", "clusteringProvider", "stats",
            "minUrlExpirationTimestamp"}
TEXTS_OF_JSON = {"schemaString"}
VOLATILE = {"url": "<url>", "path": "<url>", "pathOrInlineDv": "<url>", "id": "<id>"}
KEPT = {"share", "schema", "file", "add", "cdf", "remove"}


def canonical(value, inside=None):
    """A JSON value with nothing in it that may differ."""
    if isinstance(value, list):
        found = [canonical(inner, inside) for inner in value]
        return [inner for inner in found if inner != {}]
    if not isinstance(value, dict):
        return value
    found = {}
    for name, inner in value.items():
        if name == "configuration" and not inner:
            continue
        if name in TEXTS_OF_JSON:
            found[name] = json.loads(inner)
        elif name == "partitionValues":
            found[name] = {column: text or None for column, text in inner.items()}
        elif name in VOLATILE:
            found[name] = VOLATILE[name] if inner else inner
        elif name == "version" and inside in ("add", "cdf", "remove"):
            found[name] = inner
        elif name == "timestamp":
            continue
        elif name not in OPTIONAL and inner is not None:
            found[name] = canonical(inner, name)
    return found


def whole(answer):
    """An answer: status, headers that matter, and its lines; the first two in place, the others in an order of their
    own."""
    content = answer.headers.get("Content-Type", "").lower().replace(" ", "")
    found = {"status": answer.status}
    # Of an answer without a body, what stands before the server may say anything.
    if answer.status == 200 and answer.lines:
        found["contentType"] = content
    if "Delta-Table-Version" in answer.headers:
        found["deltaTableVersion"] = answer.version
    if answer.status != 200:
        found["error"] = sorted(name for name in answer.json if name in ("errorCode", "message"))
        return found
    lines = [canonical(line) for line in answer.lines]
    found["lines"] = lines[:2] + sorted(lines[2:], key=lambda line: json.dumps(line, sort_keys=True))
    return found
