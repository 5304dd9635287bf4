#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""bench-update BUILD [--rounds N]: what an update costs, one table a question, everything in one run on a real daemon.

Machines differ and are noisy, so read the ratios: the longest hold stands beside the floor (a bare seize, interrupt,
wait and detach of the same process) and beside the largest gap that a spinning thread of the target saw meanwhile."""
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


class Victim:
    def __init__(self, argv):
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
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

    def run(self, *arguments, expect=0):
        done = subprocess.run([*self.dsuctl, *arguments, "--json=short"], capture_output=True, text=True)
        if done.returncode != expect:
            sys.exit(f"dsuctl {' '.join(map(str, arguments))}: {done.stdout} {done.stderr}")
        return json.loads(done.stdout)["targets"][0]

    def memory(self, pid=None, field="VmRSS"):
        for line in open(f"/proc/{pid or self.process.pid}/status"):
            if line.startswith(field):
                return int(line.split()[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def compile_patch(build, directory, name, source):
    path = pathlib.Path(directory) / f"{name}.c"
    path.write_text(source)
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", f"-I{build}/injector/abi", path, "-o", path.with_suffix(".so")],
                   check=True)
    return path.with_suffix(".so")


def table(title, head, rows):
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    print(f"\n{title}")
    for row in [head, *rows]:
        print("  ".join(str(cell).rjust(width) for cell, width in zip(row, widths)))
    sys.stdout.flush()


def rounds_of(daemon, patch, pid, rounds, each=lambda target: None):
    targets = []
    for _ in range(rounds):
        targets.append(daemon.run("apply", patch, "--pid", str(pid)))
        each(targets[-1])
        daemon.run("revert", targets[-1]["patch"], "--pid", str(pid))
    return targets


def median(values):
    return statistics.median(values)


def by_threads(build, daemon, patch, rounds):
    rows = []
    for n in THREADS:
        with Victim([build / "tests/victims/gap", str(n)]) as victim:
            floor = int(subprocess.run([build / "tests/bench/bench-floor", str(victim.pid), str(rounds)],
                                       capture_output=True, text=True, check=True).stdout)
            gaps = []
            victim.ask("gap")
            targets = rounds_of(daemon, patch, victim.pid, rounds, lambda _: gaps.append(int(victim.ask("gap"))))
            held = median(t["held_ns"] for t in targets)
            rows.append((n, f"{floor / 1e3:.0f}", f"{held / 1e3:.0f}", f"{held / floor:.2f}",
                         f"{median(gaps) / 1e3:.0f}" if n > 1 else "-",
                         f"{median(t['total_ns'] for t in targets) / 1e6:.2f}"))
    table("longest hold by threads (medians; microseconds, apply in milliseconds)",
          ("threads", "floor", "hold", "hold/floor", "gap in target", "apply"), rows)


def cost_with(daemon, victim, patch):
    daemon.run("apply", patch, "--pid", str(victim.pid))
    cost = int(victim.ask("cost")) / 1e6
    daemon.run("revert", "gap-v2", "--pid", str(victim.pid))
    return cost


def by_calls(build, daemon, directory, patch):
    """A worker that dies right after the commit leaves stubs that are not promoted."""
    other = pathlib.Path(directory) / "unpromoted"
    other.mkdir()
    with Victim([build / "tests/victims/gap", "1"]) as victim:
        old = int(victim.ask("cost")) / 1e6
        promoted = cost_with(daemon, victim, patch)
        with Daemon(build, other, DSUD_FAULT="committed") as dying:
            stub = cost_with(dying, victim, patch)
        back = int(victim.ask("cost")) / 1e6
    table("cost of a call (nanoseconds)", ("old", "through the stub", "promoted stub", "after revert"),
          [(f"{old:.2f}", f"{stub:.2f} (+{stub - old:.2f})", f"{promoted:.2f} (+{promoted - old:.2f})", f"{back:.2f}")])


def program_of(directory, name, body):
    path = pathlib.Path(directory) / f"{name}.c"
    path.write_text(body)
    subprocess.run(["cc", "-O1", "-fno-ipa-ra", path, "-o", path.with_suffix("")], check=True)
    return path.with_suffix("")


SERVE = '\n#include <stdio.h>\nint main(void){char b[99];setbuf(stdout,0);puts("ready");while(fgets(b,99,stdin))' \
        'printf("%ld\\n",call[0](1));}\n'


def by_functions(build, daemon, directory, rounds):
    n = max(FUNCTIONS)
    functions = "".join(f"__attribute__((noinline)) long f{i}(long x){{return x*{i + 3}+{i};}}\n" for i in range(n))
    calls = "long (*volatile call[])(long)={" + ",".join(f"f{i}" for i in range(n)) + "};"
    program = program_of(directory, "many", functions + calls + SERVE)
    rows = []
    for n in FUNCTIONS:
        source = "#include <dsu/patch.h>\n" + "".join(
            f"long g{i}(long x);long g{i}(long x){{return x+{i};}}\nDSU_REPLACE(f{i},g{i});\n" for i in range(n))
        patch = compile_patch(build, directory, f"many-{n}", source + f'DSU_PATCH("many-{n}","1");\n')
        with Victim([program]) as victim:
            targets = rounds_of(daemon, patch, victim.pid, rounds)
        rows.append((n, f"{median(t['held_ns'] for t in targets) / 1e3:.0f}",
                     f"{median(t['total_ns'] for t in targets) / 1e6:.2f}"))
    table("by functions of the patch", ("functions", "hold us", "apply ms"), rows)


def by_symbols(build, daemon, directory, rounds):
    rows = []
    patch = compile_patch(build, directory, "symbols", '#include <dsu/patch.h>\nlong g(long x);'
                          'long g(long x){return x;}\nDSU_PATCH("symbols","1");\nDSU_REPLACE(f,g);\n')
    for n in SYMBOLS:
        path = pathlib.Path(directory) / f"symbols-{n}.s"
        path.write_text(".text\n" + "".join(f".type some_symbol_{i},@function\nsome_symbol_{i}: ret\n"
                                            f".size some_symbol_{i},1\n" for i in range(n))
                        + '.section .note.GNU-stack,"",@progbits\n')
        main = pathlib.Path(directory) / "symbols-main.c"
        main.write_text("__attribute__((noinline)) static long f(long x){return x*3;}\n"
                        "long (*volatile call[])(long)={f};" + SERVE)
        program = path.with_suffix("")
        subprocess.run(["cc", "-O1", "-fno-ipa-ra", main, path, "-o", program], check=True)
        with Victim([program]) as victim:
            targets = rounds_of(daemon, patch, victim.pid, rounds)
        rows.append((n, f"{median(t['total_ns'] for t in targets) / 1e6:.2f}"))
    table("by symbols of the target (a static function is looked for)", ("symbols", "apply ms"), rows)


def by_memory(build, daemon, directory):
    patch = compile_patch(build, directory, "stuck", '#include <dsu/patch.h>\nlong g(long x);'
                          'long g(long x){return x;}\nDSU_PATCH("stuck","1");\nDSU_REPLACE(nap,g);\n')
    with Victim([build / "tests/victims/hot", "1"]) as victim:
        victim.ask("stuck")
        client = subprocess.Popen([*daemon.dsuctl, "apply", patch, "--pid", str(victim.pid), "--timeout=2", "--quiet"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)
        workers = subprocess.run(["pgrep", "-P", str(daemon.process.pid)], capture_output=True, text=True).stdout.split()
        worker = max((daemon.memory(pid, "VmHWM") or 0) for pid in workers) if workers else 0
        client.wait()
    table("resident memory (KiB)", ("dsud", "worker at its largest"), [(daemon.memory(), worker)])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dsud-bench-") as directory, Daemon(options.build, directory) as daemon:
        idle = daemon.memory()
        patch = compile_patch(options.build, directory, "gap-v2", '#include <dsu/patch.h>\nlong answer_v2(long x);'
                              'long answer_v2(long x){return x+2;}\nDSU_PATCH("gap-v2","1");\n'
                              'DSU_REPLACE(answer,answer_v2);\n')
        print(f"idle dsud: {idle} KiB resident")
        by_threads(options.build, daemon, patch, options.rounds)
        by_calls(options.build, daemon, directory, patch)
        by_functions(options.build, daemon, directory, min(options.rounds, 5))
        by_symbols(options.build, daemon, directory, min(options.rounds, 5))
        by_memory(options.build, daemon, directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
