# SPDX-License-Identifier: MIT OR Apache-2.0
"""The command while a server goes away: comes back, comes back late, never, or as another disk."""
import os
import signal
import time

import harness
from harness import MIB, bp, case, check, same
from remote_images import base, judge, overlay
from source_rig import end, nbdkit

FOR_EVER = 100000  # s: longer than any test waits


def allow(d):
    return f'--allow-remote=nbd+unix:{d}'


def served(d, fmt='raw', slowly=True):
    path, flat = base(d, fmt)
    words = ['--filter=rate', 'file', path, 'rate=64M'] if slowly else ['file', path]
    return nbdkit(f'{d}/s', '-r', *words), overlay(d, f'nbd+unix:///?socket={d}/s', fmt), path, flat


def back(d, path):
    return nbdkit(f'{d}/s', '-r', 'file', path)


def pull(d, top, *words):
    """A pull in the middle of its work."""
    process = harness.start(harness.blockpull, 'pull', '--progress=json', allow(d), *words, top)
    check(harness.lines_of(process, lambda line: line.get('network', {}).get('bytes-read', 0) > 0), 'it ended at once')
    return process


def until(process, state):
    """The line that tells of this state."""
    line = harness.lines_of(process, lambda line: line['event'] == 'server' and line['state'] == state)
    check(line, f'no server was {state}')
    return line


def left_running(process):
    """Names of the processes of its session."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/stat', encoding='utf-8', errors='replace') as file:
                name, rest = file.read().rsplit(') ', 1)
        except OSError:
            continue
        words = rest.split()
        if int(words[3]) == process.pid and words[0] not in 'ZX':
            found.append(name)
    return found


def nothing_runs(process):
    deadline = time.monotonic() + harness.WAIT
    while left_running(process):
        check(time.monotonic() < deadline, f'still there: {left_running(process)}')
        time.sleep(0.02)


def checked(top):
    """By qemu-img, which opens the chain: there is a server."""
    result = harness.run('qemu-img', 'check', top)
    same(result.rc, 0, f'qemu-img check: {result}')


def kept(top, d):
    """Asked for when there is a server again: qemu-img opens the chain."""
    info = harness.run('qemu-img', 'info', '-U', '--output=json', top).json()
    same(info['backing-filename'], f'nbd+unix:///?socket={d}/s', 'the link')
    same(info['backing-filename-format'], 'raw', 'its format')
    checked(top)


@case('away for two seconds: raw', 'raw')
@case('away for two seconds: qcow2', 'qcow2')
def short(d, fmt):
    server, top, path, flat = served(d, fmt)
    process = pull(d, top)
    end(server, f'{d}/s')
    line = until(process, 'reconnecting')
    same(line['uri'], f'nbd+unix:///?socket={d}/s', 'the server')
    check(line['error'], f'{line}')
    away = harness.lines_of(process, lambda line: line['event'] == 'progress' and line['network']['state'] == 'reconnecting')
    check(away, 'no progress while it was away')
    time.sleep(2)
    server = back(d, path)
    until(process, 'connected')
    result = harness.finish(process)
    same(result.rc, 0, f'{result}')
    check('goes on by itself' not in result.err, f'the job stopped: {result}')
    nothing_runs(process)
    judge(top, flat)
    end(server)


@case('for people: lost, stopped, back, and on')
def told(d):
    server, top, path, flat = served(d)
    process = harness.start(harness.blockpull, 'pull', '--progress=plain', '--remote-timeout=1', allow(d), top)
    seen = []

    def lines_with(*words):
        deadline = time.monotonic() + harness.WAIT
        wanted = set(words)
        while wanted:
            line = process.stderr.readline().decode()  # one of progress comes again and again
            check(line and time.monotonic() < deadline, f'without {wanted}: {seen}')
            seen.append(line)
            wanted -= {word for word in wanted if word in line}

    lines_with('network')  # its first line of progress
    end(server, f'{d}/s')
    lines_with('is lost', 'cannot read', 'goes on by itself')
    server = back(d, path)
    lines_with('the server is back and the pull goes on')
    result = harness.finish(process)
    same(result.rc, 0, f'{seen} {result}')
    check(any("s' is back" in line for line in [*seen, result.err]), f'{seen} {result}')
    judge(top, flat)
    end(server)


@case('away for longer than --remote-timeout: it pauses and goes on')
def late(d):
    server, top, path, flat = served(d)
    process = pull(d, top, '--remote-timeout=1')
    end(server, f'{d}/s')
    until(process, 'away')
    time.sleep(1)
    same(process.poll(), None, 'the pull')
    server = back(d, path)
    result = harness.finish(process)
    same(result.rc, 0, f'{result}')
    check('goes on by itself' in result.err and 'kill -CONT' not in result.err, f'{result}')
    judge(top, flat)
    end(server)


@case('for good: SIGINT before it pauses', signal.SIGINT, FOR_EVER, 'reconnecting')
@case('for good: SIGINT when it has paused', signal.SIGINT, 1, 'away')
@case('for good: SIGTERM before it pauses', signal.SIGTERM, FOR_EVER, 'reconnecting')
def for_good(d, sig, timeout, state):
    server, top, path, flat = served(d)
    process = pull(d, top, f'--remote-timeout={timeout}')
    end(server, f'{d}/s')
    until(process, state)
    os.kill(process.pid, sig)
    result = harness.finish(process)
    same(result.rc, 128 + sig, f'{result}')
    check('are kept' in result.err and 'run the same command again' in result.err, f'{result}')
    nothing_runs(process)
    server = back(d, path)
    kept(top, d)
    bp('pull', allow(d), top)
    judge(top, flat)
    end(server)


@case('a server that says nothing any more: SIGINT')
def silent(d):
    server, top, path, _ = served(d)
    process = pull(d, top, f'--remote-timeout={FOR_EVER}')
    os.kill(server.pid, signal.SIGSTOP)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    result = harness.finish(process, timeout=20)
    same(result.rc, 130, f'{result}')
    nothing_runs(process)
    end(server, f'{d}/s')  # nbdkit 1.32 aborts when several threads answer a connection that is gone
    server = back(d, path)
    checked(top)
    end(server)


@case('aborted through the control socket while the server is away')
def canceled(d):
    server, top, path, _ = served(d)
    process = pull(d, top, f'--remote-timeout={FOR_EVER}', f'--control={d}/ctl')
    end(server, f'{d}/s')
    until(process, 'reconnecting')
    bp('ctl', f'{d}/ctl', 'abort')
    result = harness.finish(process)
    same(result.rc, 1, f'{result}')
    nothing_runs(process)
    server = back(d, path)
    checked(top)
    end(server)


@case('killed: the process that connects ends, too')
def killed(d):
    server, top, _, _ = served(d)
    process = pull(d, top)
    check(left_running(process), 'no process is of its session')
    harness.kill(process)
    process.wait()
    nothing_runs(process)
    end(server)


@case('another disk comes back: the pull fails, the link stays')
def another(d):
    server, top, path, _ = served(d)
    process = pull(d, top)
    end(server, f'{d}/s')
    until(process, 'reconnecting')
    server = nbdkit(f'{d}/s', 'pattern', '64M')
    result = harness.finish(process)
    same(result.rc, 1, f'{result}')
    same(result.lines()[-1]['errno'], 116, 'ESTALE')
    nothing_runs(process)
    end(server, f'{d}/s')
    server = back(d, path)
    kept(top, d)
    end(server)


@case('flatten stops: what was begun is removed')
def flatten(d):
    server, top, _, _ = served(d)
    process = harness.start(harness.blockpull, 'flatten', '--progress=json', f'--remote-timeout={FOR_EVER}', '-f', 'raw', allow(d), top,
                            f'{d}/out.raw')
    check(harness.lines_of(process, lambda line: line.get('network', {}).get('bytes-read', 0) > 0), 'it ended at once')
    end(server, f'{d}/s')
    until(process, 'reconnecting')
    os.kill(process.pid, signal.SIGINT)
    result = harness.finish(process)
    same(result.rc, 130, f'{result}')
    nothing_runs(process)
    check(not [name for name in os.listdir(d) if 'out' in name], f'{os.listdir(d)}')


@case('hash and verify wait for --remote-timeout, then fail')
def readers(d):
    server, top, _, flat = served(d)
    for verb in ['hash'], ['verify', '-f', 'raw', '-F', 'qcow2', flat]:
        process = harness.start(harness.blockpull, *verb, '--remote-timeout=1', allow(d), top)
        time.sleep(0.5)
        end(server, f'{d}/s')
        result = harness.finish(process)
        same(result.rc, 1, f'{result}')
        check('cannot read' in result.err and f'{d}/s' in result.err and 'dmesg' not in result.err, f'{result}')
        nothing_runs(process)
        server = nbdkit(f'{d}/s', '-r', '--filter=rate', 'file', f'{d}/base.raw', 'rate=64M')
    end(server)


@case('a server that never was there: a sentence, and no waiting without an end')
def never_there(d):
    top = overlay(d, f'nbd+unix:///?socket={d}/s', 'raw')
    result = bp('pull', '--open-timeout=2', allow(d), top, rc=1)
    check(f'{d}/s' in result.err, f'{result}')
    top = overlay(d, 'nbd://127.0.0.1:1/', 'raw', name='tcp.qcow2')
    result = bp('pull', '-n', '--open-timeout=2', '--allow-remote=nbd:127.0.0.1', top, rc=1)
    check('127.0.0.1:1' in result.err, f'{result}')


if __name__ == '__main__':
    harness.main(workers=2)
