# SPDX-License-Identifier: MIT OR Apache-2.0
"""A Linux guest on blockpull serve: it writes, discards, flushes and reads back while the server is killed and once
replaced by another file, boots anew, reads all of it again, and sees the disk become longer (guest_rig.py). Or the disk comes and goes while it runs.
"""
import json
import os
import shutil
import signal
import time

import guest_rig
import harness
import vm
from guest_rig import PART, REPORT, UNIT, WORKERS, Server, until
from harness import MIB, bp, case, check, note, same
from images import image_check, image_info, qemu_img
from serve_rig import ask

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


class Pull:
    """A server's, which goes on behind what the image had when the server was killed: a pause writes all that was copied."""

    def __init__(self, server, top):
        self.server, self.top, self.held = server, top, 0

    def _until(self, what, is_so):
        deadline = harness.clock() + harness.WAIT
        while True:
            job = bp('ctl', '--json', self.server.control, 'info').json()
            if is_so(job):
                return job
            check(harness.clock() < deadline, f'the pull {what}: {job}')
            time.sleep(0.05)

    def _is_written(self, job):
        """The image has all that the pull has passed, whatever its server remembers."""
        rows = json.loads(qemu_img('map', '-U', '--output=json', '-f', 'qcow2', self.top).out)
        return job['state'] == 'paused' and all(row['depth'] == 0 for row in rows if row['start'] < job['cur'])

    def replace(self):
        self.server.replace(harness.blockpull)
        job = self._until('copies nothing', lambda job: job['bytes']['copied'])
        check(job['cur'] >= self.held, f'the image held all up to {self.held}, and the pull copies at {job["cur"]}')

    def replace_paused(self):
        bp('ctl', self.server.control, 'pause')
        self.held = self._until('does not pause', self._is_written)['cur']
        check(self.held, 'nothing was pulled')
        self.replace()


@case('a Linux guest writes through kills while its disk is pulled, and then the base goes')
def pulled(d):
    guest, n = guest_rig.program(d), 300
    vm.files(*vm.MODULES)
    seed, top = guest_rig.drawn(d, guest, 40 * MIB)
    server = Server(d, '--pull', '--bandwidth=256k', top)
    server.start(harness.blockpull)
    running = guest_rig.machine(d, guest, f'{seed} {n}')
    pull = Pull(server, top)
    until(running, WORKERS * (n // REPORT), 'WRITTEN', *[pull.replace_paused, pull.replace] * (KILLS // 2))
    note(f'{pull.held} bytes were pulled when it was paused last')
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


def plug(d):
    """As libvirt does it: with a connection of its own."""
    chardev = {'type': 'socket', 'data': {'addr': {'type': 'unix', 'data': {'path': f'{d}/s'}}, 'server': False, 'reconnect': 1}}
    for name, arguments in (('chardev-add', {'id': 'c', 'backend': chardev}),
                            ('device_add', {'driver': 'vhost-user-blk-pci', 'id': 'disk', 'chardev': 'c', 'num-queues': 2, 'bus': 'rp0'})):
        said = ask(f'{d}/q', {'execute': name, 'arguments': arguments})[0]
        check('return' in said, f'{name}: {said}')


def unplug(d, running):
    """The guest gives it away, then QEMU does."""
    devices = {'execute': 'qom-list', 'arguments': {'path': '/machine/peripheral'}}
    same(ask(f'{d}/q', {'execute': 'device_del', 'arguments': {'id': 'disk'}})[0], {'return': {}}, 'device_del')
    running.until('GONE')
    deadline = harness.clock() + harness.WAIT
    while 'disk' in (device['name'] for device in ask(f'{d}/q', devices)[0]['return']):
        check(harness.clock() < deadline, 'QEMU keeps the device')
        time.sleep(0.05)
    # QEMU has it in use for a moment longer.
    while (said := ask(f'{d}/q', {'execute': 'chardev-remove', 'arguments': {'id': 'c'}})[0]) != {'return': {}}:
        check('busy' in str(said) and harness.clock() < deadline, f'chardev-remove: {said}')
        time.sleep(0.05)


@case('a disk is plugged into a running guest, written to, unplugged, and plugged in again')
def plugged(d):
    guest, n = guest_rig.program(d), 100
    vm.files(*vm.MODULES)
    seed, top = guest_rig.drawn(d, guest)
    server = Server(d, top)
    server.start(harness.blockpull)
    running = guest_rig.machine(d, guest, f'{seed} {n} plugged', '-device', 'pcie-root-port,id=rp0', '-qmp', f'unix:{d}/q,server=on,wait=off', has_disk=False)
    for n_lines, word in (WORKERS * (n // REPORT), 'WRITTEN'), (WORKERS * (PART // UNIT // 16), 'VERIFIED'):
        running.until('READY')
        plug(d)
        until(running, n_lines, word)
        unplug(d, running)
        same(image_check(top, 'qcow2'), 0, 'qemu-img check, whose lock it is while there is no machine')
    ask(f'{d}/q', {'execute': 'quit'})
    running.ended()
    server.end(signal.SIGTERM, 0)
    guest_rig.judge(d, guest, top, seed, n)


if __name__ == '__main__':
    harness.main(workers=1)
