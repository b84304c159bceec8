# SPDX-License-Identifier: MIT OR Apache-2.0
"""A server of another version takes a killed one's place. There is no older release, and no other server for qcow2 keeps
the region of requests in flight; so one that shares no code with ours (tests/serve/other.c) and ours take turns on a raw disk.
"""
import os

import facts
import harness
from harness import case, check
from serve_rig import FIRST, SIZE, frontend


@case('ours makes the region, and the other one goes on from it: QEMU before 7.2', 'qemu-old', True, 'uring')
@case('the other one makes the region, and ours goes on from it: QEMU before 7.2, indirect descriptors', 'qemu-old', False, 'uring', '-i')
@case('the other one makes the region: Cloud Hypervisor, which does not ask again what a server can', 'cloud-hypervisor', True, 'uring', '-i')
@case('the other one\'s region with Cloud Hypervisor and threads', 'cloud-hypervisor', False, 'threads')
def in_turn(d, order, is_first, io, *args):
    with open(f'{d}/disk', 'wb') as file:
        file.write(bytes([FIRST]) * SIZE)
    ours = [harness.blockpull, 'serve', '--quiet', '--format=raw', f'--socket-path={d}/s', *facts.possible([f'--io={io}']), f'{d}/disk']
    other = [os.path.join(os.path.dirname(harness.blockpull), '..', 'tests', 'vhost_other'), f'--socket-path={d}/s', f'{d}/disk']
    one, two = (ours, other) if is_first else (other, ours)
    said = frontend('storm', '-f', FIRST, '-d', 32, '-q', 2, '-s', 2, '-k', 150, '-o', order, *args, '--', *one, '--then', *two)
    harness.note(said.out.strip() + ', ' + said.err.splitlines()[0])
    check(int(said.out.split()[2]) >= 3, 'too few deaths')


if __name__ == '__main__':
    harness.main(workers=2)
