# SPDX-License-Identifier: MIT OR Apache-2.0
"""Signals and limits, one by one, for every command: the table of tools/cli/stop.c, seen from outside.

What ends a process by default ends a pull in order: the image valid, no temporary file, 128 + the signal's number.
A limit on file sizes, a closed pipe and a full disk are errors with a sentence, of images and of logs alike. Commands
that have no order to keep die as by default, but create, which makes all of an image or none of it.

A command as short as `map` gets its signal from strace, at a system call: no clock has to be right.
"""
import contextlib
import fcntl
import json
import os
import re
import resource
import signal
import subprocess
import time

import harness
import images
import strace
from harness import DONE, FAILED, MIB, Skip, bp, case, check, run, same
from images import overlay, qemu_img, raw_image

ENDING = ('SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2', 'SIGXCPU', 'SIGALRM', 'SIGVTALRM', 'SIGPROF', 'SIGIO',
          'SIGPWR', 'SIGSTKFLT', 'SIGRTMIN', 'SIGRTMAX')
VERBS = {'info': ['info'], 'map': ['map'], 'measure': ['measure'], 'hash': ['hash'], 'check': ['check'],
         'check --repair': ['check', '--repair=all'], 'pull -n': ['pull', '-n']}


def number(name):
    return int(getattr(signal, name))


def pair(d, size=8 * MIB, fmt='qcow2', options=None):
    raw_image(f'{d}/base.img', size)
    return overlay(f'{d}/top.img', 'base.img', fmt, options)


def wait_for(what, process, seconds=harness.WAIT):
    deadline = time.monotonic() + seconds
    while not what():
        check(process.poll() is None, f'it has ended already: {process.args}')
        check(time.monotonic() < deadline, f'nothing happened for {seconds} s')
        time.sleep(0.01)


def limited(kind, soft, hard=None):
    """Options of a command whose process has this limit, and signals as they are by default."""
    def prepare():
        resource.setrlimit(kind, (soft, resource.RLIM_INFINITY if hard is None else hard))
    return {'preexec_fn': prepare}


def linked(path):
    return 'backing-filename' in images.image_info(path)


# ---- Signals ------------------------------------------------------------------------------------

def lease(held, seconds=harness.WAIT):
    """It is refused while another has the file open: for a moment that may be a child of a case beside this one."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            return
        except BlockingIOError:
            check(time.monotonic() < deadline, 'another has the file open')
            time.sleep(0.01)


@case('a create that waits for its backing file ends at once by a signal', 'SIGINT')
@case('a create that waits for its backing file ends at once by another signal', 'SIGTERM')
def create_waits(d, name):
    """A lease keeps the program that opens the file waiting, for 45 seconds as a rule, as a dead server does."""
    base = raw_image(f'{d}/base', MIB)
    with open(base, 'r+b') as held:
        fcntl.fcntl(held, fcntl.F_SETSIG, signal.SIGURG)  # which is ignored by default; SIGIO is not
        try:
            lease(held)
            process = harness.start(harness.blockpull, 'create', '-f', 'qcow2', '-b', 'base', '-F', 'raw', f'{d}/top')
            wait_for(lambda: fcntl.fcntl(held, fcntl.F_GETLEASE) != fcntl.F_WRLCK, process)
            time.sleep(0.1)
            same(process.poll(), None, 'it does not wait')
            harness.kill(process, number(name))
            begun = time.monotonic()
            same(harness.finish(process).rc, 128 + number(name), 'exit code')
            check(time.monotonic() - begun < 40, 'it went on waiting')
        finally:
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    same(sorted(os.listdir(d)), ['base'], 'files')
    bp('create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'raw', f'{d}/top')


@case('a flatten ends in order by every signal that ends a process')
def flatten_ends(d):
    top = pair(d)
    names = sorted(os.listdir(d))
    for at, name in enumerate(ENDING):
        process = harness.start(harness.blockpull, 'flatten', '--bandwidth=1M', f'--io={("auto", "threads")[at % 2]}', top, f'{d}/out')
        wait_for(lambda: len(os.listdir(d)) > len(names), process)
        time.sleep(0.05)  # the handlers come before the file; the job after it
        process.send_signal(number(name))
        result = harness.finish(process, 30)
        same(result.rc, 128 + number(name), f'exit code after {name}: {result}')
        check('was not made' in result.err, f'{name}: {result}')
        same(sorted(os.listdir(d)), names, f'what is left after {name}')


@case('a pull ends in order by every signal that ends a process, qcow2', 'qcow2')
@case('a pull ends in order by a signal that ends a process, QED', 'qed')
def pull_ends(d, fmt):
    top = pair(d, fmt=fmt)
    flat = images.flatten(top, fmt, f'{d}/flat')
    for name in ENDING if fmt == 'qcow2' else ENDING[3:6]:
        process = harness.start(harness.blockpull, 'pull', '--bandwidth=1M', '--json', '--progress=json', top)
        check(harness.lines_of(process, lambda e: e['event'] == 'progress'), f'no progress before {name}')
        process.send_signal(number(name))
        result = harness.finish(process, 30)
        same(result.rc, 128 + number(name), f'exit code after {name}: {result}')
        same(result.lines()[-1]['exit-class'], 'stopped', f'exit class after {name}')
        check('image is valid' in result.err, f'{name}: {result}')
        same(images.image_check(top, fmt), 0, f'qemu-img check after {name}')
        images.compare_flat(top, fmt, flat, f'after {name}')
    bp('pull', top)
    check(not linked(top), 'the link is still there')
    images.compare_flat(top, fmt, flat, 'at the end')


@case('a commit ends in order by a signal, and goes on', 'commit')
@case('a compaction ends in order by a signal, and goes on', 'compact', '--keep=2')
def chain_ends(d, *words):
    mid = pair(d)
    overlay(f'{d}/over.img', mid, 'qcow2', base_fmt='qcow2')
    for at, path in enumerate((mid, f'{d}/over.img')):
        run('qemu-io', '-f', 'qcow2', '-c', f'write -P {at + 1} {4 * at}M 4M', path)
    top = f'{d}/over.img'
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    for name in ENDING[1:5]:
        process = harness.start(harness.blockpull, *words, '--bandwidth=1M', '--json', '--progress=json', top)
        check(harness.lines_of(process, lambda e: e['event'] == 'progress'), f'no progress before {name}')
        process.send_signal(number('SIGUSR1'))
        process.send_signal(number(name))
        result = harness.finish(process, 30)
        same(result.rc, 128 + number(name), f'exit code after {name}: {result}')
        check('image is valid' in result.err, f'{name}: {result}')
        same(images.image_check(top, 'qcow2'), 0, f'qemu-img check after {name}')
        images.compare_flat(top, 'qcow2', flat, f'after {name}')
    bp(*words, top)
    same(images.image_info(top)['backing-filename'], f'{d}/base.img' if words[0] == 'compact' else mid, 'the link')
    images.compare_flat(top, 'qcow2', flat, 'at the end')


@case('signals that say nothing do nothing')
def harmless(d):
    top = pair(d, 4 * MIB)
    process = harness.start(harness.blockpull, 'flatten', '--bandwidth=2M', '--progress=plain', top, f'{d}/out')
    wait_for(lambda: len(os.listdir(d)) > 2, process)
    time.sleep(0.05)
    for name in 'SIGUSR1', 'SIGPIPE', 'SIGXFSZ', 'SIGCONT', 'SIGWINCH', 'SIGCHLD', 'SIGURG', 'SIGUSR1':
        process.send_signal(number(name))
        time.sleep(0.02)
    result = harness.finish(process)
    same(result.rc, DONE, f'exit code: {result}')
    check('%' in result.err, f'SIGUSR1 brought no line: {result}')


@case('a hangup that is ignored stays ignored, and so do others')
def ignored(d):
    top = pair(d, 4 * MIB)
    names = 'SIGHUP', 'SIGQUIT', 'SIGUSR2', 'SIGXCPU', 'SIGALRM', 'SIGPROF'

    def ignore():
        for name in names:
            signal.signal(number(name), signal.SIG_IGN)
    process = harness.start(harness.blockpull, 'flatten', '--bandwidth=2M', top, f'{d}/out', preexec_fn=ignore)
    wait_for(lambda: len(os.listdir(d)) > 2, process)
    for name in names:
        process.send_signal(number(name))
    same(harness.finish(process).rc, DONE, 'exit code')


def signalled(d, name, call, argv, when='1'):
    """Runs it with this signal sent at a system call; (result, was it sent?)."""
    result, log = strace.run(harness.blockpull, *argv, trace=call, inject=[f'{call}:signal={name}:when={when}'])
    return result, any(f'--- {name}' in line for line in log)


@case('SIGUSR1, SIGPIPE and SIGXFSZ end no command')
def no_end(d):
    top = pair(d, MIB)
    for title, argv in list(VERBS.items()) + [('verify', ['verify', top]), ('create', ['create', '-f', 'qcow2', f'{d}/new', '1M'])]:
        for name in 'SIGUSR1', 'SIGPIPE', 'SIGXFSZ':
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f'{d}/new')
            result, was_sent = signalled(d, name, 'fstatfs', argv + ([top] if title != 'create' else []))
            check(was_sent, f'{title}: {name} was not sent')
            same(result.rc, DONE, f'exit code of {title} at {name}: {result}')


@case('create makes all of an image or none, also when it is told to end', 'qcow2')
@case('create makes all of an image or none, also when it is told to end, QED', 'qed')
def create_whole(d, fmt):
    for name in 'SIGTERM', 'SIGINT', 'SIGHUP', 'SIGALRM', 'SIGUSR2', 'SIGXCPU':
        result, was_sent = signalled(d, name, 'pwrite64', ['create', '-f', fmt, f'{d}/new', '1G'])
        check(was_sent, f'{name} was not sent')
        same(result.rc, 128 + number(name), f'exit code at {name}: {result}')
        same(images.image_check(f'{d}/new', fmt), 0, f'qemu-img check after {name}')
        same(images.image_info(f'{d}/new')['virtual-size'], 1 << 30, 'size')
        os.unlink(f'{d}/new')


@case('snapshot makes all of an image or none, also when it is told to end')
def snapshot_whole(d):
    top = pair(d, MIB)
    for name in 'SIGTERM', 'SIGINT', 'SIGHUP':
        result, was_sent = signalled(d, name, 'pwrite64', ['snapshot', top, f'{d}/new'])
        check(was_sent, f'{name} was not sent')
        same(result.rc, 128 + number(name), f'exit code at {name}: {result}')
        same(images.image_check(f'{d}/new', 'qcow2'), 0, f'qemu-img check after {name}')
        same(images.image_info(f'{d}/new')['backing-filename'], os.path.basename(top), 'the link')
        os.unlink(f'{d}/new')


# ---- Processor time -----------------------------------------------------------------------------

@case('the limit on processor time ends a flatten in order', 1, None)
@case('the limit on processor time that is soft and hard ends a flatten in order', 2, 2)
def cpu_limit(d, soft, hard):
    """The kernel sends SIGXCPU every second from the soft limit on, and SIGKILL at the hard one."""
    if harness.instrumented():
        raise Skip('a sanitizer is slow enough to use up the last second')
    top = pair(d, 96 * MIB)
    names = sorted(os.listdir(d))
    # Not by run(), which has a limit of its own.
    result = harness.finish(harness.start(harness.blockpull, 'flatten', '-q', '--compress=zlib:9', top, f'{d}/out',
                                          **limited(resource.RLIMIT_CPU, soft, hard)))
    same(result.rc, 128 + signal.SIGXCPU, f'exit code: {result}')
    check('was not made' in result.err and 'ulimit -t' in result.err, str(result))
    same(sorted(os.listdir(d)), names, 'what is left')


@case('the limit on processor time ends the other commands with a sentence')
def cpu_others(d):
    top = pair(d, MIB)
    for title, argv in VERBS.items():
        if title == 'pull -n':
            continue
        result, was_sent = signalled(d, 'SIGXCPU', 'fstatfs', argv + [top])
        check(was_sent, f'{title}: it was not sent')
        same(result.rc, 128 + signal.SIGXCPU, f'exit code of {title}: {result}')
        check('ulimit -t' in result.err, str(result))


# ---- The limit on file sizes --------------------------------------------------------------------

def judge_limit(result, name, what, advice=r'raise the limit|make room'):
    same(result.rc, FAILED, f'exit code of {what}: {result}')
    check(os.strerror(27) in result.err and name in result.err, f'{what}: no sentence that names the file: {result}')
    check(re.search(advice, result.err), f'{what}: it does not say what to do: {result}')
    check('make room' not in result.err, f'{what}: there is room enough: {result}')


@case('a limit on file sizes ends a flatten with a sentence', 0)
@case('a limit on file sizes ends a flatten with a sentence, at 512 bytes', 512)
@case('a limit on file sizes ends a flatten with a sentence, at 2 MiB', 2 * MIB)
def flatten_limit(d, limit):
    top = pair(d)
    names = sorted(os.listdir(d))
    for fmt in 'raw', 'qcow2', 'qed':
        for io in 'auto', 'threads':
            result = run(harness.blockpull, 'flatten', f'--io={io}', '-f', fmt, top, f'{d}/out', **limited(resource.RLIMIT_FSIZE, limit))
            judge_limit(result, 'out', f'flatten -f {fmt} --io={io}')
            same(sorted(os.listdir(d)), names, f'what is left of -f {fmt} --io={io}')


@case('a limit on file sizes ends a pull with a sentence, and it goes on without', 'qcow2', 'auto')
@case('a limit on file sizes ends a pull with a sentence, and it goes on without, threads', 'qcow2', 'threads')
@case('a limit on file sizes ends a pull with a sentence, and it goes on without, QED', 'qed', 'auto')
def pull_limit(d, fmt, io):
    top = pair(d, fmt=fmt)
    flat = images.flatten(top, fmt, f'{d}/flat')
    result = run(harness.blockpull, 'pull', f'--io={io}', top, **limited(resource.RLIMIT_FSIZE, 3 * MIB))
    judge_limit(result, 'top.img', 'pull')
    images.compare_flat(top, fmt, flat, 'at the limit')
    check(linked(top), 'the link is gone')
    bp('pull', top)
    images.judge_pulled(top, fmt, flat)


@case('a limit on file sizes: create leaves nothing')
def create_limit(d):
    for fmt in 'qcow2', 'qed':
        for limit in 0, 65536:
            result = run(harness.blockpull, 'create', '-f', fmt, f'{d}/new', '1G', **limited(resource.RLIMIT_FSIZE, limit))
            judge_limit(result, 'new', f'create -f {fmt}')
            same(os.listdir(d), [], 'what is left')


@case('a limit on file sizes: what is printed into a file')
def printed_limit(d):
    top = pair(d, MIB)
    for argv in [*VERBS.values(), ['--help'], ['help', 'pull'], ['--version']]:
        with open(f'{d}/log', 'wb') as log:
            result = run(harness.blockpull, *argv, *([top] if argv[0][0] != '-' and argv[0] != 'help' else []), stdout=log,
                         **limited(resource.RLIMIT_FSIZE, 0))
        printed = bp(*argv, *([top] if argv[0][0] != '-' and argv[0] != 'help' else [])).out
        same(result.rc, FAILED if printed else DONE, f'exit code of {argv}: {result}')
        check(not printed or 'standard output failed' in result.err, f'{argv}: {result}')


# ---- Logs that take no more ---------------------------------------------------------------------

def judge_log(d, result, fmt='qcow2'):
    same(result.rc, FAILED, f'exit code: {result}')
    check('standard output failed' in result.err, f'no sentence: {result}')
    images.judge_pulled(f'{d}/top.img', fmt, f'{d}/base.img')


@case('a log at its limit, on a full disk, or without a reader ends no pull')
def log_ends(d):
    argv = [harness.blockpull, 'pull', '--bandwidth=16M', '--json', '--progress=json', f'{d}/top.img']
    pair(d)
    with open(f'{d}/log', 'wb') as log:
        log.truncate(16 * MIB - 100)
        log.seek(0, os.SEEK_END)
        judge_log(d, run(*argv, stdout=log, **limited(resource.RLIMIT_FSIZE, 16 * MIB)))
    pair(d)
    with open('/dev/full', 'wb') as full:
        judge_log(d, run(*argv, stdout=full))
    pair(d)
    reader, writer = os.pipe()
    process = harness.start(*argv, stdout=writer)
    os.close(writer)
    same(json.loads(os.read(reader, 1 << 16).splitlines()[0])['event'], 'progress', 'the first line')
    os.close(reader)
    judge_log(d, harness.finish(process))


@case('messages that find no reader end no pull')
def messages_end(d):
    for errors in '/dev/full', 'pipe':
        for mode in 'plain', 'bar', 'none':
            top = pair(d, MIB)
            reader, writer = os.pipe()
            os.close(reader)
            with open('/dev/full', 'wb') as full:
                process = harness.start(harness.blockpull, 'pull', f'--progress={mode}', top, stderr=full if errors != 'pipe' else writer)
                os.close(writer)
                same(harness.finish(process).rc, DONE, f'exit code, stderr {errors}, --progress={mode}')
            images.judge_pulled(top, 'qcow2', f'{d}/base.img')


# ---- The benchmarks -----------------------------------------------------------------------------

@case('blockpull-bench removes its directory when a signal ends it')
def bench(d):
    program = os.path.join(os.path.dirname(harness.blockpull), '..', 'bench', 'blockpull-bench')
    if not os.path.exists(program):
        raise Skip('blockpull-bench is not built')
    os.mkdir(f'{d}/place')
    for name in ENDING[::3]:
        process = harness.start(program, 'pull', '--dir', f'{d}/place', stdout=subprocess.DEVNULL)
        wait_for(lambda: any(os.listdir(f'{d}/place/{place}') for place in os.listdir(f'{d}/place')), process)
        process.send_signal(number(name))
        same(harness.finish(process).rc, 128 + number(name), f'exit code after {name}')
        same(os.listdir(f'{d}/place'), [], f'what is left after {name}')


if __name__ == '__main__':
    # A shell that runs this in the background has some signals ignored, and what is ignored stays so.
    for caught in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        if signal.getsignal(caught) == signal.SIG_IGN and caught != signal.SIGPIPE:
            signal.signal(caught, signal.SIG_DFL)
    harness.main(workers=2)
