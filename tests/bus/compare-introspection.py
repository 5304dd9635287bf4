#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""compare-introspection.py DOCUMENTED RUNNING: the interface of the first file, a description that
is kept by hand, and of the second, what a running daemon says, are the same: members, names of
arguments, signatures, directions, access, annotations. Prints every difference."""
import sys
import xml.etree.ElementTree as ET


def describe(element):
    lines = set()
    for member in element:
        if member.tag not in ('method', 'signal', 'property'):
            continue
        name = f"{member.tag} {member.get('name')}"
        arguments = []
        for argument in member.findall('arg'):
            direction = argument.get('direction', 'out' if member.tag == 'signal' else 'in')
            arguments.append(f"{direction} {argument.get('type')} {argument.get('name')}")
        lines.add(f"{name} ({', '.join(arguments)})")
        if member.tag == 'property':
            lines.add(f"{name}: {member.get('type')} {member.get('access')}")
        for annotation in member.findall('annotation'):
            lines.add(f"{name}: {annotation.get('name')}={annotation.get('value')}")
    return lines


def interfaces(path):
    return {i.get('name'): describe(i) for i in ET.parse(path).getroot().iter('interface')}


documented, running = interfaces(sys.argv[1]), interfaces(sys.argv[2])
failures = 0
if len(documented) != 1:
    sys.exit(f'{sys.argv[1]}: describes {len(documented)} interfaces, not one')
for name, lines in documented.items():
    if not lines:
        sys.exit(f'{name}: nothing is documented')
    if name not in running:
        sys.exit(f'{name}: the running daemon has no such interface here')
    for line in sorted(lines - running[name]):
        print(f'{name}: documented, but not there: {line}')
        failures += 1
    for line in sorted(running[name] - lines):
        print(f'{name}: there, but not documented: {line}')
        failures += 1
sys.exit(1 if failures else 0)
