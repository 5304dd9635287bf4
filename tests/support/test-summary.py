#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The counts of tests/run: nothing that failed may be counted as anything else."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

SUMMARY = os.path.join(os.environ["DSU_SOURCE_ROOT"], "tests", "summary.py")


def synthesis(passing, failing, crashing=0):
    return "[====] Synthesis: Tested: %d | Passing: %d | Failing: %d | Crashing: %d \n" % (
        passing + failing, passing, failing, crashing)


def entry(name, result, output, stream="stderr"):
    return {"name": name, "result": result, "stdout": "", "stderr": "", stream: output}


class Summary(unittest.TestCase):
    def run_on(self, entries, status=0, found=None):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "testlog.json")
            if entries is not None:
                with open(path, "w", encoding="utf-8") as file:
                    file.writelines(json.dumps(e) + "\n" for e in entries)
            more = []
            if found is not None:
                more = [os.path.join(directory, "found")]
                os.mkdir(more[0])
                for name, text in found.items():
                    with open(os.path.join(more[0], name), "w", encoding="utf-8") as file:
                        file.write(text)
            return subprocess.run([sys.executable, SUMMARY, path, str(status)] + more,
                                  capture_output=True, text=True, check=False)

    def expect(self, entries, line, status=0, good=False, found=None):
        done = self.run_on(entries, status, found)
        self.assertEqual(done.stdout.splitlines()[-1], line, done.stdout)
        self.assertEqual(done.returncode, 0 if good else 1)
        return done.stdout

    def test_criterion_tests_are_counted_one_by_one(self):
        self.expect([entry("a", "OK", synthesis(3, 0)), entry("b", "OK", synthesis(4, 0))],
                    "7 passed, 0 failed", good=True)

    def test_failures_fail_and_show_their_log(self):
        output = self.expect([entry("a", "OK", synthesis(3, 0)),
                              entry("b", "FAIL", "the reason\n" + synthesis(4, 2, 1))],
                             "7 passed, 2 failed", 1)
        self.assertIn("==== b: FAIL", output)
        self.assertIn("the reason", output)
        self.assertNotIn("==== a", output)

    def test_skips_are_counted_with_reasons(self):
        output = self.expect([entry("a", "OK", "[SKIP] s::t: no root\n" + synthesis(1, 0))],
                             "1 passed, 0 failed, 1 skipped", good=True)
        self.assertIn("  s::t: no root", output)

    def test_timeout_counts_what_passed_and_one_failure(self):
        self.expect([entry("a", "TIMEOUT", "[PASS] s::t: (0.00s)\n[RUN ] s::u\n")],
                    "1 passed, 1 failed", 1)

    def test_failure_after_a_clean_synthesis_counts(self):
        self.expect([entry("a", "FAIL", synthesis(3, 0))], "3 passed, 1 failed", 1)

    def test_programs_without_criterion(self):
        self.expect([entry("a", "OK", "fine", "stdout"), entry("b", "ERROR", "bad", "stdout"),
                     entry("c", "SKIP", "no clang\n", "stdout")],
                    "1 passed, 1 failed, 1 skipped", 1)

    def test_unexpected_results_of_meson_fail(self):
        for result in ("UNEXPECTEDPASS", "INTERRUPT", "FAIL", "ERROR", "TIMEOUT"):
            self.expect([entry("a", result, "")], "0 passed, 1 failed", 1)

    def test_what_watchers_found_fails_whatever_the_tests_say(self):
        fine = [entry("a", "OK", synthesis(3, 0))]
        self.expect(fine, "3 passed, 0 failed", good=True, found={"memcheck.1": ""})
        output = self.expect(fine, "3 passed, 2 failed",
                             found={"address.1": "leak of 3", "address.2": "", "undefined.7": "x"})
        self.assertIn("leak of 3", output)

    def test_nothing_run_is_a_failure(self):
        self.expect([], "0 passed, 1 failed")
        self.expect(None, "0 passed, 1 failed")

    def test_status_of_meson_is_not_forgotten(self):
        self.expect([entry("a", "OK", synthesis(3, 0))], "3 passed, 1 failed", 1)

    def test_words_of_a_test_do_not_count(self):
        self.expect([entry("a", "OK", "x [====] Synthesis: Tested: 9 | Passing: 9 | Failing: 0 | "
                           "Crashing: 0\n [PASS] no\n" + synthesis(1, 0))],
                    "1 passed, 0 failed", good=True)

    def test_long_logs_keep_their_end(self):
        text = "".join("line %d\n" % i for i in range(1000)) + synthesis(0, 1)
        output = self.expect([entry("a", "FAIL", text)], "0 passed, 1 failed", 1)
        self.assertIn("line 999\n", output)
        self.assertNotIn("line 100\n", output)


if __name__ == "__main__":
    unittest.main()
