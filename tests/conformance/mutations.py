"""Tries the suite itself: breaks one rule at a time behind a proxy, and demands that a test of its group fails.

usage: mutations.py --fixtures-command COMMAND [--fixtures-directory DIRECTORY] [--without NAME,…] [--only NAME,…]

COMMAND loads fixtures into a server that conforms. Prints a table: mutation, rule that it breaks, tests that failed.
Ends with 1 if a mutation is not noticed, or if the server fails through a proxy that breaks nothing.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

from fixtures.build import build
from harness.loading import Hook
from harness.proxy import Proxy
from mutants import MUTATIONS

HERE = os.path.dirname(os.path.abspath(__file__))


def run(loaded, directory, without, groups, mutate):
    """Runs groups of tests through a proxy, and gives the names of tests that failed, and the exit code."""
    proxy = Proxy(loaded.endpoint, lambda request, send: mutate(request, send, loaded))
    profile = {"endpoint": proxy.endpoint, "token": loaded.token, "otherToken": loaded.other_token,
               "expiredToken": loaded.expired_token, "notLoaded": loaded.not_loaded, "names": loaded.names,
               "without": sorted(loaded.without | without), "grow": loaded.grow}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(profile, file)
        file.flush()
        tests = [os.path.join(HERE, f"test_{group}.py") for group in groups]
        command = [sys.executable, "-m", "pytest", *tests, "-q", "--tb=no", "-p", "no:cacheprovider",
                   f"--profile={file.name}", f"--fixtures-directory={directory}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=HERE)
    proxy.close()
    if done.returncode not in (0, 1):
        raise SystemExit(f"pytest ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    failed = re.findall(r"^(?:FAILED|ERROR) \S*?::(\w+)", done.stdout, re.MULTILINE)
    return sorted(set(failed)), done


def main():
    """Breaks one rule after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fixtures-command", required=True)
    parser.add_argument("--fixtures-directory")
    parser.add_argument("--without", default="")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = options.fixtures_directory or os.path.join(temporary, "fixtures")
        if not os.path.exists(os.path.join(directory, "manifest.json")):
            build(directory)
        hook = Hook(options.fixtures_command, directory)
        try:
            return judge(options, hook.loaded, directory)
        finally:
            hook.close()


def judge(options, loaded, directory):
    """Runs every mutation, prints the table, and gives the exit code."""
    without = {name for name in options.without.split(",") if name}
    only = {name for name in options.only.split(",") if name}
    groups = sorted({group for groups, _ in MUTATIONS.values() for group in groups})
    if not only:
        failed, done = run(loaded, directory, without, groups, lambda request, send, loaded: send(request))
        if done.returncode != 0:
            print(done.stdout, done.stderr, sep="\n")
            print("the server does not pass through a proxy that breaks nothing")
            return 1
    unnoticed = []
    print("| mutation | what it breaks | group | failing tests |\n|---|---|---|---|")
    for name, (groups, mutate) in MUTATIONS.items():
        if only and name not in only:
            continue
        for group in groups:
            failed, _ = run(loaded, directory, without, [group], mutate)
            names = "<br>".join(f"`{test}`" for test in failed) or "**none**"
            print(f"| {name} | {mutate.__doc__} | {group} | {names} |", flush=True)
            unnoticed += [] if failed else [(name, group)]
    print(f"\n{len(MUTATIONS)} mutations, not noticed: {unnoticed or 'none'}")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    raise SystemExit(main())
