"""Serves the fixtures by the program `serve-directory`: `serve_directory.py PROGRAM FIXTURES`.

Writes a share file and ends the program with itself. Its recipients read one share each, so the share `hollow`, which
the first recipient has beside another, is not loaded. Tables that grow are copies: the fixtures stay as they are.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HOLLOW = "hollow"
RECIPIENTS = {"token": None, "otherToken": None, "expiredToken": "2024-01-01T00:00:00Z"}
START_SECONDS_MAX = 60
ADD_FILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "add_files.py")


def shares(fixtures, copies, tables):
    """The share file's shares, with schemas that hold nothing."""
    found = {}
    for share in sorted(os.listdir(fixtures)):
        if share == HOLLOW or not os.path.isdir(os.path.join(fixtures, share)):
            continue
        found[share] = {schema: [] for schema in sorted(os.listdir(os.path.join(fixtures, share)))}
    for table in tables:
        names = (table["share"], table["schema"], table["name"])
        location = os.path.join(fixtures, *names)
        if table["grows"]:
            location = shutil.copytree(location, os.path.join(copies, *names))
        entry = {"name": table["name"], "location": location, "historyShared": table["history"]}
        found[table["share"]][table["schema"]].append(entry)
    return [
        {"name": share, "schemas": [{"name": name, "tables": tables} for name, tables in schemas.items()]}
        for share, schemas in found.items()
    ]


def main(program, fixtures):
    fixtures = os.path.abspath(fixtures)
    with open(os.path.join(fixtures, "manifest.json"), encoding="utf-8") as file:
        manifest = json.load(file)
    granted = {name: [share for share in found if share != HOLLOW][0] for name, found in manifest["shares"].items()}
    recipients = [
        {"name": name, "share": granted.get(name, granted["token"])} | ({"expirationTime": end} if end else {})
        for name, end in RECIPIENTS.items()
    ]
    with tempfile.TemporaryDirectory(prefix="serve-directory-") as folder:
        share_file, copies = os.path.join(folder, "shares.yaml"), os.path.join(folder, "copies")
        with open(share_file, "w", encoding="utf-8") as file:
            # JSON is YAML, too.
            json.dump({"shares": shares(fixtures, copies, manifest["tables"]), "recipients": recipients}, file)
        limit = ["--requests-per-second", "100000"]
        server = subprocess.Popen(
            [program, share_file, "--profiles", folder, *limit], stdout=sys.stderr, stderr=subprocess.DEVNULL
        )
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            profiles = {name: profile(server, os.path.join(folder, f"{name}.share")) for name in RECIPIENTS}
            document = {
                "endpoint": profiles["token"]["endpoint"],
                "notLoaded": [HOLLOW],
                "without": ["async", "directory"],
                "grow": shlex.join([sys.executable, ADD_FILES, copies]),
            }
            print(json.dumps(document | {name: found["bearerToken"] for name, found in profiles.items()}), flush=True)
            server.wait()
        finally:
            server.terminate()
            server.wait()


def profile(server, path):
    """A profile, as soon as the server has written it whole."""
    for _ in range(START_SECONDS_MAX * 20):
        if server.poll() is not None:
            sys.exit(f"the server ended with {server.returncode}")
        try:
            with open(path, encoding="utf-8") as file:
                return json.load(file)
        except (OSError, ValueError):
            time.sleep(0.05)
    sys.exit(f"the server wrote no {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
