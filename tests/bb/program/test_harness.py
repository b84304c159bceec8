# SPDX-License-Identifier: MIT OR Apache-2.0
"""The tests' own manners: what a limit counts, and that a case which can't run here says why."""
import contextlib
import os
import signal
import sys
import time

import harness
from harness import Failed, Skip, check, case, need, same
from strace import whole_calls


def fails(word, function, *args, **options):
    """What it says when it fails, which it must."""
    try:
        function(*args, **options)
    except Failed as error:
        check(word in str(error), f'it says: {error}')
        return
    raise Failed(f'it does not fail, with {word!r}')


@case('a limit is the processor\'s time: waiting costs none')
def waiting(d):
    same(harness.run('sleep', '2.5', timeout=1).rc, 0, 'exit code')


@case('a limit is the processor\'s time: working costs it, also a child\'s')
def working(d):
    began = harness.clock()
    fails('of the processor', harness.run, 'sh', '-c', 'while :; do :; done', timeout=1)
    fails('of the processor', harness.run, 'sh', '-c', 'sh -c "while :; do :; done"; true', timeout=1)
    check(harness.clock() - began < 60 * (5 if harness.instrumented() else 1), 'it ran on until the clock\'s limit')


@case('what hangs is ended all the same')
def hanging(d):
    was = harness.patience
    harness.patience = lambda seconds: 2
    try:
        fails('still running', harness.run, 'sleep', '1000', timeout=1)
    finally:
        harness.patience = was


ENDLESS = '''
import subprocess, harness
@harness.case('one that waits for ever')
def wait(d):
    subprocess.Popen(['sleep', '4321'], start_new_session=True, env=harness.environment())  # not known yet
    process = harness.start('sleep', '4321')
    open(__file__ + '.began', 'w').close()
    harness.finish(process)
harness.main()
'''


def slept():
    """The processes of that case."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        with contextlib.suppress(OSError):
            with open(f'/proc/{pid}/cmdline', 'rb') as words, open(f'/proc/{pid}/environ', 'rb') as environ:
                if words.read() == b'sleep\x004321\x00' and f'TMPDIR={harness.root}/'.encode() in environ.read():
                    found.append(pid)
    return found


@case('one that is told to end says in which case, and for what it waited; nothing of it runs on')
def told(d):
    with open(f'{d}/endless.py', 'w', encoding='ascii') as file:
        file.write(ENDLESS)
    env = harness.environment(PYTHONPATH=os.path.dirname(harness.__file__))
    process = harness.start(sys.executable, '-B', f'{d}/endless.py', harness.blockpull, env=env)
    deadline = time.monotonic() + harness.WAIT
    while not os.path.exists(f'{d}/endless.py.began'):
        check(time.monotonic() < deadline, 'it does not begin')
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)  # as Meson does
    result = harness.finish(process)
    same(result.rc, 128 + signal.SIGTERM, str(result))
    check('Bail out! ended by SIGTERM in: one that waits for ever' in result.out, str(result))
    check('one that waits for ever' in result.err and 'sleep 4321' in result.err, str(result))
    while slept():  # what is killed may run for a moment
        check(time.monotonic() < deadline, 'what it started runs on')
        time.sleep(0.02)


RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'run.py')


@case('a word that no title has is told, and is no success')
def no_such_case(d):
    result = harness.run(sys.executable, '-B', RUN, 'percent', harness.blockpull, 'no such title')
    check(result.rc == 1 and 'no such title' in result.err, str(result))


WITHOUT_TERMINALS = 'mount -t tmpfs none /dev/pts && exec "$0" "$@"'


@case('without terminals their tests skip, and say so')
def no_terminals(d):
    need('unshare')
    if os.geteuid():
        raise Skip('needs root, to hide /dev/pts')
    result = harness.run('unshare', '-m', 'sh', '-c', WITHOUT_TERMINALS, sys.executable, RUN, 'cli', harness.blockpull, 'a bar on')
    if 'mount' in result.err:
        raise Skip('may not mount')
    same(result.rc, 0, str(result))
    check('ok 1 - a bar on a terminal # SKIP' in result.out and '/dev/pts' in result.out, str(result))


@case('a call that strace wrote in two lines is one')
def split_call(d):
    log = ['7  renameat2(3, "a", 3, "b", 0 <unfinished ...>\n', '8  write(1, "", 0) = 0\n', '7  <... renameat2 resumed>) = 0\n',
           '8  futex(0x7f <unfinished ...>\n']
    same(list(whole_calls(log)), ['8  write(1, "", 0) = 0', '7  renameat2(3, "a", 3, "b", 0) = 0'], 'the calls')


if __name__ == '__main__':
    harness.main()
