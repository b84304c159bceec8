# SPDX-License-Identifier: MIT OR Apache-2.0
"""An image goes from one server to another and back: by our own frontends, and with QEMU in a migration."""
import os
import time

import harness
import images
import processes
from handover_rig import Holder, has, heard
from harness import case, check, refused, same
from images import image_check
from serve_rig import FIRST, Front, after_the_guest, ask, boot_disk, disk, end, machine, over, running, serial, serving, wait_for_rows


def judge_left(servers, top, wanted):
    """The machine has ended: so do the servers, and the image has what its guest wrote."""
    for server in servers:
        end(server)
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')
    images.compare_flat(top, 'qcow2', wanted)


# ---- Two servers --------------------------------------------------------------------------------

@case('--incoming holds no lock and writes nothing before a ring runs, and then takes all')
def incoming(d):
    top = disk(d)
    before = os.stat(top).st_mtime_ns
    server, front = serving(d, '--incoming', top), Front(d)
    front.do('connect')
    has(top, True, 'before a ring runs')
    same(os.stat(top).st_mtime_ns, before, 'the image was written to')
    images.qemu_io(top, 'qcow2', 'write -P 0xb1 1M 64k')
    front.do('start')
    front.do('read', 0, 2048, answer=0xb1)
    has(top, False, 'it runs')
    over(server, front)
    refused(1, ['nowhere'], 'serve', '--incoming', f'--socket-path={d}/s', f'{d}/nowhere.img')
    end(serving(d, '--incoming', top))
    server, front = running(d, '--incoming', '--read-only', top)
    front.do('read', 0, 2048, answer=0xb1)
    has(top, False, 'for reading')
    front.do('stop')
    has(top, True, 'for reading, stopped')
    over(server, front)


@case('an image goes forth and back between two servers, in both orders of stop and start', 'qcow2')
@case('an image goes forth and back between two servers: QED', 'qed', None)
@case('an image goes forth and back between two servers: an external data file', 'qcow2', 'data_file={d}/top.data')
def forth_and_back(d, fmt, *options):
    top = disk(d, fmt, *(option and option.format(d=d) for option in options))
    for place in 'one', 'two':
        os.mkdir(f'{d}/{place}')
    servers = [serving(f'{d}/one', top), serving(f'{d}/two', '--incoming', top)]
    fronts = [Front(f'{d}/one'), Front(f'{d}/two')]
    for front in fronts:
        front.do('connect')
    fronts[0].do('start')
    values = {}
    for turn in range(6):
        a, b = fronts[turn % 2], fronts[1 - turn % 2]
        for sector in range(0, 2048, 512):
            values[sector + 8 * turn] = 16 * turn + sector // 512 + 1
            a.do('write', 0, sector + 8 * turn, values[sector + 8 * turn], answer=0)
        if turn % 2:  # the destination asks too early
            b.do('start')
            b.do('send', 0, 4096 + 8 * turn, turn + 1)
            heard(servers[1 - turn % 2], 'waits')
            a.do('stop')
            b.do('get', 0, 20000, answer=0)
            values[4096 + 8 * turn] = turn + 1
        else:
            a.do('stop')
            b.do('start')
        for sector, value in values.items():
            b.do('read', 0, sector, answer=value)
        b.do('read', 0, 100, answer=FIRST)
    for front in fronts:
        front.over()
    for server in servers:
        end(server)
    same(image_check(top, fmt), 0, 'qemu-img check')


# ---- QEMU ---------------------------------------------------------------------------------------

def qmp(d, *requests):
    return ask(f'{d}/q', *requests)


def migrated(place):
    """Waits for the end of a migration; what it was."""
    deadline = harness.clock() + harness.WAIT
    while True:
        status = qmp(place, {'execute': 'query-migrate'})[0]['return'].get('status')
        if status in ('completed', 'failed', 'cancelled'):
            return status
        check(harness.clock() < deadline, f'the migration is {status}')
        time.sleep(0.02)


def start_machine(place, *args):
    qemu = machine(place, '-qmp', f'unix:{place}/q,server=on,wait=off', *args)
    processes.wait_listening(qemu, f'{place}/q')
    return qemu


def rows_so_far(places):
    return sum(serial(place).count('.') for place in places)


def move(here, there, qemu, socket):
    """Migrates the guest; the QEMU that has it now."""
    other = start_machine(there, '-incoming', f'unix:{socket}')
    processes.wait_listening(other, socket)
    same('return' in qmp(here, {'execute': 'migrate', 'arguments': {'uri': f'unix:{socket}'}})[0], True, 'it migrates')
    same(migrated(here), 'completed', 'the migration')
    qmp(here, {'execute': 'quit'})
    harness.finish(qemu)
    return other


@case('a guest that writes moves from one QEMU to another and back, on one image')
@case('a guest that writes moves while its image is pulled', '--pull', '--bandwidth=256k')
def migrates(d, *args):
    top = boot_disk(d)
    wanted = after_the_guest(top, f'{d}/wanted')
    places = [f'{d}/{n}' for n in range(3)]
    for place in places:
        os.mkdir(place)
    servers = [serving(places[0], *args, top), serving(places[1], '--incoming', *args, top)]
    os.symlink(f'{places[0]}/s', f'{places[2]}/s')  # it comes back to the first server
    qemu = start_machine(places[0])
    for n in range(2):
        deadline = harness.clock() + harness.WAIT
        while rows_so_far(places) < 20 * (n + 1):
            check(harness.clock() < deadline, 'the guest stands still')
            time.sleep(0.02)
        qemu = move(places[n], places[n + 1], qemu, f'{d}/in{n}')
    result = harness.finish(qemu, timeout=90)
    same(result.rc, 33, f'the last QEMU: {result}')
    rows = [serial(place).count('.') for place in places]
    check(all(rows) and sum(rows) == 200, f'rows that were written on each side: {rows}')
    harness.note(f'{rows}')
    judge_left(servers, top, wanted)


@case('the destination finds the image taken: the guest waits there, and goes on behind it')
def migrates_late(d):
    top = boot_disk(d)
    wanted = after_the_guest(top, f'{d}/wanted')
    places = [f'{d}/{n}' for n in range(2)]
    for place in places:
        os.mkdir(place)
    servers = [serving(places[0], top), serving(places[1], '--incoming', top)]
    qemu = start_machine(places[0])
    wait_for_rows(places[0], 20)
    qmp(places[0], {'execute': 'stop'})
    other = Holder(top)
    qemu = move(places[0], places[1], qemu, f'{d}/in')
    qmp(places[1], {'execute': 'cont'})
    heard(servers[1], 'waits')
    other.over()
    same(harness.finish(qemu, timeout=90).rc, 33, 'the last QEMU')
    judge_left(servers, top, wanted)


@case('a guest that is stopped and goes on, and that is reset: the locks go and come')
def rebooted(d):
    top = boot_disk(d)
    wanted = after_the_guest(top, f'{d}/wanted')
    server, qemu = serving(d, top), start_machine(d)
    wait_for_rows(d, 20)
    has(top, False, 'it runs')
    qmp(d, {'execute': 'stop'})
    has(top, True, 'it is stopped')
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')
    qmp(d, {'execute': 'cont'})
    wait_for_rows(d, 40)
    has(top, False, 'it goes on')
    qmp(d, {'execute': 'set-action', 'arguments': {'reboot': 'reset'}}, {'execute': 'system_reset'})
    same(harness.finish(qemu, timeout=90).rc, 33, 'QEMU')
    check(serial(d).count('BOOTED') == 2, f'how often it booted: {serial(d)}')
    judge_left([server], top, wanted)


if __name__ == '__main__':
    harness.main(workers=2)
