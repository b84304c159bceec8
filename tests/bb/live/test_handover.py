# SPDX-License-Identifier: MIT OR Apache-2.0
"""A server whose frontend stops its rings gives the image's locks back and takes them when one runs again, by our own frontend in
each order of messages; its pull stops and goes on with them. The locks tell who has the image: a program that wants to write to it
is refused, or not.
"""
import os
import signal
import time

import harness
import images
from handover_rig import Holder, has, heard
from harness import LOCKED, bp, case, check, refused, same
from images import image_check, image_info, qemu_img
from serve_rig import FIRST, SIZE, Front, ask, cpu_seconds, disk, end, over, running, serving


# ---- One server ---------------------------------------------------------------------------------

@case('the last ring that is stopped gives the locks back, a ring that runs takes them: QEMU', 'qemu')
@case('the last ring that is stopped gives the locks back: QEMU before 7.2', 'qemu-old')
@case('the last ring that is stopped gives the locks back: Cloud Hypervisor', 'cloud-hypervisor')
@case('the last ring that is stopped gives the locks back: crosvm', 'crosvm')
@case('the last ring that is stopped gives the locks back, with threads', 'qemu', '--io=threads')
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
    over(server, front)
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')
    images.qemu_io(top, 'qcow2', 'read -P 0x25 8M 4k')


@case('a reset of the device gives the locks back')
def reset(d):
    top = disk(d)
    server, front = running(d, top)
    front.do('write', 0, 0, 0x31, answer=0)
    front.do('reset')
    has(top, True, 'after the reset')
    front.do('connect')
    front.do('start')
    front.do('read', 0, 0, answer=0x31)
    has(top, False, 'it runs again')
    over(server, front)


@case('a ring that is disabled keeps the locks')
def disabled(d):
    top = disk(d)
    server, front = running(d, top)
    front.do('off', 0)
    has(top, False, 'it may be enabled again')
    over(server, front)


@case('a frontend that dies leaves the locks, and the next one goes on; what it stopped stays stopped')
def frontend_dies(d):
    top = disk(d)
    server, front = running(d, top)
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
    over(server, front)


@case('another program has the image: the machine waits, and goes on behind it; the server says why')
def another_program(d):
    top = disk(d)
    server, front = running(d, top)
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
    same(over(server, front).err, '', 'what was said else')
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')


@case('a machine that waits for its disk holds up no client: the server never sleeps for a lock')
def clients_go_on(d):
    top = disk(d)
    server, front = running(d, f'--control={d}/c', top)
    front.do('stop')
    other = Holder(top)
    front.do('start')
    front.do('send', 0, 8, 0x56)
    took, until = [], time.monotonic() + 6
    while time.monotonic() < until:
        began = time.monotonic()
        ask(f'{d}/c', {'execute': 'query-block-jobs'})
        took.append(time.monotonic() - began)
    waited = sum(seconds for seconds in took if seconds > 0.5)  # a try that sleeps for the lock takes a second
    check(waited < 2, f'{len(took)} answers, and {waited:.3f} s of waiting for those that took long')
    before = cpu_seconds(server)
    time.sleep(2)
    used = cpu_seconds(server) - before
    check(used < 0.1, f'waiting costs {used:.3f} s of processor time in 2 s')
    other.over()
    front.do('get', 0, 20000, answer=0)
    front.do('read', 0, 8, answer=0x56)
    over(server, front)


@case('SIGTERM while the machine waits, and while its rings are stopped: nothing is written')
def terminated(d):
    top = disk(d)
    for waits in False, True:
        server, front = running(d, top)
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
    server, front = running(d, top)
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
    server, front = running(d, top)
    front.do('stop')
    qemu_img('rebase', '-f', 'qcow2', '-b', '', top)
    qemu_img('resize', '-q', '-f', 'qcow2', top, str(2 * SIZE))
    os.unlink(f'{d}/base.raw')
    front.do('start')
    front.do('read', 0, 8, answer=FIRST)
    front.do('write', 0, SIZE // 512 + 8, 0x73, answer=0)
    front.do('stop')
    over(server, front)
    images.qemu_io(top, 'qcow2', f'read -P 0x73 {SIZE + 4096} 4k')


@case('a server that was killed while it waited does what is in flight when it has the image')
def killed(d):
    top = disk(d)
    server, front = running(d, top)
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
    over(server, front)


def leave_a_request(d, top):
    """A server was killed with a request in flight that the ring does not tell of, and another program has the image: the
    frontend, that program, and the next server, with its rings started."""
    server, front = running(d, top)
    front.do('write', 0, 0, 0x82, answer=0)
    end(server, signal.SIGKILL, 137)
    front.do('left', 0, 8, 0x83)
    other = Holder(top)
    server = serving(d, '--incoming', top)
    front.runs()
    return server, front, other


@case('what a killed server left is done before the ring is stopped: the machine migrates away behind it')
def killed_and_left(d):
    top = disk(d)
    server, front, other = leave_a_request(d, top)
    front.begin('stop')
    same(front.answered(2), None, 'an answer while the request waits for the image')
    other.over()
    same(front.answered(20), 'ok', 'the stop')
    has(top, True, 'it is on its way')
    images.qemu_io(top, 'qcow2', 'read -P 0x83 4k 4k', 'read -P 0x82 0 4k')
    front.do('get', 0, 1000, answer=0)
    front.runs()
    front.do('read', 0, 8, answer=0x83)
    over(server, front)
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')


@case('a frontend that dies, and SIGTERM, while its stop waits for the image: the request is there for the next server')
def killed_and_gone(d):
    top = disk(d)
    server, front, other = leave_a_request(d, top)
    front.begin('stop')
    same(front.answered(0.5), None, 'an answer')
    before = cpu_seconds(server)
    front.dies()
    time.sleep(1)
    check(cpu_seconds(server) - before < 0.1, 'the server minds the end again and again')
    front = Front(d)
    front.do('connect')
    front.over()
    other.over()
    end(server)
    server, front, other = leave_a_request(d, top)
    front.begin('stop')
    same(front.answered(0.5), None, 'an answer')
    end(server)
    other.over()
    same(front.answered(20), 'no', 'the stop, of a server that is gone')
    server = serving(d, top)
    front.runs()
    front.do('get', 0, 20000, answer=0)
    front.do('read', 0, 8, answer=0x83)
    over(server, front)


# ---- The pull -----------------------------------------------------------------------------------

def job(d):
    return ask(f'{d}/c', {'execute': 'query-block-jobs'})[0]['return']


@case('a pull stops with the rings and goes on with them, and clients see a pause')
@case('a pull to a base stops with the rings and goes on with them', 'base.raw')
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
    over(server, front)
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
    server, front = running(d, '--pull', '--bandwidth=1M', f'--control={d}/c', top)
    bp('ctl', f'{d}/c', 'abort')
    front.do('stop')
    front.do('start')
    front.do('read', 0, 8, answer=FIRST)
    same(job(d), [], 'jobs')
    over(server, front)


if __name__ == '__main__':
    harness.main(workers=2)
