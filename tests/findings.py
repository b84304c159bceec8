# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the sanitizers wrote while the tests ran: findings.py DIRECTORY. Exit status 1 if there is anything of ours.

A leak or a race makes a process end with a status of its own, but a unit test has told its runner of success by
then, and the runner does not look at how the test's process ends. So each process writes its reports to a file of
DIRECTORY. A leak without a line of this project in its stack is the test framework's own: its runner loses a timer
now and then."""
import pathlib
import re
import sys

# Where a report begins; a report of leaks has a stack for each.
# A sanitizer that gives up has not looked.
BEGIN = re.compile(r'^(?=(?:Direct|Indirect) leak of |==\d+==(?:ERROR: AddressSanitizer|FATAL: |\w+Sanitizer[: ])|'
                   r'(?:WARNING|FATAL): ThreadSanitizer|.*runtime error: )', re.M)
LEAK = re.compile(r'(?:Direct|Indirect) leak of ')
OURS = re.compile(r' in \S+ \.\./(?!\.\.)')


def reports(text):
    """Each with its first stack, and without what differs from process to process."""
    for part in BEGIN.split(text)[1:]:
        if LEAK.match(part) and not OURS.search(part):
            continue
        part = part.split('\nSUMMARY')[0].split('\nShadow bytes')[0]
        yield re.sub(r'0x[0-9a-f]{6,}|==\d+==|\(pid=\d+\)', '', part).strip()


def main():
    found = {}
    for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
        for report in reports(path.read_text(errors='replace')):
            found.setdefault(report, []).append(path.name)
    for report, names in found.items():
        print(f'{report}\n({len(names)} times)\n', file=sys.stderr)
    print(f'{len(found)} findings of the sanitizers')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
