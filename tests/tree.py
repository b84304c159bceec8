# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the checks of the tree (check_*.py) share: how they report, and what they read."""
import re

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)

ATTRIBUTE = re.compile(r"__attribute__\(\((?:[^()]|\([^()]*\))*\)\)\s*")
FUNCTION = re.compile(r"^(?:[a-z_]\w*[ *\n]+)+?\**(\w+)\([^;{}]*\)\s*\n\{", re.M)


def functions(path):
    """The names of those that a file has the bodies of."""
    return FUNCTION.findall(ATTRIBUTE.sub("", path.read_text()))


def report(checks):
    """checks: (name, findings, what to do about them, or nothing), each finding a line of text. Prints TAP; returns the
    exit status."""
    print(f"1..{len(checks)}")
    bad = 0
    for number, (name, findings, *remedy) in enumerate(checks, 1):
        findings = list(findings)
        bad += bool(findings)
        print(f"{'not ok' if findings else 'ok'} {number} - {name}")
        for finding in findings:
            print(f"# {finding}")
        if findings and remedy:
            print(f"# What to do: {remedy[0]}")
    return 1 if bad else 0
