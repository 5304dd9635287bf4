#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check-fault-points SOURCE [--list]: every step that changes a target, the journal or the state
directory has its fault point.

A step is a call of the kernel that changes something, found by name. The function that makes it
must pass a fault point after it, unless the table below says why no death there can matter. So
there is no way around the points: whoever changes something goes through one of these functions.
The names are also unique to one file each, so that a test that dies at one knows where it died.
--list prints the names instead."""
import pathlib
import re
import sys

ROOMS = ("injector", "protocols", "dsud/registry", "dsud/worker")
STEPS = re.compile(
    r"\b(pwrite|pwritev|process_vm_writev|ftruncate|fallocate|posix_fallocate|unlink|unlinkat|"
    r"rename|renameat|mkdir|fflush|tgkill|"
    r"kill|inj_write_full)\s*\(|\b(SYS_pidfd_send_signal|F_ADD_SEALS|O_CREAT)\b|"
    r"\brequest\s*\([^;]*\b(PTRACE_(?:SEIZE|SET\w+|POKE\w+|INTERRUPT|CONT|SYSCALL|DETACH))\b|"
    r"\brequest\(what\b")
POINT = re.compile(r"\binj_fault_point\s*\(\s*(?:[^\"()]*\?\s*)?"
                   r"(\"[a-z-]+\"(?:\s*:\s*\"[a-z-]+\")?|\w+)\s*\)")
NAME = re.compile(r'"([a-z-]+)"')

# file: function: why it needs none
EXEMPT = {
    "injector/base/fault-point.c": {"*": "kills on purpose"},
    "injector/base/io.c": {"inj_write_full": "who calls it is looked at"},
    "injector/stop/ptrace.c": {"inj_pt_belongs": "signal 0 asks, it changes nothing"},
    "injector/stop/agent.c": {"inj_agent_end": "signal 0 asks, it changes nothing"},
    "injector/process/process.c": {"*": "signal 0 asks, it changes nothing"},
    "dsud/registry/journal.c": {
        "make_directory": "an empty directory is what the next dsud makes as well",
        "lock_directory": "an empty file is what the next dsud makes as well",
    },
    "dsud/worker/worker.c": {"dsud_worker_start": "ends a worker that has not begun"},
}


def functions(text):
    """Name, body and first line of every function.

    It reaches from `{` to `}` in the first column, below a line with a parenthesis.
    """
    lines = text.split("\n")
    start = None
    for number, line in enumerate(lines):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            head = start - 1
            while head > 0 and (lines[head].startswith(("\t", " ")) or "(" not in lines[head]):
                head -= 1
            found = re.search(r"(\w+)\s*\(", lines[head])
            yield found.group(1) if found else "?", "\n".join(lines[start:number + 1]), start + 1
            start = None


def strip_comments(text):
    return re.sub(r"/\*.*?\*/", lambda found: re.sub(r"[^\n]", " ", found.group()), text,
                  flags=re.DOTALL)


def check_text(name, text):
    exempt = EXEMPT.get(name, {})
    for function, body, line in functions(strip_comments(text)):
        steps = [found for found in STEPS.finditer(body)]
        if not steps or function in exempt or "*" in exempt:
            continue
        points = [found.start() for found in POINT.finditer(body)]
        for step in steps:
            if not any(point > step.start() for point in points):
                yield (f"{name}:{line}: {function}() changes something "
                       f"({step.group().strip()}...) and passes no fault point after it")


def names_of(text):
    found = set()
    for point in POINT.finditer(strip_comments(text)):
        found.update(NAME.findall(point.group(1)))
    # change("thread-seized", ...) and the like: a helper that passes the point it is given.
    found.update(re.findall(r'\bchange\("([a-z-]+)"', text))
    return found


def self_test():
    bad = ['static int f(void)\n{\n\tif (pwrite(fd, a, b, c) < 0)\n\t\treturn 1;\n\treturn 0;\n}\n',
           'int g(void)\n{\n\tinj_fault_point("x");\n\treturn unlinkat(fd, name, 0);\n}\n',
           'int h(int a,\n      int b)\n{\n\treturn request(PTRACE_SETREGS, tid, 0, 0);\n}\n']
    good = ['int f(void)\n{\n\tpwrite(fd, a, b, c);\n\tinj_fault_point("x");\n\treturn 0;\n}\n',
            'int g(void)\n{\n\t/* kill(1, 9) */\n\treturn request(PTRACE_GETREGS, tid, 0, 0);\n}\n']
    return (all(list(check_text("x.c", text)) for text in bad)
            and not any(list(check_text("x.c", text)) for text in good)
            and names_of('inj_fault_point(install ? "a-b" : "c");') == {"a-b", "c"})


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    if not self_test():
        print("check-fault-points: the check itself does not find what it should")
        return 1
    problems, homes, n_steps = [], {}, 0
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.c")):
            name = str(path.relative_to(root))
            text = path.read_text()
            problems += check_text(name, text)
            n_steps += len(STEPS.findall(strip_comments(text)))
            for point in names_of(text):
                if homes.setdefault(point, name) != name:
                    problems.append(f"{name}: the fault point {point} also stands in "
                                    f"{homes[point]}")
    if "--list" in sys.argv:
        print("\n".join(sorted(homes)))
        return 0
    for problem in problems:
        print(problem)
    print(f"{n_steps} steps, {len(homes)} fault points, {len(problems)} problems")
    return 1 if problems or n_steps < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
