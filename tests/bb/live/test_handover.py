# SPDX-License-Identifier: MIT OR Apache-2.0
"""An image goes from one server to another and back: by our own frontend in each order of messages, and with QEMU in a
migration. The locks tell which of them has the image: a program that wants to write to it is refused, or not.
"""
import os
import select
import signal
import subprocess
import time

import harness
import images
import processes
from harness import LOCKED, bp, case, check, refused, same
from images import image_check, image_info, qemu_img
from serve_rig import FIRST, SIZE, Front, after_the_guest, ask, boot_disk, disk, end, machine, serial, serving, wait_for_rows


def is_free(image):
    """Whether a program that wants to write to it may."""
    result = harness.run('qemu-io', '-f', 'qcow2', '-c', 'read 0 512', image)
    check(result.rc == 0 or 'lock' in result.err, f'qemu-io: {result}')
    return result.rc == 0


def has(image, free, when):
    same(is_free(image), free, f'{when}: another program may have the image')


class Holder:
    """Another program that has the image for writing."""

    def __init__(self, image):
        self.process = harness.start('qemu-io', '-f', 'qcow2', image, stdin=subprocess.PIPE)
        self.ask('read 0 512')

    def ask(self, line):
        self.process.stdin.write(line.encode() + b'\n')
        self.process.stdin.flush()
        while b'ops' not in self.process.stdout.readline():
            check(self.process.poll() is None, 'qemu-io has ended')

    def over(self):
        self.process.stdin.close()
        same(harness.finish(self.process, timeout=20).rc, 0, 'qemu-io')


def heard(server, word):
    """Reads what the server says up to a line with this word. What it says behind that is left where it is."""
    deadline, line = time.monotonic() + harness.WAIT, b''
    while not line.endswith(b'\n') or word.encode() not in line:
        left = deadline - time.monotonic()
        check(left > 0 and select.select([server.stderr], [], [], left)[0], f'the server does not say {word}, but {line}')
        byte = os.read(server.stderr.fileno(), 1)
        check(byte, f'the server ended before it said {word}')
        line = byte if line.endswith(b'\n') else line + byte
    return line.decode()


# ---- One server ---------------------------------------------------------------------------------

@case('the last ring that is stopped gives the locks back, a ring that runs takes them: QEMU', 'qemu')
@case('the same: QEMU before 7.2', 'qemu-old')
@case('the same: Cloud Hypervisor', 'cloud-hypervisor')
@case('the same: crosvm', 'crosvm')
@case('the same with threads', 'qemu', '--io=threads')
def locks_move(d, order, *args):
    top = disk(d)
    server, front = serving(d, *args, top), Front(d, '-o', order, '-q', 2)
    has(top, False, 'before a frontend')
    front.do('connect')
    has(top, False, 'without a ring')
    front.do('start')
    front.do('write', 0, 8, 0x21, answer=0)
    front.do('down', 0)
    has(top, False, 'one ring runs still')
    front.do('write', 1, 16, 0x22, answer=0)
    front.do('down', 1)
    has(top, True, 'both are stopped')
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')
    images.qemu_io(top, 'qcow2', 'read -P 0x21 4k 4k', 'read -P 0x22 8k 4k', 'write -P 0x23 12k 4k', 'write -P 0x24 8M 4k')
    front.do('down', 0)
    has(top, True, 'stopped once more')
    front.do('up', 1)
    front.do('read', 1, 24, answer=0x23)
    has(top, False, 'one runs again')
    front.do('up', 0)
    front.do('read', 0, 16384, answer=0x24)
    front.do('read', 0, 8, answer=0x21)
    front.do('write', 0, 16384, 0x25, answer=0)
    front.do('stop')
    has(top, True, 'at the end')
    front.over()
    end(server)
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')
    images.qemu_io(top, 'qcow2', 'read -P 0x25 8M 4k')


@case('a reset of the device gives the locks back')
def reset(d):
    top = disk(d)
    server, front = serving(d, top), Front(d)
    front.runs()
    front.do('write', 0, 0, 0x31, answer=0)
    front.do('reset')
    has(top, True, 'after the reset')
    front.do('connect')
    front.do('start')
    front.do('read', 0, 0, answer=0x31)
    has(top, False, 'it runs again')
    front.over()
    end(server)


@case('a ring that is disabled keeps the locks')
def disabled(d):
    top = disk(d)
    server, front = serving(d, top), Front(d)
    front.runs()
    front.do('off', 0)
    has(top, False, 'it may be enabled again')
    front.over()
    end(server)


@case('a frontend that dies leaves the locks, and the next one goes on; what it stopped stays stopped')
def frontend_dies(d):
    top = disk(d)
    server, front = serving(d, top), Front(d)
    front.runs()
    front.do('write', 0, 0, 0x41, answer=0)
    front.dies()
    front = Front(d)
    front.do('connect')  # the server has seen the other's end
    has(top, False, 'its rings were not stopped')
    front.do('start')
    front.do('read', 0, 0, answer=0x41)
    front.do('stop')
    front.do('disconnect')
    has(top, True, 'it left in peace')
    front.runs()
    front.do('read', 0, 0, answer=0x41)
    has(top, False, 'it is back')
    front.over()
    end(server)


@case('another program has the image: the machine waits, and goes on behind it; the server says why')
def another_program(d):
    top = disk(d)
    server, front = serving(d, top), Front(d)
    front.runs()
    front.do('write', 0, 0, 0x51, answer=0)
    front.do('stop')
    other = Holder(top)
    front.do('start')
    front.do('send', 0, 8, 0x52)
    said = heard(server, 'waits')
    check(top in said and 'in use' in said, said)
    front.do('get', 0, 1500, answer='none')
    other.ask('write -P 0x53 0 4k')
    front.do('stop')
    front.do('start')
    front.do('get', 0, 100, answer='none')
    other.over()
    front.do('get', 0, 20000, answer=0)
    check(top in heard(server, 'has its disk'), 'which disk')
    front.do('read', 0, 0, answer=0x53)
    front.do('read', 0, 8, answer=0x52)
    front.do('stop')
    front.over()
    same(end(server).err, '', 'what was said else')
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')


@case('SIGTERM while the machine waits, and while its rings are stopped: nothing is written')
def terminated(d):
    top = disk(d)
    for waits in False, True:
        server, front = serving(d, top), Front(d)
        front.runs()
        front.do('stop')
        other = Holder(top)
        if waits:
            front.do('start')
            front.do('send', 0, 0, 0x61)
            heard(server, 'waits')
        before = os.stat(top).st_mtime_ns
        end(server)
        same(os.stat(top).st_mtime_ns, before, 'the image was written to')
        other.over()
        front.dies()


@case('the image is another meanwhile: longer, with a snapshot, without its link')
def changed(d):
    top = disk(d)
    server, front = serving(d, top), Front(d)
    front.runs()
    front.do('write', 0, 0, 0x71, answer=0)
    front.do('stop')
    qemu_img('snapshot', '-c', 'one', top)
    front.do('start')
    front.do('write', 0, 0, 0x72, answer=0)
    end(server, signal.SIGKILL, 137)  # a write to a snapshot's cluster is durable when it is answered
    front.dies()
    images.qemu_io(top, 'qcow2', 'read -P 0x72 0 4k')
    check(image_check(top, 'qcow2') in (0, 3), 'qemu-img check finds more than leaks')
    qemu_img('snapshot', '-d', 'one', top)
    server, front = serving(d, top), Front(d)
    front.runs()
    front.do('stop')
    qemu_img('rebase', '-f', 'qcow2', '-b', '', top)
    qemu_img('resize', '-q', '-f', 'qcow2', top, str(2 * SIZE))
    os.unlink(f'{d}/base.raw')
    front.do('start')
    front.do('read', 0, 8, answer=FIRST)
    front.do('write', 0, SIZE // 512 + 8, 0x73, answer=0)
    front.do('stop')
    front.over()
    end(server)
    images.qemu_io(top, 'qcow2', f'read -P 0x73 {SIZE + 4096} 4k')


@case('a server that was killed while it waited does what is in flight when it has the image')
def killed(d):
    top = disk(d)
    server, front = serving(d, top), Front(d)
    front.runs()
    front.do('stop')
    other = Holder(top)
    front.do('start')
    front.do('send', 0, 8, 0x81)
    heard(server, 'waits')
    end(server, signal.SIGKILL, 137)
    refused(LOCKED, ['lock'], 'serve', f'--socket-path={d}/s', top)
    server = serving(d, '--incoming', top)
    front.runs()
    heard(server, 'waits')
    other.over()
    front.do('get', 0, 20000, answer=0)
    front.do('read', 0, 8, answer=0x81)
    front.over()
    end(server)


# ---- The pull -----------------------------------------------------------------------------------

def job(d):
    return ask(f'{d}/c', {'execute': 'query-block-jobs'})[0]['return']


@case('a pull stops with the rings and goes on with them, and clients see a pause')
@case('the same of a pull to a base', 'base.raw')
def pull_goes_on(d, *base):
    top = disk(d)
    if base:
        os.rename(top, f'{d}/mid.img')
        images.qemu_io(f'{d}/mid.img', 'qcow2', 'write -P 0x90 8M 4M')
        images.overlay(top, 'mid.img', base_fmt='qcow2')
    server = serving(d, '--pull', '--bandwidth=1M', f'--control={d}/c', *(f'--base={name}' for name in base), top)
    front = Front(d)
    front.runs()
    for _ in range(2):
        front.do('stop')
        has(top, True, 'while it is paused')
        told = job(d)
        same([(j['status'], j['paused'], j['device']) for j in told], [('paused', True, top)], 'the job')
        for request in ({'execute': 'block-job-cancel', 'arguments': {'device': top}}, {'execute': 'job-resume', 'arguments': {'id': top}},
                        {'execute': 'block-job-set-speed', 'arguments': {'device': top, 'speed': 0}},
                        {'execute': 'block_resize', 'arguments': {'device': top, 'size': 2 * SIZE}},
                        {'execute': 'block-stream', 'arguments': {'device': top, 'job-id': 'second'}}):
            answer = ask(f'{d}/c', request)[0]
            check('inactive' in answer.get('error', {}).get('desc', ''), f'{request}: {answer}')
        refused(1, ['inactive'], 'ctl', f'{d}/c', 'pause')
        same(image_check(top, 'qcow2'), 0, 'qemu-img check')
        front.do('start')
        front.do('read', 0, 8, answer=FIRST)
        same([j['status'] for j in job(d)], ['running'], 'it goes on')
        same(job(d)[0]['speed'], 1 << 20, 'its speed')
    bp('ctl', f'{d}/c', 'pause')
    front.do('stop')
    front.do('start')
    front.do('read', 0, 8, answer=FIRST)
    same([(j['status'], j['paused']) for j in job(d)], [('paused', True)], 'a pause of a client\'s own stays')
    bp('ctl', f'{d}/c', 'resume')
    bp('ctl', f'{d}/c', 'speed', '0')
    bp('ctl', f'{d}/c', 'wait')
    front.over()
    end(server)
    same(image_info(top).get('backing-filename'), base[0] if base else None, 'the backing file')
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')
    images.qemu_io(top, 'qcow2', 'read -P 0x90 8M 4M' if base else f'read -P {FIRST} 0 {SIZE}')


@case('without a control socket a pull goes on, too; it ends in the other server')
def pull_moves(d):
    top = disk(d)
    for place in 'one', 'two':
        os.mkdir(f'{d}/{place}')
    here = serving(f'{d}/one', '--pull', '--bandwidth=1M', top)
    there = serving(f'{d}/two', '--incoming', '--pull', top)
    front, other = Front(f'{d}/one'), Front(f'{d}/two')
    front.runs()
    front.do('write', 0, 8, 0xa1, answer=0)
    front.do('stop')
    other.runs()
    other.do('read', 0, 8, answer=0xa1)
    heard(there, 'stands alone')
    other.do('stop')
    front.do('start')
    front.do('read', 0, 8, answer=0xa1)
    heard(here, 'stands alone')  # it finds nothing to do
    front.over()
    other.over()
    end(here)
    end(there)
    check('backing-filename' not in image_info(top), 'it has a backing file still')


@case('a client that cancels a pull has it canceled, also where the rings stop then')
def canceled(d):
    top = disk(d)
    server, front = serving(d, '--pull', '--bandwidth=1M', f'--control={d}/c', top), Front(d)
    front.runs()
    bp('ctl', f'{d}/c', 'abort')
    front.do('stop')
    front.do('start')
    front.do('read', 0, 8, answer=FIRST)
    same(job(d), [], 'jobs')
    front.over()
    end(server)


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
    front.over()
    end(server)
    refused(1, ['nowhere'], 'serve', '--incoming', f'--socket-path={d}/s', f'{d}/nowhere.img')
    end(serving(d, '--incoming', top))
    server, front = serving(d, '--incoming', '--read-only', top), Front(d)
    front.runs()
    front.do('read', 0, 2048, answer=0xb1)
    has(top, False, 'for reading')
    front.do('stop')
    has(top, True, 'for reading, stopped')
    front.over()
    end(server)


@case('an image goes forth and back between two servers, in both orders of stop and start', 'qcow2')
@case('the same: QED', 'qed', None)
@case('the same with an external data file', 'qcow2', 'data_file={d}/top.data')
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
    deadline = time.monotonic() + harness.WAIT
    while True:
        status = qmp(place, {'execute': 'query-migrate'})[0]['return'].get('status')
        if status in ('completed', 'failed', 'cancelled'):
            return status
        check(time.monotonic() < deadline, f'the migration is {status}')
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
@case('the same while the image is pulled', '--pull', '--bandwidth=256k')
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
        deadline = time.monotonic() + harness.WAIT
        while rows_so_far(places) < 20 * (n + 1):
            check(time.monotonic() < deadline, 'the guest stands still')
            time.sleep(0.02)
        qemu = move(places[n], places[n + 1], qemu, f'{d}/in{n}')
    result = harness.finish(qemu, timeout=90)
    same(result.rc, 33, f'the last QEMU: {result}')
    rows = [serial(place).count('.') for place in places]
    check(all(rows) and sum(rows) == 200, f'rows that were written on each side: {rows}')
    harness.note(f'{rows}')
    for server in servers:
        end(server)
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')
    images.compare_flat(top, 'qcow2', wanted)


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
    for server in servers:
        end(server)
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')
    images.compare_flat(top, 'qcow2', wanted)


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
    end(server)
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')
    images.compare_flat(top, 'qcow2', wanted)


if __name__ == '__main__':
    harness.main(workers=2)
