#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Holds every include line of the project against include-rules.txt, and a few words against the
code: only injector/stop calls ptrace, only injector/txn writes target memory, every source file has
its licence line."""
import pathlib
import re
import sys

ROOMS = ("injector", "protocols", "dsud", "dsuctl", "tests")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
WRITERS = re.compile(r"\b(process_vm_writev|pwrite(64)?|PTRACE_POKE\w+)\s*\(")
TRACERS = re.compile(r"\bptrace\s*\(")
LICENCE = "SPDX-License-Identifier: LGPL-2.1-or-later"


def read_rules(path):
    rules = {}
    for line in path.read_text().splitlines():
        line = line.split("#", 1)[0].strip()
        if line:
            folder, _, allowed = line.partition(":")
            rules[folder.strip()] = allowed.split()
    return rules


def below(name, folder):
    return name == folder or name.startswith(folder + "/")


def rule_of(rules, name):
    found = [folder for folder in rules if below(name, folder)]
    return max(found, key=len) if found else None


def check_include(rules, name, target):
    home = rule_of(rules, name)
    if home is None:
        return "stands in no room"
    at_home = pathlib.PurePath(target).parent == pathlib.PurePath(name).parent
    if target.endswith("-priv.h") and not at_home:
        if not name.startswith("tests/"):
            return f"includes {target}, which is private to its folder"
    if below(target, home) or any(below(target, folder) for folder in rules[home]):
        return None
    return f"may not include {target} ({home} may include: {', '.join(rules[home]) or 'nothing'})"


def check_file(rules, root, path):
    name = str(path.relative_to(root))
    text = path.read_text(errors="replace")
    if LICENCE not in text[:400]:
        yield f"{name}: no licence line"
    for target in INCLUDE.findall(text):
        # Names without a room are found beside the file, as generated and victim headers are.
        if target.split("/")[0] not in ROOMS:
            continue
        problem = check_include(rules, name, target)
        if problem:
            yield f"{name}: {problem}"
    if name.startswith("tests/"):
        return
    if TRACERS.search(text) and not name.startswith(("injector/stop/", "dsuctl/")):
        yield f"{name}: calls ptrace outside injector/stop"
    if WRITERS.search(text) and not name.startswith("injector/"):
        return
    if re.search(r"\b(process_vm_writev|PTRACE_POKE\w+)\b", text) and not name.startswith(
            ("injector/txn/", "injector/stop/")):
        yield f"{name}: writes target memory outside injector/txn"


def self_test(rules):
    bad = [("injector/base/why.c", "injector/process/maps.h"),
           ("protocols/plan.c", "dsud/contract.h"),
           ("injector/txn/code.c", "injector/stop/ptrace-priv.h"),
           ("dsuctl/main.c", "dsud/manager.h")]
    good = [("protocols/plan.c", "injector/image/image.h"), ("dsuctl/main.c", "dsud/contract.h")]
    return (all(check_include(rules, *pair) for pair in bad)
            and not any(check_include(rules, *pair) for pair in good))


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    rules = read_rules(root / "tests/lint/include-rules.txt")
    if not self_test(rules):
        print("the rules no longer tell wrong from right")
        return 1
    files = sorted(path for room in ROOMS for path in (root / room).rglob("*")
                   if path.suffix in (".c", ".h", ".cc") and path.is_file())
    problems = [problem for path in files for problem in check_file(rules, root, path)]
    print("\n".join(problems) or f"{len(files)} files, all arrows point one way")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
