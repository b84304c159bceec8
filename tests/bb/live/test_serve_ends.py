# SPDX-License-Identifier: MIT OR Apache-2.0
"""How `serve` begins and ends as a program of QEMU's conventions: in the foreground, by SIGTERM with all that was done
durable, in the middle of a pull, with names that another one has or a killed one left. And what copy-on-read leaves.
"""
import contextlib
import os
import signal
import socket
import stat
import time

import harness
import images
import processes
import strace
from harness import DONE, KIB, LOCKED, MIB, USAGE, bp, case, check, note, refused, same
from images import image_check, image_info, image_map
from serve_rig import FIRST, SIZE, Front, child, disk, end, over, running, serving, traced

SECTORS_LEN = 4 * KIB  # of a request of our frontend
CLUSTER = 64 * KIB
N_SENT = 40  # as many as its ring has room for
WRITES = 'pwrite64,pwritev,pwritev2'


def owned(top):
    """The bytes that the image itself has."""
    return sum(row['length'] for row in image_map(top) if row['depth'] == 0)


# ---- The foreground -----------------------------------------------------------------------------

@case('it stays in the foreground, one process, with the terminal and the session that it was given')
def foreground(d):
    server = serving(d, disk(d))
    with open(f'/proc/{server.pid}/task/{server.pid}/children', encoding='ascii') as children:
        same(children.read(), '', 'processes that it has started')
    with open(f'/proc/{server.pid}/stat', encoding='ascii') as line:
        parent = int(line.read().rpartition(')')[2].split()[1])
    same((parent, os.getsid(server.pid), os.getpgid(server.pid)), (os.getpid(), server.pid, server.pid), 'parent, session, group')
    for fd, mine in (1, server.stdout), (2, server.stderr):
        same(os.stat(f'/proc/{server.pid}/fd/{fd}').st_ino, os.fstat(mine.fileno()).st_ino, f'descriptor {fd}')
    same(os.readlink(f'/proc/{server.pid}/cwd'), os.getcwd(), 'the directory')
    end(server)


# ---- SIGTERM ------------------------------------------------------------------------------------

def has_ended(pid):
    """Whether a process has ended, and how, as wait(2) has it; None for how: its parent knows, and it has gone."""
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii') as line:
            fields = line.read().rpartition(')')[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return True, None
    return fields[0] == 'Z', int(fields[-1])


def taken(front):
    n = 0
    while front.say('get', 0, 0) == '0':
        n += 1
    return n


@case('SIGTERM with requests in flight: each is done, or is not there; locks and sockets go')
def in_flight(d):
    top = disk(d)
    server, front = traced(d, WRITES, f'--control={d}/c', top, inject=[f'{WRITES}:delay_enter=500000'])
    for n in range(N_SENT):
        front.do('send', 0, n * CLUSTER // 512, 0x40 + n)
    before = taken(front)
    os.kill(child(server), signal.SIGTERM)
    same(harness.finish(server, timeout=20).rc, DONE, 'the server')
    told = before + taken(front)
    front.dies()
    check(before < N_SENT, 'none was in flight')
    same([name for name in ('s', 'c') if os.path.lexists(f'{d}/{name}')], [], 'sockets that are left')
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')
    with open(images.flatten(top, 'qcow2', f'{d}/flat'), 'rb') as flat:
        content = flat.read()
    done = 0
    for n in range(N_SENT):
        piece = content[n * CLUSTER:n * CLUSTER + SECTORS_LEN]
        check(piece in (bytes([0x40 + n]) * SECTORS_LEN, bytes([FIRST]) * SECTORS_LEN), f'half of request {n} is there')
        done += piece[0] != FIRST
    note(f'{before} of {N_SENT} requests were answered before it was told to end, {told} at its end')
    check(done >= told, f'{told} requests were answered, {done} are there')
    images.qemu_io(top, 'qcow2', 'write 0 64k')  # the locks are others' to take


@case('SIGTERM: what the machine never flushed is durable behind the last write')
def durable(d):
    top, log = disk(d), f'{d}/log'
    server, front = traced(d, f'{WRITES},fdatasync', top)
    front.do('write', 0, 0, 0x21, answer=0)
    os.kill(child(server), signal.SIGTERM)
    same(harness.finish(server, timeout=20).rc, DONE, 'the server')
    front.dies()
    with open(log, encoding='utf-8', errors='replace') as lines:
        calls = [match.groups() for match in map(strace.FILE_CALL.search, strace.whole_calls(lines)) if match]
    calls = ['sync' if 'sync' in name else 'write' for name, _, path, _ in calls if path == os.path.realpath(top)]
    check('write' in calls and calls[-1] == 'sync', f'the calls on the image: {calls[-10:]}')


def end_by_wishes(pid):
    """SIGTERM until it ends, and never at the first: has_ended()'s how."""
    target = os.pidfd_open(pid)  # the tracer may let its number go
    signal.pidfd_send_signal(target, signal.SIGTERM)
    time.sleep(0.3)  # an echo comes sooner
    check(not has_ended(pid)[0], 'it has ended before its files were durable')
    # A busy machine may give it two signals as one, or close to each other.
    deadline = harness.clock() + harness.WAIT
    while not has_ended(pid)[0]:
        check(harness.clock() < deadline, 'the second wish does not end it')
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(target, signal.SIGTERM)
        time.sleep(0.3)
    os.close(target)
    return has_ended(pid)[1]


@case('SIGTERM twice: at once, which is one wish, and a second one')
def twice(d):
    top = disk(d)
    server, front = running(d, top)
    front.do('write', 0, 0, 0x21, answer=0)
    os.kill(server.pid, signal.SIGTERM)
    os.kill(server.pid, signal.SIGTERM)  # as timeout(1) does
    same(harness.finish(server, timeout=20).rc, DONE, 'two at once')
    front.dies()
    images.qemu_io(top, 'qcow2', 'read -P 0x21 0 4k')
    # One that can't end, because its files stand still, ends by the second; what was durable is there. This frontend's
    # writes are durable when it flushes, not before their answers.
    server, front = traced(d, 'fdatasync', top, inject=['fdatasync:delay_enter=600s'], front=('-o', 'firecracker'))
    front.do('write', 0, 0, 0x22, answer=0)
    status = end_by_wishes(child(server))
    if status is not None:
        harness.kill(server)  # the tracer, which sleeps on beside a thread that has gone
    rc = harness.finish(server, timeout=20).rc
    same(rc if status is None else os.waitstatus_to_exitcode(status), 128 + signal.SIGTERM, 'the second wish')
    front.dies()
    images.check_leaks_at_worst(top, 'qcow2')
    end(serving(d, top))


@case('SIGTERM in the middle of a pull keeps what was copied, and the next one goes on')
@case('SIGTERM in the middle of a pull, with threads', '--io=threads')
def in_pull(d, *args):
    top = disk(d)
    server, front = running(d, '--pull', '--bandwidth=1M', f'--control={d}/c', *args, top)
    front.do('write', 0, SIZE // 512 - 8, 0x21, answer=0)
    deadline = harness.clock() + harness.WAIT
    while bp('ctl', '--json', f'{d}/c', 'info').json()['bytes']['copied'] < MIB:
        check(harness.clock() < deadline, 'nothing is copied')
        time.sleep(0.05)
    end(server)
    front.dies()
    copied = owned(top)
    check(MIB <= copied < SIZE // 2, f'{copied} bytes of {SIZE} are the image\'s own')
    same((image_info(top)['backing-filename'], image_check(top, 'qcow2')), ('base.raw', 0), 'the link, and qemu-img check')
    server = serving(d, '--pull', f'--control={d}/c', top)
    bp('ctl', f'{d}/c', 'wait')
    again = bp('ctl', '--json', f'{d}/c', 'info').json()['bytes']['copied']
    end(server)
    check(again <= SIZE - copied, f'{again} bytes were copied by the second, {copied} had been')
    check('backing-filename' not in image_info(top), 'it has a backing file still')
    images.qemu_io(top, 'qcow2', f'read -P {FIRST} 0 {SIZE - CLUSTER}', f'read -P 0x21 {SIZE - 4 * KIB} 4k')


@case('SIGTERM of one that has no machine yet, has a connection without rings, and was given that connection')
def early(d):
    top = disk(d)
    end(serving(d, top))
    server, front = serving(d, top), Front(d)
    front.do('connect')
    end(server)
    front.dies()
    ours, theirs = socket.socketpair()
    server = harness.start(harness.blockpull, 'serve', f'--fd={theirs.fileno()}', top, pass_fds=[theirs.fileno()])
    theirs.close()
    ours.sendall(bytes([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]))
    same(len(ours.recv(20)), 20, 'the answer to GET_FEATURES')
    end(server)
    ours.close()


# ---- Names --------------------------------------------------------------------------------------

@case('both sockets of a killed server are replaced, and those of a running one left alone')
def sockets(d):
    top = disk(d)
    other = images.overlay(f'{d}/other.img', 'base.raw')
    first = serving(d, f'--control={d}/c', top)
    refused(LOCKED, ['listens'], 'serve', f'--socket-path={d}/s2', f'--control={d}/c', other)
    check(not os.path.lexists(f'{d}/s2'), 'the refused one\'s socket is left')
    refused(LOCKED, ['listens'], 'serve', f'--socket-path={d}/s', f'--control={d}/c2', other)
    check(not os.path.lexists(f'{d}/c2'), 'the refused one\'s control socket is left')
    bp('ctl', f'{d}/c', 'info')
    end(first, signal.SIGKILL, 137)
    for name in 's', 'c':
        check(stat.S_ISSOCK(os.stat(f'{d}/{name}').st_mode), f'{name} is gone')
    refused(harness.FAILED, ['listens'], 'ctl', f'{d}/c', 'info')
    second = serving(d, f'--control={d}/c', top)
    bp('ctl', f'{d}/c', 'info')
    end(second)
    refused(harness.FAILED, ['shorter', d[:20]], 'serve', f'--socket-path={d}/s', f'--control={d}/{"x" * 120}', top)
    images.raw_image(f'{d}/file', 1)
    refused(harness.FAILED, ['no socket'], 'serve', f'--socket-path={d}/s', f'--control={d}/file', top)
    same([name for name in ('s', 'c') if os.path.lexists(f'{d}/{name}')], [], 'sockets that are left')


@case('what has taken the place of a socket stays when the server ends')
def replaced(d):
    top = disk(d)
    other = images.overlay(f'{d}/other.img', 'base.raw')
    first = serving(d, f'--control={d}/c', top)
    for name in 's', 'c':
        os.unlink(f'{d}/{name}')
    names = f'{d}/./s', f'{d}/./c'  # another spelling: the kernel tells the first one's still
    second = harness.start(harness.blockpull, 'serve', f'--socket-path={names[0]}', f'--control={names[1]}', other)
    processes.wait_listening(second, *names)
    end(first)
    bp('ctl', f'{d}/c', 'info')
    front = Front(d)
    front.runs()
    front.over()
    end(second)
    same([name for name in ('s', 'c') if os.path.lexists(f'{d}/{name}')], [], 'sockets that are left')


# ---- Copy-on-read -------------------------------------------------------------------------------

@case('--copy-on-read: what the machine reads is the image\'s own, and the base may go for it', True)
@case('without --copy-on-read a read leaves the image as it is', False)
def copy_on_read(d, is_asked):
    top = disk(d)
    untouched = images.Untouched(top)
    server, front = running(d, *(['--copy-on-read'] if is_asked else []), top)
    for cluster in 3, 4, 100:
        front.do('read', 0, cluster * CLUSTER // 512 + 8, answer=FIRST)
    over(server, front)
    if not is_asked:
        untouched.verify('by the machine\'s reads')
        return
    rows = [row for row in image_map(top) if row['depth'] == 0]
    own = {at // CLUSTER for row in rows for at in range(row['start'], row['start'] + row['length'], CLUSTER)}
    # Of a base that seems slow, as each does on a busy machine, the 256 KiB around a read come with it.
    check({3, 4, 100} <= own <= {*range(8), *range(100, 104)}, f'the clusters that the image has: {own}')
    same((image_info(top)['backing-filename'], image_check(top, 'qcow2')), ('base.raw', 0), 'the link, and qemu-img check')
    with open(f'{d}/base.raw', 'r+b') as base:
        base.write(bytes(SIZE))
    images.qemu_io(top, 'qcow2', *[f'read -P {FIRST if n in own else 0} {n * CLUSTER} {CLUSTER}' for n in range(SIZE // CLUSTER)])


@case('--copy-on-read of an image that is not written to is refused')
def copy_read_only(d):
    top = disk(d)
    untouched = images.Untouched(top)
    refused(USAGE, ['--read-only', '--copy-on-read'], 'serve', f'--socket-path={d}/s', '--read-only', '--copy-on-read', top)
    untouched.verify('by a refused serve')
    check(not os.path.lexists(f'{d}/s'), 'its socket is left')


if __name__ == '__main__':
    harness.main(workers=2)
