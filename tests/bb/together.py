#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs black-box tests side by side and prints one TAP report of them all:

    python3 -B tests/bb/together.py rate rates host_budget build/tools/blockpull

For tests that mind the clock. They need a quiet machine, but sleep nearly all the time, so they don't disturb each other;
one after the other they would leave the machine idle for two minutes."""
import pathlib
import re
import subprocess
import sys

RUN = pathlib.Path(__file__).resolve().parent / 'run.py'


def renumbered(report, first):
    """A report's TAP without its plan, its cases counted on from `first`; and how many cases it has."""
    lines, count = [], 0
    for line in report.splitlines():
        if re.match(r'\d+\.\.\d+', line):
            continue
        case = re.match(r'((?:not )?ok) \d+(.*)', line)
        if case:
            line = f'{case[1]} {first + count}{case[2]}'
            count += 1
        lines.append(line)
    return lines, count


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    *names, program = sys.argv[1:]
    running = [(name, subprocess.Popen([sys.executable, '-B', str(RUN), name, program], stdout=subprocess.PIPE, text=True))
               for name in names]
    cases, failed = 0, []
    for name, process in running:
        lines, count = renumbered(process.communicate()[0], cases + 1)
        print('\n'.join([f'# {name}', *lines]), flush=True)
        cases += count
        if process.returncode or not count:
            failed.append(name)
    print(f'1..{cases}')
    sys.exit(f'failed: {", ".join(failed)}' if failed else 0)


if __name__ == '__main__':
    main()
