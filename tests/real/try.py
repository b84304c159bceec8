#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Bases behind real servers, on this machine alone; nothing is left behind. README.md says what each scenario has.

usage: try.py BLOCKPULL [--only A,B] [--mib N] [--seed N]
"""
import argparse
import pathlib
import random
import signal
import sys
import time

import bandwidth
import chain
import nbd
import protocols
from rig import Failed, Rig, Skip

SCENARIOS = {'web': protocols.web, 's3': protocols.s3, 'ssh': protocols.ssh, 'tls': nbd.tls, 'qemu-nbd': nbd.qemu_nbd,
             'chain': chain.mixed, 'bandwidth': bandwidth.link}


def attempt(what, options):
    began = time.monotonic()
    try:
        with Rig(options.blockpull.resolve(), options.seed) as rig:
            rig.mib = options.mib
            try:
                verdict, how = 'ok', SCENARIOS[what](rig)
            except Failed:
                rig.show_logs()
                raise
    except Skip as reason:
        verdict, how = 'skipped', str(reason)
    except Failed as story:
        verdict, how = 'FAILED', str(story)
    print(f'{verdict}: {what}: {how}', file=sys.stderr, flush=True)
    return what, verdict, f'{time.monotonic() - began:.0f} s', how


def main():
    parser = argparse.ArgumentParser(description='Bases behind real servers, on this machine.')
    parser.add_argument('blockpull', type=pathlib.Path)
    parser.add_argument('--mib', type=int, default=192, help='MiB of the disk whose bandwidth is measured (192)')
    parser.add_argument('--seed', type=int, default=random.randrange(1 << 30))
    parser.add_argument('--only', metavar='A,B', help=', '.join(SCENARIOS))
    options = parser.parse_args()
    chosen = options.only.split(',') if options.only is not None else list(SCENARIOS)
    if unknown := [name for name in chosen if name not in SCENARIOS]:
        parser.error(f"--only: no scenario '{unknown[0]}'; they are: {', '.join(SCENARIOS)}")
    if not 16 <= options.mib <= 4096:
        parser.error('--mib is from 16 to 4096')
    for number in signal.SIGTERM, signal.SIGHUP:  # as Ctrl-C does: what was started is ended
        signal.signal(number, lambda *_: sys.exit(1))
    print(f'# seed {options.seed}', file=sys.stderr)
    rows = [attempt(name, options) for name in chosen]
    for row in rows:
        print('{:<11}{:<9}{:>6}  {}'.format(*row))
    n = [sum(row[1] == verdict for row in rows) for verdict in ('ok', 'FAILED', 'skipped')]
    print(f'remote: {n[0]} passed, {n[1]} failed, {n[2]} skipped')
    sys.exit(n[1] > 0)


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
