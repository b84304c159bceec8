# SPDX-License-Identifier: MIT OR Apache-2.0
"""A Linux guest on blockpull serve: it writes, discards, flushes and reads back while the server is killed and once
replaced by another file, boots anew, reads all of it again, and sees the disk become longer (guest_rig.py).
"""
import os
import shutil
import signal

import guest_rig
import harness
import vm
from guest_rig import PART, REPORT, UNIT, WORKERS, Server, until
from harness import MIB, bp, case, check, note, same
from images import image_info

KILLS = 8


def another_command(d):
    """What an upgrade leaves: the same verbs in another file, and the library beside it."""
    build = os.path.dirname(os.path.dirname(harness.blockpull))
    os.makedirs(f'{d}/newer/tools')
    shutil.copy(harness.blockpull, f'{d}/newer/tools/blockpull')
    shutil.copytree(f'{build}/engine', f'{d}/newer/engine', symlinks=True, ignore=lambda _, names: [n for n in names if '.so' not in n])
    return f'{d}/newer/tools/blockpull'


def lengthen(d, server, running):
    """The guest waits for that, and ends."""
    bp('ctl', server.control, 'resize', '+2M')
    running.until(f'size {os.path.getsize(f"{d}/base.raw") + 2 * MIB}')
    running.ended()


@case('a Linux guest writes through kills and an upgrade, and reads all of it again when it has booted anew')
def killed(d):
    guest, n = guest_rig.program(d), 600
    vm.files(*vm.MODULES)
    seed, top = guest_rig.drawn(d, guest)
    server, other = Server(d, top), another_command(d)
    server.start(harness.blockpull)
    running = guest_rig.machine(d, guest, f'{seed} {n}')
    kills = [lambda: server.replace(harness.blockpull)] * (KILLS // 2) + [lambda: server.replace(other)] * (KILLS - KILLS // 2)
    until(running, WORKERS * (n // REPORT), 'WRITTEN', *kills)
    until(running, WORKERS * (PART // UNIT // 16), 'VERIFIED', lambda: server.replace(other, signal.SIGTERM))
    same(running.lines.count('queues 2'), 2, 'two queues, at each boot')
    lengthen(d, server, running)
    server.end(signal.SIGTERM, 0)
    guest_rig.judge(d, guest, top, seed, n, 2 * MIB)


@case('a Linux guest writes through kills while its disk is pulled, and then the base goes')
def pulled(d):
    guest, n = guest_rig.program(d), 300
    vm.files(*vm.MODULES)
    seed, top = guest_rig.drawn(d, guest, 40 * MIB)
    server = Server(d, '--pull', '--bandwidth=256k', top)
    server.start(harness.blockpull)
    running = guest_rig.machine(d, guest, f'{seed} {n}')
    until(running, WORKERS * (n // REPORT), 'WRITTEN', *[lambda: server.replace(harness.blockpull)] * KILLS)
    running.until('VERIFIED')
    # The pull ends while the machine runs: a disk whose machine has gone rests, and its pull with it.
    job = bp('ctl', '--json', server.control, 'info').json()
    same(job['state'], 'running', f'the pull when the guest had verified: {job}')
    note(f'{job["cur"]} of {job["end"]} bytes were pulled when the guest had verified')
    bp('ctl', server.control, 'speed', '0')
    bp('ctl', server.control, 'wait')
    lengthen(d, server, running)
    server.end(signal.SIGTERM, 0)
    os.rename(f'{d}/base.raw', f'{d}/gone')
    check('backing-filename' not in image_info(top), 'it has a backing file still')
    os.rename(f'{d}/gone', f'{d}/base.raw')
    guest_rig.judge(d, guest, top, seed, n, 2 * MIB)


if __name__ == '__main__':
    harness.main(workers=1)
