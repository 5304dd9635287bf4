#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads what Meson says about a build directory and about a run of tests, for tests/run.

summary.py --same-source BUILD SOURCE   status 0 when BUILD was set up for SOURCE
summary.py --has-tests BUILD            status 0 when BUILD has tests
summary.py LOG STATUS [FOUND]           prints logs of failures, reasons of skips, the counts

LOG is Meson's testlog.json, STATUS the exit status of `meson test`. Where a test program is
made of Criterion tests these are counted, not the program. FOUND is a directory in which
sanitizers or valgrind left a file for every process that they found guilty of something; each
that is not empty is a failure.
"""

import json
import os
import re
import sys

SYNTHESIS = re.compile(
    r"^\[====\] Synthesis: Tested: (\d+) \| Passing: (\d+) \| Failing: (\d+) \| Crashing: (\d+)",
    re.M)
PASSED = re.compile(r"^\[PASS\] ", re.M)
SKIPPED = re.compile(r"^\[SKIP\] (.*)$", re.M)
GOOD = ("OK", "EXPECTEDFAIL")
MAX_LINES = 400


def read_info(build, name):
    with open(os.path.join(build, "meson-info", name), encoding="utf-8") as file:
        return json.load(file)


def same_source(build, source):
    known = read_info(build, "meson-info.json")["directories"]["source"]
    return os.path.realpath(known) == os.path.realpath(source)


def has_tests(build):
    return len(read_info(build, "intro-tests.json")) > 0


def read_log(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [json.loads(line) for line in file if line.strip()]
    except FileNotFoundError:
        return []


class Count:
    """Individual tests: passed, failed, and the reasons of those skipped."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.skipped = []

    def add(self, entry, output):
        rows = SYNTHESIS.findall(output)
        reasons = SKIPPED.findall(output)
        result = entry["result"]
        failed = sum(int(row[2]) for row in rows)
        if rows:
            self.passed += sum(int(row[1]) for row in rows)
        elif result in GOOD:
            self.passed += 1
        elif result == "SKIP":
            reasons = reasons or [entry["name"] + ": " + last_line(output)]
        else:
            # Ended in the midst: what passed until then did pass.
            self.passed += len(PASSED.findall(output))
        if result not in GOOD and result != "SKIP":
            failed = max(failed, 1)
        self.failed += failed
        self.skipped += reasons
        return failed > 0


def last_line(output):
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason given"


def print_failure(entry, output):
    lines = output.splitlines()
    title = "%s: %s" % (entry["name"], entry["result"])
    print("\n==== %s %s" % (title, "=" * max(0, 94 - len(title))))
    if len(lines) > MAX_LINES:
        print("[the first %d lines left out]" % (len(lines) - MAX_LINES))
    print("\n".join(lines[-MAX_LINES:]))


def print_findings(directory):
    """What the watchers wrote. Return: how many processes were found guilty."""
    guilty = 0
    for name in sorted(os.listdir(directory)):
        with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
        if lines:
            guilty += 1
            print("\n==== found: %s" % name)
            print("\n".join(lines[:MAX_LINES]))
    return guilty


def summarise(path, status, found=None):
    count = Count()
    entries = read_log(path)
    for entry in entries:
        output = (entry.get("stdout") or "") + "\n" + (entry.get("stderr") or "")
        if count.add(entry, output):
            print_failure(entry, output)
    if not entries:
        print("no test was run; is there a suite of that name?", file=sys.stderr)
        count.failed += 1
    elif status != 0 and count.failed == 0:
        print("meson test failed with status %d though no test did" % status, file=sys.stderr)
        count.failed += 1
    if found:
        count.failed += print_findings(found)
    if count.skipped:
        print("\nskipped:")
        for reason in count.skipped:
            print("  " + reason)
    print("\n%d passed, %d failed%s" % (
        count.passed, count.failed,
        ", %d skipped" % len(count.skipped) if count.skipped else ""))
    return count.failed == 0


def main(arguments):
    if len(arguments) == 3 and arguments[0] == "--same-source":
        good = same_source(arguments[1], arguments[2])
    elif len(arguments) == 2 and arguments[0] == "--has-tests":
        good = has_tests(arguments[1])
    elif len(arguments) in (2, 3):
        good = summarise(arguments[0], int(arguments[1]), *arguments[2:])
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
