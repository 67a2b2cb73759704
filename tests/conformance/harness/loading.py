"""Getting fixtures into a server: the hook that every server brings its own of.

The command gets the fixtures' directory as its last argument and prints one JSON document. It may then end, or go on
as the server itself; in that case it is ended with the tests.
"""

import json
import shlex
import subprocess
import threading

START_SECONDS_MAX = 300


class Loaded:
    """What the hook printed."""

    def __init__(self, document):
        known = {"endpoint", "token", "bearerToken", "otherToken", "expiredToken", "notLoaded", "names", "without",
                 "shareCredentialsVersion", "expirationTime", "grow"}
        unknown = set(document) - known
        if unknown:
            raise SystemExit(f"the loading hook's document has unknown fields: {sorted(unknown)}")
        self.endpoint = document["endpoint"]
        self.token = document.get("token") or document["bearerToken"]
        self.other_token, self.expired_token = document.get("otherToken"), document.get("expiredToken")
        self.not_loaded, self.names = document.get("notLoaded", []), document.get("names", {})
        self.without, self.grow = set(document.get("without", [])), document.get("grow")


class Hook:
    """A running hook."""

    def __init__(self, command, directory):
        self.process = subprocess.Popen([*shlex.split(command), str(directory)], stdout=subprocess.PIPE, text=True)
        timer = threading.Timer(START_SECONDS_MAX, self.process.kill)
        timer.start()
        try:
            self.loaded = Loaded(self.document())
        except BaseException:
            self.close()
            raise
        finally:
            timer.cancel()

    def document(self):
        """The first JSON document on standard output, over one line or several."""
        text = ""
        for line in self.process.stdout:
            text += line
            try:
                return json.loads(text)
            except ValueError:
                continue
        raise SystemExit(f"the loading hook ended with {self.process.wait()} and printed no JSON document: {text!r}")

    def close(self):
        """Ends the hook, if it still runs."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
