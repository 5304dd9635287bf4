#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""soak-kills BUILD [--kills N] [--seed S]: kill -9 at random moments of apply and revert, the
worker or dsud itself, N times (25; 1000 in a soak).

After each kill the victim must answer at once with one whole version and keep counting; after
recovery `status` must tell the version that it answers with. Prints one line `N passed, N failed`;
stops at the first failure."""
import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

ANSWERS = {"hello": False, "hello, new world": True}


class Victim:
    def __init__(self, build):
        self.process = subprocess.Popen([build / "tests/victims/threads", "8"],
                                        stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        assert self.process.stdout.readline().strip() == "ready"

    def ask(self, question):
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


class Daemon:
    def __init__(self, build, directory):
        self.arguments = [f"--socket={directory}/socket", f"--state-dir={directory}/state"]
        self.build = build
        self.socket = f"{directory}/socket"
        self.log = open(f"{directory}/log", "ab")
        self.start()

    def start(self):
        self.process = subprocess.Popen([self.build / "dsud/dsud", *self.arguments,
                                         "--no-system-bus"],
                                        stdout=self.log, stderr=self.log)
        end = time.monotonic() + 20
        while self.ctl("status").returncode != 0:
            if time.monotonic() > end:
                raise RuntimeError("dsud does not come up")
            time.sleep(0.01)

    def ctl(self, *arguments):
        return subprocess.run([self.build / "dsuctl/dsuctl", self.arguments[0], *arguments,
                               "--json=short"],
                              capture_output=True, text=True)

    def begin(self, *arguments):
        return subprocess.Popen([self.build / "dsuctl/dsuctl", self.arguments[0], *arguments,
                                 "--json=short"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def workers(self):
        try:
            path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
            return [int(pid) for pid in open(path).read().split()]
        except OSError:
            return []


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def patches_of(daemon, pid):
    done = daemon.ctl("status", "--pid", str(pid))
    processes = json.loads(done.stdout)["processes"]
    return [patch["id"] for process in processes for patch in process["patches"]]


def one_kill(daemon, victim, patch, dice):
    new = ANSWERS[victim.ask("greet")]
    pid = str(victim.process.pid)
    what = ("revert", "greeting-v2") if new else ("apply", patch)
    client = daemon.begin(*what, "--pid", pid)
    time.sleep(dice.uniform(0, 0.02))
    both = dice.random() < 0.3
    for worker in daemon.workers():
        kill(worker)
    if both:
        kill(daemon.process.pid)
        daemon.process.wait()
    counted = int(victim.ask("slowest"))
    answer = victim.ask("greet")
    if answer not in ANSWERS:
        raise RuntimeError(f"neither old nor new: {answer!r}")
    client.wait()
    if both:
        daemon.start()
    end = time.monotonic() + 10
    while (patches_of(daemon, pid) == ["greeting-v2"]) != ANSWERS[victim.ask("greet")]:
        if time.monotonic() > end:
            raise RuntimeError(f"status says {patches_of(daemon, pid)}, "
                               f"the victim says {victim.ask('greet')}")
        time.sleep(0.05)
    while int(victim.ask("slowest")) <= counted:
        if time.monotonic() > end:
            raise RuntimeError("a thread does not go on")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("--kills", type=int,
                        default=1000 if os.environ.get("DSU_SOAK") == "yes" else 25)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    dice = random.Random(options.seed)
    print(f"seed {options.seed}")
    n = 0
    with tempfile.TemporaryDirectory(prefix="dsud-soak-") as directory:
        victim = Victim(options.build)
        daemon = Daemon(options.build, directory)
        try:
            while n < options.kills:
                one_kill(daemon, victim, options.build / "tests/patches/live/greeting-v2.so", dice)
                n += 1
        except (RuntimeError, ValueError, BrokenPipeError, KeyError) as error:
            print(f"after {n} kills: {error}\n{open(directory + '/log').read()[-4000:]}")
        finally:
            daemon.process.terminate()
            daemon.process.wait()
            victim.process.kill()
            victim.process.wait()
    print(f"{n} passed, {0 if n == options.kills else 1} failed")
    return 0 if n == options.kills else 1


if __name__ == "__main__":
    sys.exit(main())
