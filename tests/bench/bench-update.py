#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""bench-update BUILD [--rounds N]: what an update costs, one table, everything in one run on a real
daemon.

Machines differ and are noisy. Of each figure the minimum and the median of all rounds are shown;
the ratio is the median of the ratios within each round, in which what is compared comes right after
the other: the longest hold stands beside the floor (a bare seize, interrupt, wait and detach of the
same process) and beside the largest gap that a spinning thread of the target saw meanwhile."""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

THREADS = (1, 8, 64, 512, 2000)
FUNCTIONS = (1, 100, 1000)
SYMBOLS = (1000, 10000, 100000, 1000000)
US, MS = 1e3, 1e6  # nanoseconds


class Victim:
    def __init__(self, *argv):
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, bufsize=1)
        assert self.process.stdout.readline().strip() == "ready"
        self.pid = self.process.pid

    def ask(self, question):
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Daemon:
    def __init__(self, build, directory, **environment):
        self.dsuctl = [build / "dsuctl/dsuctl", f"--socket={directory}/socket"]
        self.process = subprocess.Popen([build / "dsud/dsud", f"--socket={directory}/socket",
                                         f"--state-dir={directory}/state", "--no-system-bus"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        env={**os.environ, **environment})
        while not os.path.exists(f"{directory}/socket"):
            time.sleep(0.01)

    def run(self, *arguments):
        """The target's part of the outcome, and how long all of dsuctl took."""
        begin = time.monotonic_ns()
        done = subprocess.run([*self.dsuctl, *arguments, "--json=short"], capture_output=True,
                              text=True)
        took = time.monotonic_ns() - begin
        if done.returncode != 0:
            sys.exit(f"dsuctl {' '.join(map(str, arguments))}: {done.stdout} {done.stderr}")
        return {**json.loads(done.stdout)["targets"][0], "dsuctl_ns": took}

    def apply(self, patch, victim):
        return self.run("apply", patch, "--pid", str(victim.pid))

    def revert(self, patch, victim):
        return self.run("revert", patch, "--pid", str(victim.pid))

    def memory(self, pid=None, field="VmRSS"):
        for line in open(f"/proc/{pid or self.process.pid}/status"):
            if line.startswith(field):
                return int(line.split()[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def number(value):
    """Three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


class Table:
    HEAD = ("what", "of", "minimum", "median", "", "ratio", "reach")

    def __init__(self):
        self.rows = []

    def add(self, what, of, values, unit, scale=1.0, ratios=(), reach="", met=None):
        verdict = "" if met is None else " (met)" if met else " (MISSED)"
        self.rows.append((what, of, number(min(values) / scale),
                          number(statistics.median(values) / scale), unit,
                          f"{statistics.median(ratios):.2f}" if ratios else "",
                          f"{reach}{verdict}"))
        print(".", end="", file=sys.stderr, flush=True)

    def show(self):
        print(file=sys.stderr)
        widths = [max(len(row[i]) for row in [self.HEAD, *self.rows])
                  for i in range(len(self.HEAD))]
        left = {0, 4, 6}
        last = self.HEAD[0]
        for row in [self.HEAD, *self.rows]:
            if row[1] != last and row is not self.HEAD:
                print()
            last = row[1]
            print("  ".join(cell.ljust(width) if i in left else cell.rjust(width)
                            for i, (cell, width) in enumerate(zip(row, widths))).rstrip())


class Bench:
    def __init__(self, build, directory, daemon, rounds):
        self.build = build
        self.directory = pathlib.Path(directory)
        self.daemon = daemon
        self.rounds = rounds
        self.table = Table()

    def patch(self, name, replacements):
        """replacements: names of old functions; each gets a version of its own."""
        path = self.directory / f"{name}.c"
        path.write_text("#include <dsu/patch.h>\n" + "".join(
            f"long new_{i}(long x);\nlong new_{i}(long x) {{ return x + {i + 2}; }}\n"
            f"DSU_REPLACE({old}, new_{i});\n"
            for i, old in enumerate(replacements)) + f'DSU_PATCH("{name}", "1");\n')
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", f"-I{self.build}/injector/abi", path,
                        "-o", path.with_suffix(".so")], check=True)
        return path.with_suffix(".so")

    def program(self, name, functions, *sources):
        """A program that answers lines by calling the first of its functions."""
        path = self.directory / f"{name}.c"
        path.write_text("#include <stdio.h>\n" + "".join(
            f"static __attribute__((noinline)) long {f}(long x) {{ return x * {i + 3} + {i}; }}\n"
            for i, f in enumerate(functions)) +
            "long (*volatile call[])(long) = {" + ", ".join(functions) + "};\n"
            "int main(void) { char b[99]; setbuf(stdout, 0); puts(\"ready\");\n"
            "while (fgets(b, 99, stdin)) printf(\"%ld\\n\", call[0](1)); }\n")
        subprocess.run(["cc", "-O2", "-fno-ipa-ra", path, *sources, "-o", path.with_suffix("")],
                       check=True)
        return path.with_suffix("")

    def rounds_of(self, patch, name, victim, before=lambda: None, after=lambda: None):
        """Apply and revert; the first round warms what is cold once and does not count."""
        outcomes = []
        for _ in range(self.rounds + 1):
            was = before()
            outcomes.append({**self.daemon.apply(patch, victim), "before": was, "after": after()})
            self.daemon.revert(name, victim)
        return outcomes[1:]

    def floor(self, victim):
        floor = int(subprocess.run([self.build / "tests/bench/bench-floor", str(victim.pid), "3"],
                                   capture_output=True, text=True, check=True).stdout)
        victim.ask("gap")
        return floor

    def by_threads(self):
        patch = self.patch("gap-v2", ["answer"])
        for n in THREADS:
            with Victim(self.build / "tests/victims/gap", str(n)) as victim:
                outcomes = self.rounds_of(patch, "gap-v2", victim, lambda: self.floor(victim),
                                          lambda: int(victim.ask("gap")))
            keys = ("before", "held_ns", "after", "total_ns", "dsuctl_ns")
            self.show_threads(n, *([o[key] for o in outcomes] for key in keys))

    def show_threads(self, n, floors, holds, gaps, totals, walls):
        of = f"{n} thread{'s' if n > 1 else ''}"
        ratios = [hold / floor for hold, floor in zip(holds, floors)]
        self.table.add("floor of a hold", of, floors, "us", US)
        self.table.add("longest hold, all stacks checked", of, holds, "us", US, ratios,
                       "2 x floor" if n >= 8 else "",
                       statistics.median(ratios) <= 2 if n >= 8 else None)
        self.table.add("largest gap in a thread of the target", of, gaps, "us", US,
                       [gap / floor for gap, floor in zip(gaps, floors)])
        self.table.add("apply of one function", of, totals, "ms", MS, (), "10 ms" if n == 8 else "",
                       statistics.median(totals) < 10 * MS if n == 8 else None)
        self.table.add("the same as seen by who calls dsuctl", of, walls, "ms", MS)

    def cost_with(self, daemon, victim, patch):
        daemon.apply(patch, victim)
        cost = int(victim.ask("cost"))
        daemon.revert("gap-v2", victim)
        return cost

    def by_calls(self):
        """A worker that dies right after the commit leaves stubs that are not promoted."""
        other = self.directory / "unpromoted"
        other.mkdir()
        patch = self.directory / "gap-v2.so"
        kinds = {"old": [], "through a stub": [], "through a promoted stub": [], "after revert": []}
        with Victim(self.build / "tests/victims/gap", "1") as victim:
            with Daemon(self.build, other, DSUD_FAULT="committed") as dying:
                for _ in range(self.rounds):
                    kinds["old"].append(int(victim.ask("cost")))
                    promoted = self.cost_with(self.daemon, victim, patch)
                    kinds["through a promoted stub"].append(promoted)
                    kinds["through a stub"].append(self.cost_with(dying, victim, patch))
                    kinds["after revert"].append(int(victim.ask("cost")))
        for kind, costs in kinds.items():
            self.table.add(f"a call: {kind}", "calls", costs, "ns", MS,
                           [cost / old for cost, old in zip(costs, kinds["old"])])

    def by_functions(self):
        functions = [f"f{i}" for i in range(max(FUNCTIONS))]
        program = self.program("many", functions)
        for n in FUNCTIONS:
            of = f"{n} function{'s' if n > 1 else ''}"
            patch = self.patch(f"many-{n}", functions[:n])
            with Victim(program) as victim:
                outcomes = self.rounds_of(patch, f"many-{n}", victim)
            self.table.add("longest hold", of, [o["held_ns"] for o in outcomes], "us", US)
            self.table.add("apply", of, [o["total_ns"] for o in outcomes], "ms", MS)

    def by_symbols(self):
        """A static function of a program with so many others, 16 bytes each, is looked for."""
        patch = self.patch("symbols", ["f"])
        for n in SYMBOLS:
            others = self.directory / f"symbols-{n}.s"
            others.write_text(".text\n" + "".join(
                f".p2align 4\n.type some_symbol_{i},@function\n"
                f"some_symbol_{i}: ret\n.size some_symbol_{i},1\n"
                for i in range(n)) + '.section .note.GNU-stack,"",@progbits\n')
            with Victim(self.program("with-symbols", ["f"], others)) as victim:
                outcomes = self.rounds_of(patch, "symbols", victim)
            self.table.add("apply", f"{n} symbols", [o["total_ns"] for o in outcomes], "ms", MS)

    def worker_memory(self):
        """A worker that waits for a function which never ends has done all the reading there is."""
        patch = self.patch("stuck", ["nap"])
        with Victim(self.build / "tests/victims/hot", "1") as victim:
            victim.ask("stuck")
            client = subprocess.Popen([*self.daemon.dsuctl, "apply", patch, "--pid",
                                       str(victim.pid), "--timeout=1", "--quiet"],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            largest = 0
            dsud = self.daemon.process.pid
            while client.poll() is None:
                children = pathlib.Path(f"/proc/{dsud}/task/{dsud}/children").read_text()
                for pid in children.split():
                    try:
                        largest = max(largest, self.daemon.memory(pid, "VmHWM") or 0)
                    except OSError:
                        pass  # it has just ended
                time.sleep(0.02)
        return largest

    def by_memory(self, idle):
        self.table.add("dsud, idle", "resident", [idle], "KiB", 1, (), "8192 KiB", idle < 8192)
        self.table.add("dsud, after all of the above", "resident", [self.daemon.memory()], "KiB")
        self.table.add("worker, at its largest", "resident", [self.worker_memory()], "KiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dsud-bench-") as directory, \
            Daemon(options.build, directory) as daemon:
        time.sleep(0.2)
        idle = daemon.memory()
        bench = Bench(options.build, directory, daemon, options.rounds)
        bench.by_threads()
        bench.by_calls()
        bench.by_functions()
        bench.by_symbols()
        bench.by_memory(idle)
        bench.table.show()
    return 0


if __name__ == "__main__":
    sys.exit(main())
