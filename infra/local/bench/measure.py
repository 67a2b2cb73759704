"""Runs a program and prints what that took, as one JSON line: the whole process, as the kernel counted it.

usage: measure.py PROGRAM [ARGUMENT ...]

The program's last line of output is handed on as `said`. Its peak is at least that of this small process, from which
it begins.
"""

import json
import os
import subprocess
import sys
import time

began = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
output = child.stdout.read()
_, status, used = os.wait4(child.pid, 0)
seconds = time.perf_counter() - began
code = os.waitstatus_to_exitcode(status)
if code != 0:
    sys.exit(f"{sys.argv[1]} ended with {code}")
lines = output.decode().splitlines()
print(
    json.dumps(
        {
            "wallSeconds": seconds,
            "cpuSeconds": used.ru_utime + used.ru_stime,
            # Linux counts in KiB.
            "peakMebibytes": used.ru_maxrss / 1024,
            "said": json.loads(lines[-1]) if lines else None,
        }
    )
)
