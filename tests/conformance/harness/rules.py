"""Rules: each test is one. The sentence is the test's docstring; the mark says the rest."""

import pytest

#: What a server may lack. A test that needs one is skipped without it, or another test takes its place.
CAPABILITIES = {
    "all-tables": "`GET /shares/{share}/all-tables`",
    "async": "asynchronous queries (`asyncquery=true`)",
    "cdf": "the change data feed (`GET …/changes`)",
    "column-mapping": "tables with column mapping",
    "deletion-vectors": "tables with deletion vectors",
    "delta-format": "answers in Delta format",
    "directory": "directory-based access (temporary table credentials)",
    "end-of-stream": "`includeEndStreamAction=true`",
    "expiration": "`expirationTimestamp` of URLs",
    "expired-token": "a token that has ended, for the tests to try",
    "fileidhash": "the `fileidhash` header",
    "growing-tables": "a command of the loading hook by which a table grows during the run",
    "head-version": "the deprecated `HEAD …/tables/{table}`",
    "historical-protocol": "`includeHistoricalProtocol`",
    "history": "time travel (`version`, `timestamp`, `startingVersion`)",
    "known-timestamps": "commit times as the fixtures have them (a loader that copies files may lose them)",
    "list-paging": "`maxResults` of lists that is kept exactly",
    "metadata-version": "`version` and `timestamp` of `GET …/metadata`",
    "other-token": "a second token, which sees the second share only",
    "paging": "`maxFiles` and `pageToken` of queries",
    "presigned-look": "URLs that clients take for presigned ones",
    "range-requests": "range requests on files",
    "reference-errors": "error codes and messages of the reference server",
    "refresh": "refresh tokens",
    "signed-urls": "URLs that end and cannot be changed",
    "skipping": "leaving out files by hints on partition columns",
    "table-ids": "a UUID for each share and table",
    "timestamp-ntz": "tables with timestamps without a time zone",
    "timestamp-offsets": "request timestamps with an offset other than `Z`",
    "unicode-names": "names outside ASCII",
    "v2-checkpoints": "tables with V2 checkpoints",
}


def rule(identifier, source, needs=(), without=None):
    """Marks a test as a rule. `source` is the section of the protocol's text, or who demands it.

    The test is for servers with all capabilities that it `needs`, or for servers that are `without` one.
    """
    needs = (needs,) if isinstance(needs, str) else tuple(needs)
    assert set(needs) | ({without} if without else set()) <= set(CAPABILITIES), (identifier, needs, without)
    return pytest.mark.rule(identifier=identifier, source=source, needs=needs, without=without)


PROTOCOL = "PROTOCOL.md"
REFERENCE = "reference server"
CLIENT = "official Python client"
