"""A proxy in front of a server, which breaks one rule: what the suite's own honesty is tried with."""

import json
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

#: Headers that belong to one connection.
HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "content-length",
       "content-encoding", "accept-encoding", "date", "server"}


class Request:
    """A request on its way to the server; a mutation may change it."""

    def __init__(self, method, path, headers, body):
        self.method, self.headers, self.body = method, headers, body
        self.path, _, query = path.partition("?")
        self.parameters = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))

    @property
    def endpoint(self):
        """The last part of the path: `query`, `tables`, …; for `HEAD` of a table, its name."""
        return self.path.rstrip("/").rsplit("/", 1)[-1]

    @property
    def json(self):
        """The body as an object, which is empty if the body is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @json.setter
    def json(self, value):
        self.body = json.dumps(value).encode()

    def without(self, *names):
        """Takes parameters out of the body and the URL."""
        if self.json:
            self.json = {name: value for name, value in self.json.items() if name not in names}
        self.parameters = {name: value for name, value in self.parameters.items() if name not in names}


class Response:
    """An answer on its way back; a mutation may change it."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        """The body as JSON."""
        return json.loads(self.body)

    @json.setter
    def json(self, value):
        self.body = json.dumps(value).encode()

    @property
    def lines(self):
        """The lines, parsed."""
        return [json.loads(line) for line in self.body.decode().split("\n") if line]

    @lines.setter
    def lines(self, lines):
        self.body = "".join(json.dumps(line) + "\n" for line in lines).encode()

    def is_ndjson(self):
        """Whether this is a success with lines."""
        return self.status == 200 and "ndjson" in self.headers.get("Content-Type", "")

    def each_file(self, change):
        """Changes each line about a file: `change(kind, content)` changes the content, or says `False` to drop it."""
        kept = []
        for line in self.lines:
            [(kind, content)] = line.items()
            if kind not in ("file", "add", "cdf", "remove") or change(kind, content) is not False:
                kept.append(line)
        self.lines = kept


class Proxy:
    """A running proxy. `mutate(request, send)` gives the answer; `send` asks the server."""

    def __init__(self, endpoint, mutate):
        upstream = urllib.parse.urlsplit(endpoint)
        origin = f"{upstream.scheme}://{upstream.netloc}"
        local = threading.local()

        def send(request):
            if not hasattr(local, "session"):
                local.session = requests.Session()
                local.session.trust_env = False
            query = urllib.parse.urlencode(request.parameters)
            answer = local.session.request(request.method, origin + request.path + ("?" + query if query else ""),
                                           headers=request.headers, data=request.body, timeout=60,
                                           allow_redirects=False)
            headers = requests.structures.CaseInsensitiveDict(
                (name, value) for name, value in answer.headers.items() if name.lower() not in HOP)
            return Response(answer.status_code, headers, answer.content)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                """Says nothing."""

            def handle_request(self):
                """Any request."""
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = requests.structures.CaseInsensitiveDict(
                    (name, value) for name, value in self.headers.items() if name.lower() not in HOP)
                answer = mutate(Request(self.command, self.path, headers, body), send)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)

            do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = handle_request

        class Listener(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                """Says nothing of a client that hung up."""
                if not isinstance(sys.exc_info()[1], ConnectionError):
                    super().handle_error(request, client_address)

        self.server = Listener(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}{upstream.path}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        """Ends the proxy."""
        self.server.shutdown()
        self.server.server_close()
