#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check-style SOURCE: what a reader of the code may rely on, as far as a program can tell: no line
goes beyond 100 columns (a tab is 8), and none ends in white space."""
import pathlib
import sys

ROOMS = ("injector", "protocols", "dsud", "dsuctl", "tests", "docs")
ENDINGS = (".c", ".h", ".cc", ".S", ".py", ".py.in", "meson.build", "meson_options.txt")
COLUMNS = 100


def check_text(name, text):
    for number, line in enumerate(text.splitlines(), 1):
        columns = len(line.expandtabs(8))
        if columns > COLUMNS:
            yield f"{name}:{number}: {columns} columns, {COLUMNS} are enough; break the line"
        if line != line.rstrip():
            yield f"{name}:{number}: ends in white space"


def self_test():
    bad = ["\t" * 12 + "abcdef\n", "x \n", "x" * 101 + "\n"]
    good = ["\t" * 12 + "abcd\n", "x" * 100 + "\n"]
    return (all(list(check_text("x.c", text)) for text in bad)
            and not any(list(check_text("x.c", text)) for text in good))


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    if not self_test():
        print("the rules no longer tell wrong from right")
        return 1
    files = [path for path in root.iterdir() if path.is_file() and path.name.endswith(ENDINGS)]
    files += [path for room in ROOMS for path in (root / room).rglob("*")
              if path.is_file() and path.name.endswith(ENDINGS)]
    problems = [problem for path in sorted(files)
                for problem in check_text(str(path.relative_to(root)), path.read_text())]
    print("\n".join(problems) or f"{len(files)} files, no line beyond {COLUMNS} columns")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
