"""Lets a table grow during the run, by the command that the loading hook named for it."""

import shlex
import subprocess
import sys
import tempfile
import time

from fixtures.growing_tables import write_version

COMMAND_SECONDS_MAX = 60

#: How long a server may go on with a version that it read before.
SEEN_SECONDS_MAX = 60


class Growth:
    """`grow(table)` appends one commit to a table, and returns when the server has seen it."""

    def __init__(self, command, server):
        self.command, self.server = shlex.split(command or ""), server

    def __call__(self, table):
        before = self.server.version(table).ok().version
        with tempfile.TemporaryDirectory(prefix="delta-sharing-growth-") as folder:
            write_version(folder, table.names, before + 1)
            subprocess.run([*self.command, folder], check=True, timeout=COMMAND_SECONDS_MAX, stdout=sys.stderr)
        until = time.monotonic() + SEEN_SECONDS_MAX
        while self.server.version(table).ok().version == before:
            assert time.monotonic() < until, f"{table} is still at version {before}"
            time.sleep(0.2)
