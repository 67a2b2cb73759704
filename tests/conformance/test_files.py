"""The URLs of files: plain HTTP, for as long as they are good, and for nothing else."""

import calendar
import re
import time
import urllib.parse

import pytest
import requests

from harness.rules import CLIENT, PROTOCOL, REFERENCE, rule
from harness.server import DELTA

#: What clients look for in the query of a URL to know it for presigned.
PRESIGNED = {"X-Amz-Signature", "X-Goog-Signature", "sig", "Signature"}

#: How far a server's clock may be from ours.
CLOCKS_DIFFER_SECONDS_MAX = 5


@pytest.fixture
def urls(server, plain):
    """The URLs of a table's files, with their sizes."""
    return [(content["url"], content["size"]) for _, content in server.query(plain).ok().files]


@pytest.fixture(scope="module")
def http():
    """A client that knows no token."""
    session = requests.Session()
    session.trust_env = False
    return session


@rule("FIL-01", f"{PROTOCOL} File")
def test_every_url_gives_its_file_without_a_token(server, truth, http):
    """A plain GET without any header gives the whole file, which is Parquet, also where paths hold odd characters."""
    for name in ("plain", "partitioned", "partitioned_by_type", "types", "evolved"):
        for _, content in server.query(truth.table(f"alpha.main.{name}")).ok().files:
            answer = http.get(content["url"], timeout=60)
            assert answer.status_code == 200 and len(answer.content) == content["size"], content["url"]
            assert answer.content[:4] == answer.content[-4:] == b"PAR1"


@rule("FIL-02", CLIENT, needs="range-requests")
def test_a_url_gives_ranges(urls, http):
    """Range requests are honoured with 206: a start and an end, from a start on, and the last bytes."""
    url, size = urls[0]
    whole = http.get(url, timeout=60).content
    for asked, wanted in (("bytes=0-3", whole[:4]), ("bytes=4-99", whole[4:100]), (f"bytes={size - 8}-", whole[-8:]),
                          ("bytes=-8", whole[-8:]), (f"bytes=0-{size + 100}", whole)):
        answer = http.get(url, headers={"Range": asked}, timeout=60)
        assert (answer.status_code, answer.content) == (206, wanted), asked
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers["Content-Range"])
        assert int(found[3]) == size and int(found[2]) - int(found[1]) + 1 == len(wanted)


@rule("FIL-03", CLIENT, needs="range-requests")
def test_a_range_behind_the_file_is_416(urls, http):
    """A range behind the end of the file is 416."""
    url, size = urls[0]
    assert http.get(url, headers={"Range": f"bytes={size}-{size + 1}"}, timeout=60).status_code == 416


@rule("FIL-04", CLIENT, needs="presigned-look")
def test_a_url_looks_presigned(urls):
    """A URL has a query key of a presigned one, without which the kernel does not read it in Delta format."""
    for url, _ in urls:
        assert PRESIGNED & set(dict(urllib.parse.parse_qsl(urllib.parse.urlparse(url).query)))


@rule("FIL-05", REFERENCE, needs="signed-urls")
def test_a_url_is_good_for_its_file_only(urls, http):
    """A URL with another path, another signature, or none, is 4xx."""
    url, other = urls[0][0], urls[1][0]
    parts, another = urllib.parse.urlsplit(url), urllib.parse.urlsplit(other)
    for changed in (parts._replace(path=another.path), parts._replace(query=""),
                    parts._replace(query=flipped(parts.query))):
        assert 400 <= http.get(changed.geturl(), timeout=60).status_code < 500, changed


def flipped(query):
    """A query with another signature."""
    pairs = urllib.parse.parse_qsl(query)
    return urllib.parse.urlencode([(name, text[::-1] + "0" if name in PRESIGNED else text) for name, text in pairs])


@rule("FIL-06", f"{PROTOCOL} File", needs="expiration")
def test_the_expiration_is_the_one_in_the_url(server, plain):
    """`expirationTimestamp` is not later, by a millisecond, than the time at which the URL itself ends."""
    for _, content in server.query(plain).ok().files:
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(content["url"]).query))
        end, life = end_of(query), query.get("X-Amz-Expires") or query.get("X-Goog-Expires")
        assert content["expirationTimestamp"] > time.time() * 1000
        if end is not None:
            assert content["expirationTimestamp"] <= end * 1000
        elif life:
            # It does not say when it was signed: before now, by a clock that may differ from ours.
            assert content["expirationTimestamp"] <= (time.time() + int(life) + CLOCKS_DIFFER_SECONDS_MAX) * 1000


def end_of(query):
    """The second at which a URL ends, if its query says so: of S3 and Google by two fields, of Azure, of old S3."""
    for cloud in ("Amz", "Goog"):
        signed, life = query.get(f"X-{cloud}-Date"), query.get(f"X-{cloud}-Expires")
        if signed and life:
            return calendar.timegm(time.strptime(signed, "%Y%m%dT%H%M%SZ")) + int(life)
    if "se" in query and "sig" in query:
        return calendar.timegm(time.strptime(query["se"], "%Y-%m-%dT%H:%M:%SZ"))
    return int(query["Expires"]) if "Signature" in query and query.get("Expires", "").isdigit() else None


@rule("FIL-07", f"{PROTOCOL} File")
def test_a_url_does_not_hold_the_token(server, urls):
    """A URL does not hold the recipient's bearer token: it is handed on to engines and logs."""
    for url, _ in urls:
        assert server.token not in urllib.parse.unquote(url)


@rule("FIL-08", f"{PROTOCOL} File")
def test_a_url_does_not_lead_out_of_its_table(urls, http):
    """A URL whose path climbs to another file is 4xx."""
    parts = urllib.parse.urlsplit(urls[0][0])
    for climb in ("/../../no_history", "/%2e%2e"):
        url = parts._replace(path=f"{parts.path}{climb}/_delta_log/{0:020}.json").geturl()
        prepared = requests.Request("GET", url).prepare()
        prepared.url = url
        assert 400 <= http.send(prepared, timeout=60).status_code < 500


@rule("FIL-09", f"{PROTOCOL} File in Delta Format", needs="delta-format")
def test_paths_in_delta_format_give_the_files_too(server, truth, http):
    """In Delta format the `path` of an action is a URL that gives the file, also where paths hold odd characters."""
    for name in ("plain", "partitioned"):
        for _, content in server.query(truth.table(f"alpha.main.{name}"), capabilities=DELTA).ok().files:
            add = content["deltaSingleAction"]["add"]
            answer = http.get(add["path"], timeout=60)
            assert answer.status_code == 200 and len(answer.content) == add["size"]


@rule("FIL-10", f"{PROTOCOL} File", needs="history")
def test_files_of_old_versions_and_removed_files_can_be_fetched(server, truth, http):
    """The URLs of an old version's files, of `remove` lines and of change files give their files."""
    table = truth.table("alpha.main.changes")
    answers = [server.query(table, {"version": 0}).ok(), server.query(table, {"startingVersion": 0}).ok()]
    if "cdf" not in truth.absent:
        answers.append(server.changes(table, startingVersion=0).ok())
    for answer in answers:
        for _, content in answer.files:
            assert len(http.get(content["url"], timeout=60).content) == content["size"]


@rule("FIL-12", f"{REFERENCE}; File")
def test_a_path_in_the_log_that_leads_out_of_the_table_is_not_served(server, truth, http):
    """A log with absolute paths, or paths that climb, is refused as a whole, or its URLs give the table's own files
    only."""
    table = truth.table("alpha.advanced.outside")
    answer = server.query(table)
    if answer.status == 200:
        own = {http.get(content["url"], timeout=60).content for _, content in answer.files
               if "/outside/part-0.parquet" in content["url"]}
        for _, content in answer.files:
            found = http.get(content["url"], timeout=60)
            assert found.status_code >= 400 or found.content in own, content["url"]


@rule("FIL-11", f"{PROTOCOL} File")
def test_some_of_very_many_urls_give_their_files(server, truth, http):
    """Also in an answer of three thousand files the URLs are good."""
    for _, content in server.query(truth.table("alpha.logs.many_files")).ok().files[::150]:
        assert len(http.get(content["url"], timeout=60).content) == content["size"]
