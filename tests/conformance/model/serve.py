"""Serves a folder of fixtures on the loopback address: `serve.py DIRECTORY [PORT]`.

Prints what the suite's loading hook wants: one JSON document with the endpoint and the tokens. Then serves until it is
ended. Files are served by the same process, under signed URLs that end.
"""

import hashlib
import hmac
import json
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import time
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

if __package__ in (None, ""):
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from model.answers import dumps
from model.requests import LIST_MAX, Capabilities, Refused, Tokens, checksum, invalid, missing, whole
from model.tables import Table

PREFIX = "/delta-sharing"
TOKENS = {"token": "first-token", "otherToken": "second-token", "expiredToken": "token-that-ended"}
SECRET = os.urandom(32)
ADD_FILES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "loaders", "add_files.py")
NDJSON, JSON = "application/x-ndjson; charset=utf-8", "application/json; charset=utf-8"


class Catalog:
    """Who may see what, from the fixtures' manifest and their folders."""

    def __init__(self, root, copies):
        self.root, self.copies = root, copies
        with open(os.path.join(root, "manifest.json"), encoding="utf-8") as file:
            manifest = json.load(file)
        self.granted = {TOKENS[name]: shares for name, shares in manifest["shares"].items()}
        self.history = {(table["share"], table["schema"], table["name"]): table["history"]
                        for table in manifest["tables"]}
        for table in manifest["tables"]:
            if table["grows"]:
                path = os.path.join(table["share"], table["schema"], table["name"])
                shutil.copytree(os.path.join(root, path), os.path.join(copies, path))

    def folder(self, *names):
        """The folder of a table; a table that grows is a copy."""
        copy = os.path.join(self.copies, *names)
        return copy if os.path.isdir(copy) else os.path.join(self.root, *names)

    def below(self, *names):
        """The names of what a share or a schema holds."""
        return sorted(os.listdir(os.path.join(self.root, *names)))

    def find(self, shares, *names):
        """Names as they are stored, from names in any case."""
        found, choices = [], shares
        for name in names:
            match = [choice for choice in choices if choice.casefold() == name.casefold()]
            if not match:
                raise missing("/".join(names))
            found.append(match[0])
            choices = self.below(*found) if len(found) < 3 else []
        return found


def identifier(*names):
    """The id of a share or table."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(names)))


def mark(path, expires):
    """The signature of a file's URL."""
    return hmac.new(SECRET, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    catalog, tokens, queries = None, Tokens(SECRET), {}

    def log_message(self, *_):
        """Says nothing."""

    def log_failure(self, error):
        """Notes what went wrong, for the one who runs the server."""
        print(f"{self.command} {self.path}: {error!r}", file=sys.stderr)

    def do_GET(self):
        """Any request."""
        path, _, query = self.path.partition("?")
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        self.parameters = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        try:
            if path.startswith("/files/"):
                return self.file(urllib.parse.unquote(path[len("/files"):]))
            self.route(path)
        except Refused as refused:
            self.answer(refused.status, dumps({"errorCode": refused.code, "message": refused.message}), JSON)
        except Exception as error:
            self.answer(500, dumps({"errorCode": "INTERNAL_ERROR", "message": type(error).__name__}), JSON)
            self.log_failure(error)

    do_POST = do_HEAD = do_GET

    def answer(self, status, body, kind=None, headers=()):
        """Writes an answer."""
        data = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        for name, value in [*headers, *([("Content-Type", kind)] if kind else []), ("Content-Length", len(data))]:
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def route(self, path):
        """Finds what a path asks for."""
        scheme, _, token = (self.headers.get("Authorization") or "").partition(" ")
        shares = self.catalog.granted.get(token) if scheme.lower() == "bearer" else None
        if shares is None:
            raise Refused(401, "UNAUTHENTICATED", "the bearer token is missing, unknown or expired")
        if not path.startswith(PREFIX + "/"):
            raise missing(path)
        parts = [urllib.parse.unquote(part) for part in path[len(PREFIX) + 1:].split("/")]
        routes = [
            ("GET", r"shares", lambda: self.list(shares, [], self.share)),
            ("GET", r"shares/[^/]+",
             lambda: self.answer(200, dumps({"share": self.share(*self.find(shares, 1))}), JSON)),
            ("GET", r"shares/[^/]+/schemas", lambda: self.list_below(shares, 1, self.schema)),
            ("GET", r"shares/[^/]+/schemas/[^/]+/tables", lambda: self.list_below(shares, 2, self.table)),
            ("GET", r"shares/[^/]+/all-tables", lambda: self.list_all(shares)),
            ("HEAD", r"shares/[^/]+/schemas/[^/]+/tables/[^/]+", lambda: self.version(self.open(shares))),
            ("GET", r"shares/[^/]+/schemas/[^/]+/tables/[^/]+/version", lambda: self.version(self.open(shares))),
            ("GET", r"shares/[^/]+/schemas/[^/]+/tables/[^/]+/metadata", lambda: self.metadata(self.open(shares))),
            ("POST", r"shares/[^/]+/schemas/[^/]+/tables/[^/]+/query", lambda: self.query(self.open(shares))),
            ("GET", r"shares/[^/]+/schemas/[^/]+/tables/[^/]+/changes", lambda: self.changes(self.open(shares))),
            ("POST", r"shares/[^/]+/schemas/[^/]+/tables/[^/]+/queries/[^/]+", lambda: self.poll(self.open(shares))),
            ("POST", r"shares/[^/]+/schemas/[^/]+/tables/[^/]+/temporary-table-credentials",
             lambda: self.credentials(self.open(shares))),
        ]
        self.parts = parts
        for method, pattern, handle in routes:
            if method == self.command and re.fullmatch(pattern, path[len(PREFIX) + 1:]):
                return handle()
        raise missing(path)

    # Listing.

    def find(self, shares, depth):
        """The stored names of the path's share, schema and table."""
        return self.catalog.find(shares, *self.parts[1::2][:depth])

    def share(self, share):
        """A share as a list has it."""
        return {"name": share, "id": identifier(share)}

    def schema(self, share, schema):
        """A schema as a list has it."""
        return {"name": schema, "share": share}

    def table(self, share, schema, table):
        """A table as a list has it."""
        return {"name": table, "schema": schema, "share": share, "shareId": identifier(share),
                "id": identifier(share, schema, table), "accessModes": ["url", "dir"],
                "location": f"file:///{share}/{schema}/{table}"}

    def list(self, names, above, describe):
        """One page of a list."""
        self.list_items([describe(*above, name) for name in names])

    def list_below(self, shares, depth, describe):
        """One page of what a share or a schema holds."""
        above = self.find(shares, depth)
        self.list(self.catalog.below(*above), above, describe)

    def list_all(self, shares):
        """One page of all tables of a share."""
        [share] = self.find(shares, 1)
        self.list_items([self.table(share, schema, table) for schema in self.catalog.below(share)
                         for table in self.catalog.below(share, schema)])

    def list_items(self, items):
        """One page of items."""
        size = whole(self.parameters.get("maxResults"), "maxResults")
        if size is not None and size > LIST_MAX:
            raise invalid(f"Acceptable values of 'maxResults' are 0 to {LIST_MAX}, inclusive")
        scope, token, first = checksum(["list", *self.parts]), self.parameters.get("pageToken"), 0
        if token:
            try:
                first = self.tokens.read("page", token, checksum=scope)["start"]
            except Refused:
                raise invalid("invalid 'nextPageToken'") from None
        last = first + (LIST_MAX if size is None else size)
        more = {"nextPageToken": self.tokens.issue("page", 3_600, checksum=scope, start=last)} \
            if last < len(items) else {}
        self.answer(200, dumps({"items": items[first:last], **more}), JSON)

    # One table.

    def open(self, shares):
        """The table of the path."""
        names = self.find(shares, 3)
        path = "/" + "/".join(names)
        host = self.headers["Host"]

        def sign(file, expires):
            full = f"{path}/{file}"
            query = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=3600&End={expires}"
            return f"http://{host}/files{urllib.parse.quote(full)}?{query}&X-Amz-Signature={mark(full, expires)}"
        return Table(".".join(names), identifier(*names), self.catalog.folder(*names),
                     self.catalog.history[tuple(names)], self.tokens, sign)

    def version(self, table):
        """The table's version, in a header."""
        version = table.version(self.parameters.get("startingTimestamp"))
        self.answer(200, "", headers=[("Delta-Table-Version", version)])

    def capabilities(self):
        """The capabilities of the client."""
        return Capabilities(self.headers.get("delta-sharing-capabilities"))

    def scheme(self):
        """The scheme of file ids that the client asks for."""
        scheme = self.headers.get("fileidhash")
        if scheme is not None and scheme.strip().lower() not in ("parquet", "delta"):
            raise invalid(f"Unsupported fileidhash: '{scheme}'. Supported: parquet, delta")
        return scheme and scheme.strip().lower()

    def lines(self, version, form, lines, capabilities, scheme=None):
        """Writes lines."""
        echo = f"responseformat={form}" + (";includeendstreamaction=true" if capabilities.end_of_stream else "")
        headers = [("Delta-Table-Version", version), ("delta-sharing-capabilities", echo)]
        headers += [("fileidhash", scheme)] if scheme else []
        self.answer(200, "".join(dumps(line) + "\n" for line in lines), NDJSON, headers)

    def metadata(self, table):
        """The table itself."""
        capabilities = self.capabilities()
        answer = table.metadata(capabilities, self.parameters.get("version"), self.parameters.get("timestamp"))
        self.lines(*answer, capabilities)

    def object(self, empty=False):
        """The body, which is a JSON object."""
        try:
            body = json.loads(self.body) if self.body or not empty else {}
        except ValueError:
            raise Refused(400, "MALFORMED_REQUEST", "the body is not JSON") from None
        if not isinstance(body, dict):
            raise Refused(400, "MALFORMED_REQUEST", "the body is not a JSON object")
        return body

    def query(self, table):
        """The table's files, at once or by a query that is polled."""
        capabilities, body, scheme = self.capabilities(), self.object(), self.scheme()
        if not capabilities.asynchronous:
            return self.lines(*table.query(capabilities, body, scheme), capabilities, scheme)
        if not body.get("idempotencyKey"):
            raise invalid("idempotency_key is required for async query.")
        key = checksum([table.id, self.headers["Authorization"], body["idempotencyKey"]])
        self.queries.setdefault(key, {"body": body, "polls": 0})
        self.status(key, [("delta-sharing-capabilities", "asyncquery=true")])

    def status(self, key, headers=()):
        """Says that a query goes on."""
        self.answer(200, dumps({"queryStatus": {"queryId": key, "status": "pending"}}) + "\n", NDJSON, headers)

    def poll(self, table):
        """The state of a query, and in the end its answer."""
        key, body, capabilities = self.parts[-1], self.object(empty=True), self.capabilities()
        query = self.queries.get(key)
        if query is None or key != checksum([table.id, self.headers["Authorization"], query["body"]["idempotencyKey"]]):
            raise missing(key)
        query["polls"] += 1
        if query["polls"] == 1:
            return self.status(key)
        asked = {**query["body"], **{name: body[name] for name in ("maxFiles", "pageToken") if name in body}}
        self.lines(*table.query(capabilities, asked, None), capabilities)

    def changes(self, table):
        """The table's change data feed."""
        capabilities, scheme = self.capabilities(), self.scheme()
        self.lines(*table.changes(capabilities, self.parameters, scheme), capabilities, scheme)

    def credentials(self, table):
        """Credentials for a table's folder, which open nothing."""
        location = "file:///" + table.name.replace(".", "/")
        asked = self.object(empty=True).get("location") or location
        if asked != location and not (asked.startswith(location + "/") and ".." not in asked):
            raise invalid("The requested location must be the same as or under this table's location.")
        table.require_history()
        keys = {"accessKeyId": "a", "secretAccessKey": "b", "sessionToken": "c"}
        found = {"location": asked, "awsTempCredentials": keys, "expirationTime": int(time.time() + 3_600) * 1000}
        self.answer(200, dumps({"credentials": found}), JSON)

    def file(self, path):
        """A file, or a range of it."""
        expires = self.parameters.get("End", "0")
        if not hmac.compare_digest(self.parameters.get("X-Amz-Signature", "").encode(), mark(path, expires).encode()) \
                or int(expires) < time.time():
            return self.answer(403, "")
        share, schema, table, rest = path.lstrip("/").split("/", 3)
        with open(os.path.join(self.catalog.folder(share, schema, table), rest), "rb") as file:
            data = file.read()
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if not found or found[0] == "bytes=-":
            return self.answer(200, data, "binary/octet-stream", [("Accept-Ranges", "bytes")])
        start = int(found[1]) if found[1] else max(0, len(data) - int(found[2]))
        stop = min(int(found[2]), len(data) - 1) if found[1] and found[2] else len(data) - 1
        if start > stop:
            return self.answer(416, "", headers=[("Content-Range", f"bytes */{len(data)}")])
        self.answer(206, data[start:stop + 1], "binary/octet-stream",
                    [("Accept-Ranges", "bytes"), ("Content-Range", f"bytes {start}-{stop}/{len(data)}")])


class Listener(ThreadingHTTPServer):
    """Takes connections."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        """Says nothing of a client that hung up; anything else is a fault of this program."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main(arguments):
    """Serves until it is ended."""
    if len(arguments) not in (1, 2):
        raise SystemExit(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="delta-sharing-model-") as copies:
        Handler.catalog = Catalog(arguments[0], copies)
        server = Listener(("127.0.0.1", int(arguments[1]) if len(arguments) == 2 else 0), Handler)
        endpoint = f"http://127.0.0.1:{server.server_address[1]}{PREFIX}"
        grow = shlex.join([sys.executable, ADD_FILES, copies])
        print(json.dumps({"endpoint": endpoint, **TOKENS, "grow": grow}), flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
