"""Adds files to tables in a folder: `add_files.py FOLDER MORE`.

MORE is laid out as the fixtures are. The files of a log come last, and each appears whole or not at all: a reader sees
no commit before its files.
"""

import os
import shutil
import sys

LOG = "_delta_log"


def main(folder, more):
    found = [os.path.relpath(os.path.join(place, name), more) for place, _, names in os.walk(more) for name in names]
    for path in sorted(found, key=lambda path: (LOG in path.split(os.sep), path)):
        target = os.path.join(folder, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(os.path.join(more, path), target + ".new")
        os.replace(target + ".new", target)


if __name__ == "__main__":
    main(*sys.argv[1:])
