"""The lines of answers, in both formats: what a Delta action becomes when it is shared."""

import hashlib
import json
import urllib.parse


def dumps(line):
    """One line. Everything outside ASCII is escaped: clients that read Unicode lines break them at U+2028 too."""
    return json.dumps(line, separators=(",", ":"))


def file_id(path, scheme):
    """The id of a file, by the scheme that was asked for."""
    return (hashlib.sha256 if scheme == "delta" else hashlib.md5)(path.encode()).hexdigest()


def leads_out(path):
    """Whether a path of the log, decoded, leads out of the table."""
    return path.startswith("/") or "://" in path or ".." in path.split("/")


def without_notes(kind):
    """A schema without field metadata other than comments."""
    if isinstance(kind, list):
        return [without_notes(inner) for inner in kind]
    if not isinstance(kind, dict):
        return kind
    found = {name: without_notes(inner) for name, inner in kind.items()}
    if "metadata" in kind and "nullable" in kind:
        found["metadata"] = {name: text for name, text in kind["metadata"].items() if name == "comment"}
    return found


class Answers:
    """Makes lines in one format. `sign(path)` gives a URL and its end of life in milliseconds."""

    def __init__(self, form, sign, scheme=None, features=()):
        self.form, self.sign, self.scheme, self.features = form, sign, scheme or form, features
        self.first_expiry = None

    def protocol(self, protocol, version=None):
        """The first line."""
        if self.form == "parquet":
            return {"protocol": {"minReaderVersion": 1}}
        more = {} if version is None else {"version": version}
        if not self.features:
            writer = protocol["minWriterVersion"]
            protocol = {"minReaderVersion": 1, "minWriterVersion": 2 if writer >= 7 else writer}
        return {"protocol": {"deltaProtocol": protocol, **more}}

    def metadata(self, metadata, history, version=None, files=None):
        """The second line, or a later change of metadata."""
        more = {} if version is None else {"version": version}
        if files is not None:
            more |= {"size": sum(add["size"] for add in files), "numFiles": len(files)}
        if self.form == "delta":
            return {"metaData": {"deltaMetadata": metadata, **more}}
        enabled = metadata.get("configuration", {}).get("delta.enableChangeDataFeed") == "true"
        found = {"id": metadata["id"], "format": {"provider": "parquet"},
                 "schemaString": json.dumps(without_notes(json.loads(metadata["schemaString"]))),
                 "partitionColumns": metadata["partitionColumns"], **more}
        for name in ("name", "description"):
            if metadata.get(name):
                found[name] = metadata[name]
        if history and enabled:
            found["configuration"] = {"enableChangeDataFeed": "true"}
        return {"metaData": found}

    def file(self, kind, action, version=None, timestamp=None):
        """A line for a file: `file` for a snapshot, else the kind of action of a change: `add`, `remove`, `cdc`."""
        path = urllib.parse.unquote(action["path"])
        url, expiry = self.sign(path)
        self.first_expiry = min(expiry, self.first_expiry or expiry)
        at = {} if version is None else {"version": version, "timestamp": timestamp}
        common = {"id": file_id(action["path"], self.scheme), **at, "expirationTimestamp": expiry}
        if self.form == "parquet":
            name = {"cdc": "cdf"}.get(kind, kind)
            stats = {"stats": action["stats"]} if action.get("stats") and kind != "remove" else {}
            return {name: {"url": url, "partitionValues": action.get("partitionValues") or {},
                           "size": action.get("size", 0), **stats, **common}}
        shared = {**action, "path": url}
        vector = action.get("deletionVector")
        if vector and vector["storageType"] == "u":
            vector_path = vector_file(vector["pathOrInlineDv"])
            shared["deletionVector"] = {**vector, "storageType": "p", "pathOrInlineDv": self.sign(vector_path)[0]}
            common["deletionVectorFileId"] = file_id(vector_path, self.scheme)
        return {"file": {**common, "deltaSingleAction": {"add" if kind == "file" else kind: shared}}}

    def end(self, **more):
        """The last line."""
        first = {} if self.first_expiry is None else {"minUrlExpirationTimestamp": self.first_expiry}
        return {"endStreamAction": {**first, **more}}


def vector_file(text):
    """The path of a deletion vector's file, from its Z85 text: a UUID behind an optional folder."""
    import uuid

    from fixtures.deletion_vectors import Z85
    folder, text = text[:-20], text[-20:]
    data = b""
    for start in range(0, 20, 5):
        word = 0
        for digit in text[start:start + 5]:
            word = word * 85 + Z85.index(digit)
        data += word.to_bytes(4, "big")
    return (folder + "/" if folder else "") + f"deletion_vector_{uuid.UUID(bytes=data)}.bin"
