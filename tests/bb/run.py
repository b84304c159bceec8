#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs one black-box test by its name, whatever room it is in:

    python3 -B tests/bb/run.py kill build/tools/blockpull [WORD]

A test sees the modules of its own room and of support/, and no other room's: so two rooms share nothing but what
support/ has. A package of packages was rejected: a test is a program that is started by its file."""
import pathlib
import runpy
import sys

HERE = pathlib.Path(__file__).resolve().parent


def find(name):
    """The file of a test: 'kill', 'faults/kill' or the path of the file."""
    stem = pathlib.PurePath(name).stem.removeprefix('test_')
    found = sorted(HERE.glob(f'*/test_{stem}.py'))
    if len(found) != 1:
        sys.exit(f'{name}: there {"is no such test" if not found else "are several such tests"} in the rooms of {HERE}')
    return found[0]


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    path = find(sys.argv[1])
    # The program's name is shown as how to run it again.
    sys.argv = [f'{sys.argv[0]} {path.stem.removeprefix("test_")}', *sys.argv[2:]]
    sys.path[:1] = [str(path.parent), str(HERE / 'support')]
    runpy.run_path(str(path), run_name='__main__')


if __name__ == '__main__':
    main()
