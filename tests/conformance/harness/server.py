"""The server under test: requests, and answers taken apart."""

import json
import time
import urllib.parse

import requests

TIMEOUT_SECONDS = 60

#: A server may hold a client back by 429: it is asked again, as every client does.
ATTEMPTS_MAX, RETRY_SECONDS_MAX = 20, 5


class Answer:
    """An HTTP answer. `lines` are the JSON objects of its body, one a line."""

    def __init__(self, response):
        self.status, self.headers = response.status_code, response.headers
        self.text = response.content.decode("utf-8")

    def __repr__(self):
        return f"{self.status} {dict(self.headers)}\n{self.text[:2000]}"

    @property
    def lines(self):
        """Every line, parsed. Lines end at a newline and nowhere else."""
        return [json.loads(line) for line in self.text.split("\n") if line.strip()]

    @property
    def json(self):
        """The body as one JSON document."""
        return json.loads(self.text)

    @property
    def version(self):
        """The table version in the header."""
        return int(self.headers["Delta-Table-Version"])

    @property
    def files(self):
        """The lines about files: pairs of the kind of line and its content."""
        return [(kind, content) for line in self.lines[2:] for kind, content in line.items()
                if kind in ("file", "add", "cdf", "remove")]

    @property
    def metadata(self):
        """The content of the second line."""
        return self.lines[1]["metaData"]

    @property
    def end(self):
        """The content of the `endStreamAction` line, or nothing."""
        found = [line["endStreamAction"] for line in self.lines if "endStreamAction" in line]
        return found[0] if found else None

    @property
    def capabilities(self):
        """The echoed capabilities, in lower case."""
        text = self.headers.get("delta-sharing-capabilities", "").lower()
        return dict(part.strip().partition("=")[::2] for part in text.split(";") if part.strip())

    def ok(self):
        """This answer, which must be a success."""
        assert self.status == 200, f"expected 200, not {self!r}"
        return self

    def refused(self, *statuses):
        """This answer, which must be an error with one of the statuses, in the protocol's form."""
        assert self.status in statuses, f"expected {statuses}, not {self!r}"
        content = self.headers.get("Content-Type", "").lower()
        assert content.startswith("application/json"), f"an error is JSON, not {content!r}"
        body = self.json
        assert isinstance(body.get("errorCode"), str) and body["errorCode"], f"no errorCode in {body}"
        assert isinstance(body.get("message"), str), f"no message in {body}"
        return self


class Server:
    """A server, as one recipient sees it."""

    def __init__(self, endpoint, token, names=None):
        self.endpoint, self.token, self.names = endpoint.rstrip("/"), token, names or {}
        self.session = requests.Session()
        self.session.trust_env = False

    def with_token(self, token):
        """The same server with another token, or with none."""
        return Server(self.endpoint, token, self.names)

    def request(self, method, path, headers=None, body=None, data=None, **parameters):
        """Sends a request. `body` goes as JSON, `data` as it is, the rest as query parameters."""
        sent = {"Authorization": f"Bearer {self.token}"} if self.token is not None else {}
        sent |= headers or {}
        if body is not None:
            data = json.dumps(body)
            sent.setdefault("Content-Type", "application/json; charset=utf-8")
        sent = {name: value for name, value in sent.items() if value is not None}
        query = {name: value for name, value in parameters.items() if value is not None}
        for _ in range(ATTEMPTS_MAX):
            response = self.session.request(method, self.endpoint + path, headers=sent, params=query, data=data,
                                            timeout=TIMEOUT_SECONDS, allow_redirects=False)
            if response.status_code != 429:
                break
            time.sleep(min(float(response.headers.get("Retry-After", 1)), RETRY_SECONDS_MAX))
        return Answer(response)

    def get(self, path, **more):
        """A GET request."""
        return self.request("GET", path, **more)

    # Names, as this server has them.

    def renamed(self, *names):
        """A share, schema or table by the names of the fixtures, as the loader says that the server calls it."""
        names = list(names)
        for length in range(len(names), 0, -1):
            other = self.names.get(".".join(names[:length]))
            if other:
                return other.split(".") + names[length:]
        return names

    def path(self, *names):
        """The path of a share, a schema or a table."""
        parts = zip(("shares", "schemas", "tables"), self.renamed(*names))
        return "".join(f"/{kind}/{urllib.parse.quote(name, safe='')}" for kind, name in parts)

    # Questions about one table.

    def version(self, table, **more):
        """The table's version."""
        return self.get(self.path(*table.names) + "/version", **more)

    def metadata(self, table, capabilities=None, **more):
        """The table's metadata."""
        return self.get(self.path(*table.names) + "/metadata", headers=capable(capabilities), **more)

    def query(self, table, body=None, capabilities=None, headers=None):
        """The table's files."""
        return self.request("POST", self.path(*table.names) + "/query", body={} if body is None else body,
                            headers={**capable(capabilities), **(headers or {})})

    def changes(self, table, capabilities=None, headers=None, **parameters):
        """The table's change data feed."""
        return self.get(self.path(*table.names) + "/changes", headers={**capable(capabilities), **(headers or {})},
                        **parameters)


def capable(text):
    """The capabilities header."""
    return {} if text is None else {"delta-sharing-capabilities": text}


FEATURES = "readerfeatures=deletionvectors,columnmapping,timestampntz,v2checkpoint"
DELTA = f"responseformat=delta;{FEATURES}"
EITHER = f"responseformat=delta,parquet;{FEATURES}"


def every_page(ask):
    """All pages of a list or query. `ask(token)` gets one; at most a thousand come."""
    pages, token = [], None
    for _ in range(1_000):
        page = ask(token).ok()
        pages.append(page)
        lists = page.headers.get("Content-Type", "").lower().startswith("application/json")
        token = page.json.get("nextPageToken") if lists else (page.end or {}).get("nextPageToken")
        if not token:
            return pages
    raise AssertionError("the pages do not end")
