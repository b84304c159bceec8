# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the black-box tests share: running commands, and printing TAP.

Every test file is a program: `python3 tests/bb/run.py x /path/to/blockpull [WORD]` runs the cases of
test_x.py (those whose title holds WORD) and prints one TAP line for each. All files live below one private
directory, which is also TMPDIR of every child, so that the last case can prove that nothing is
left: no process carries its name, nothing is mounted below it, and it is removed however the
program ends. A unittest runner was rejected: its output needs a plug-in to be TAP, and its fixtures hide
the files.
"""
import atexit
import concurrent.futures
import contextlib
import functools
import itertools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

DONE, FAILED, USAGE, LOCKED, CORRUPT, LEAKS, REFUSED, NO_SPACE = 0, 1, 2, 3, 4, 5, 6, 7

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

WAIT = 120  # seconds, better of clock() than of the wall, until what has to come counts as never coming
NAP = 0.05

cases = []           # (title, function, arguments), in file order
blockpull = None     # absolute path of the command under test
root = None          # the private directory
_live = set()        # Popen objects to kill should we end early
_live_lock = threading.RLock()  # of a signal's handler, too
_running = {}        # thread: the title of its case
_n_naps = 0         # of clock()
_mine = threading.local()  # of the case in this thread: notes, and processes it started


class Failed(Exception):
    """A promise was broken; its text is the whole story."""


class Skip(Exception):
    """The case cannot run here; its text is the reason."""


def case(title, *args):
    """Decorates a function of (directory, *args): one case for each decorator, the upper one first."""
    def register(function):
        at = len(cases)
        while at and cases[at - 1][1] is function:
            at -= 1
        cases.insert(at, (title, function, args))
        return function
    return register


def need(*tools):
    for tool in tools:
        if not shutil.which(tool):
            raise Skip(f'{tool} is not installed')


def check(condition, message):
    if not condition:
        raise Failed(message)


def same(got, wanted, what):
    check(got == wanted, f'{what}: got {got!r}, wanted {wanted!r}')


def note(text):
    """A remark on the case that runs in this thread; printed below its TAP line."""
    _mine.notes.append(str(text))


# ---- Commands -----------------------------------------------------------------------------------

class Result:
    """How a command ended: rc (128 + signal, as a shell has it), out, err, seconds, max_rss bytes."""

    def __init__(self, argv, rc, out, err, seconds, max_rss):
        self.argv, self.rc, self.out, self.err = argv, rc, out, err
        self.seconds, self.max_rss = seconds, max_rss

    def __str__(self):
        def tail(text):
            return text if len(text) < 1500 else '...' + text[-1500:]
        return f'{" ".join(self.argv)}\nexit {self.rc}\nstdout: {tail(self.out)}\nstderr: {tail(self.err)}'

    def json(self):
        try:
            return json.loads(self.out)
        except ValueError as error:
            raise Failed(f'stdout is not JSON ({error}): {self}') from None

    def lines(self):
        """The JSON documents of stdout, one a line."""
        try:
            return [json.loads(line) for line in self.out.splitlines()]
        except ValueError as error:
            raise Failed(f'a line of stdout is not JSON ({error}): {self}') from None


def environment(**changes):
    env = {k: v for k, v in os.environ.items() if not k.startswith(('BLOCKPULL', 'NO_COLOR'))}
    # A sanitizer's report must not pass for one of the documented exit codes. Some processes' ends are not looked at: theirs
    # go where `./tools/dev sanitize` has said.
    logged = ':'.join(word for word in env.get('ASAN_OPTIONS', '').split(':') if word.startswith('log_path='))
    env.update(TMPDIR=root, LC_ALL='C.UTF-8', TERM='dumb', ASAN_OPTIONS=f'exitcode=99:{logged}', LSAN_OPTIONS='exitcode=99',
               UBSAN_OPTIONS='halt_on_error=1:exitcode=99:print_stacktrace=1')
    env.update(changes)
    return env


def start(*argv, **options):
    """A command in the background, in a session of its own, ended with its children at our end."""
    options.setdefault('env', environment())
    options.setdefault('stdin', subprocess.DEVNULL)
    options.setdefault('stdout', subprocess.PIPE)
    options.setdefault('stderr', subprocess.PIPE)
    process = subprocess.Popen([str(a) for a in argv], start_new_session=True, **options)
    process.began, process.allowed = time.monotonic(), None  # allowed: seconds of the processor's time
    _mine.started.append(process)
    with _live_lock:
        _live.add(process)
    return process


def _nap():
    global _n_naps
    while True:
        time.sleep(NAP)
        _n_naps += 1


def clock():
    """Seconds, as a thread of ours counts them by its naps. On a busy machine, and while our processes are stopped from outside,
    they are longer than the wall's: so what hangs is told from what has no turn."""
    return _n_naps * NAP


class Later(threading.Thread):
    """Calls this when so many seconds of clock() are over, or never."""

    def __init__(self, seconds, call):
        super().__init__(daemon=True)
        self.until, self.call, self.has_called, self.cancelled = clock() + seconds, call, False, threading.Event()
        self.start()

    def run(self):
        while not self.cancelled.wait(4 * NAP):
            if clock() >= self.until:
                self.has_called = True
                self.call()
                return

    def cancel(self):
        self.cancelled.set()


def patience(seconds):
    """Of clock(), or of the wall's, for what takes so many seconds on a quiet machine: this one may be busy. It ends what
    hangs, and proves nothing else."""
    return max(seconds, min(8 * seconds + 60, 600))


def finish(process, timeout=120):
    """Waits for what start() began. Never hangs: it is killed, and the case fails, when it has waited for
    many times the time-out, which is that of a quiet machine."""
    texts, timeout = {}, patience(timeout)

    def drain(name, pipe):
        texts[name] = pipe.read()
        pipe.close()
    drains = [threading.Thread(target=drain, args=(n, p), daemon=True)
              for n, p in (('out', process.stdout), ('err', process.stderr)) if p]
    for thread in drains:
        thread.start()
    late = Later(timeout, lambda: kill(process))
    try:
        # wait4() for the peak memory; Popen.wait() would throw it away.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - process.began
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        late.cancel()
    kill(process)
    for thread in drains:
        thread.join(10)
    with _live_lock:
        _live.discard(process)
    rc = process.returncode if process.returncode >= 0 else 128 - process.returncode
    out, err = (texts.get(n, b'').decode(errors='replace') for n in ('out', 'err'))
    result = Result(process.args, rc, out, err, seconds, usage.ru_maxrss * 1024)
    check(not late.has_called, f'still running after {timeout} s, killed: {result}')
    used = usage.ru_utime + usage.ru_stime
    check(process.allowed is None or used < process.allowed,
          f'it used {used:.1f} s of the processor, and may use {process.allowed} s: {result}')
    return result


def kill(process, sig=signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, sig)


def limit(pid, seconds):
    """Of the processor, for a process and what it starts, or has started in the moment before. Not by a prlimit(1) in
    front: to load that costs more than many a command itself. Of another user's process it may be out of our reach:
    then the wall clock alone ends what hangs."""
    with contextlib.suppress(OSError):
        resource.prlimit(pid, resource.RLIMIT_CPU, (seconds, seconds))
        with open(f'/proc/{pid}/task/{pid}/children', encoding='ascii') as children:
            for child in children.read().split():
                limit(int(child), seconds)


def run(*argv, timeout=120, **options):
    """A command, which may use so many seconds of the processor: the kernel ends it, and what it starts, after
    twice as many (its own count runs ahead of what it reports). A sanitizer's build, and one that qemu-user runs, may
    use five times as many."""
    is_slow = blockpull and (instrumented() or emulated())
    seconds = timeout * (5 if is_slow else 1)
    process = start(*argv, **options)
    process.allowed = seconds
    limit(process.pid, 2 * seconds)
    return finish(process, seconds)


def bp(*args, rc=DONE, timeout=120, command=None, **options):
    """Runs blockpull, or this copy of it, and demands its exit code (rc=None: any that the manual names)."""
    result = run(command or blockpull, *args, timeout=timeout, **options)
    wanted = range(8) if rc is None else rc if isinstance(rc, tuple) else (rc,)
    check(result.rc in wanted, f'exit code {result.rc}, wanted {rc}: {result}')
    return result


def refused(rc, words, *args, **options):
    """Runs blockpull, which must refuse: with this exit code and one clear sentence that holds
    each of the words (a tuple means any of them), upper or lower case alike."""
    result = bp(*args, rc=rc, **options)
    text = result.err.strip()
    check(text, f'refused without a word: {result}')
    check(len(text.splitlines()) <= 2, f'more than a sentence (and a hint): {result}')
    check(not re.search(r'assert|abort|sanitizer|core dumped|runtime error', text, re.I), str(result))
    for word in words:
        choices = word if isinstance(word, tuple) else (word,)
        check(any(c.lower() in text.lower() for c in choices),
              f'the message does not say {" or ".join(map(repr, choices))}: {result}')
    return result


def lines_of(process, stop, timeout=60):
    """JSON lines of a running command's stdout until one satisfies stop(); None if it ended first."""
    timeout = patience(timeout)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        line = process.stdout.readline()
        if not line:
            return None
        event = json.loads(line)
        if stop(event):
            return event
    raise Failed(f'{process.args}: no such progress line within {timeout} s')


def field(obj, *path):
    """A member, by the names on the way to it."""
    for name in path:
        check(isinstance(obj, dict) and name in obj, f'no member {name!r} in {json.dumps(obj)[:600]}')
        obj = obj[name]
    return obj


# ---- The program --------------------------------------------------------------------------------

def temp_dir(name='d'):
    return tempfile.mkdtemp(prefix=name + '-', dir=root)


def _mounts():
    """What is mounted below our directory, the innermost last."""
    with open('/proc/self/mounts', encoding='utf-8') as mounts:
        return [line.split()[1] for line in mounts if root in line.split()[1]]


def _clean_up():
    with _live_lock:
        for process in list(_live):
            kill(process)
    if root:
        for where in reversed(_mounts()):  # a case that was interrupted has not unmounted it
            subprocess.run(['umount', '-l', where], check=False)
        shutil.rmtree(root, ignore_errors=True)


def _interrupted(number, frame):
    """Mostly Meson's time is up. It kills half a second later, and knows nothing of what a case has started: that
    goes first, and then it is told what was waited for."""
    commands = [' '.join(process.args) for process in list(_live)]
    with _live_lock:
        for process in list(_live):
            kill(process)
    said = f'ended by {signal.Signals(number).name} in: {"; ".join(_running.values())}'
    for stream, text in (1, 'Bail out! ' + said), (2, '\n'.join([said, *(f'it ran: {command}' for command in commands)])):
        with contextlib.suppress(OSError):
            os.write(stream, text.encode() + b'\n')
    for pid, _ in _ours():  # one may have begun a moment ago, and be none of those yet
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    _clean_up()
    os._exit(128 + number)


@functools.lru_cache(1)
def instrumented():
    """Whether the command is a sanitizer's build, of which memory and speed prove nothing."""
    with open(blockpull, 'rb') as file:
        return re.search(rb'__[at]san_init', file.read()) is not None


def emulated():
    """Whether the command runs under qemu-user (tools/cross/run says so), which knows no io_uring and no seccomp."""
    return 'BB_EMULATED' in os.environ


def need_sandbox():
    """Skips the case where the command was built without its sandbox: builds with sanitizers or counters."""
    if 'seccomp' not in bp('--version').out:
        raise Skip('built without the sandbox\'s filter')


def _ours():
    """(pid, words) of each process that we started, or that these started: its TMPDIR names our directory."""
    token = f'TMPDIR={root}'.encode()
    for pid in filter(str.isdigit, os.listdir('/proc')):
        with contextlib.suppress(OSError):
            with open(f'/proc/{pid}/environ', 'rb') as environ:
                if token not in environ.read().split(b'\0'):
                    continue
            with open(f'/proc/{pid}/cmdline', 'rb') as cmdline:
                yield int(pid), cmdline.read().replace(b'\0', b' ').decode(errors='replace')


def _nothing_left(directory):
    for pid, words in _ours():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        raise Failed(f'process {pid} was left behind: {words}')
    check(not _mounts(), f'mounts left behind: {_mounts()}')


def _outcome(chosen):
    """Runs a case; returns its verdict, its title, and what to say below them."""
    title, function, args = chosen
    _mine.notes, _mine.started = [], []
    _running[threading.get_ident()] = title
    directory = temp_dir()
    verdict = 'not ok'
    try:
        need('qemu-img', 'qemu-io')
        function(directory, *args)
        verdict = 'ok'
    except Skip as reason:
        verdict, title = 'ok', f'{title} # SKIP {reason}'
    except Failed as error:
        note(error)
    except Exception:  # a fault of the test is a failure too, and the others go on
        note(traceback.format_exc())
    for process in _mine.started:
        if process.returncode is None:  # a failed case does not wait for its helpers
            kill(process)
            process.wait()
            with _live_lock:
                _live.discard(process)
    shutil.rmtree(directory, ignore_errors=True)
    del _running[threading.get_ident()]
    return verdict, title, _mine.notes


def _prepare():
    global blockpull, root
    command = sys.argv[1] if len(sys.argv) > 1 else os.environ.get('BLOCKPULL')
    if not command or not os.access(command, os.X_OK):
        sys.exit(f'usage: {sys.argv[0]} /path/to/blockpull [WORD]')
    blockpull = os.path.abspath(command)
    root = os.path.realpath(tempfile.mkdtemp(prefix='blockpull-bb-'))
    os.chmod(root, 0o755)  # for the cases that go on as another user (reach.py)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    atexit.register(_clean_up)
    threading.Thread(target=_nap, daemon=True).start()
    for sig in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(sig, _interrupted)


def main(workers=1):
    """Runs the cases, in this many threads, and reports them in order. Each gets a directory."""
    _prepare()
    word = sys.argv[2] if len(sys.argv) > 2 else ''
    chosen = [c for c in cases if word in c[0]]
    if word and not chosen:
        sys.exit(f'{sys.argv[0]}: no case has {word!r} in its title')
    print(f'1..{len(chosen) + 1}', flush=True)
    n_failed = 0
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        last = map(_outcome, [('nothing is left behind', _nothing_left, ())])
        outcomes = pool.map(_outcome, chosen) if workers > 1 else map(_outcome, chosen)
        for number, (verdict, title, notes) in enumerate(itertools.chain(outcomes, last), 1):
            n_failed += verdict != 'ok'
            print(f'{verdict} {number} - {title}')
            for line in '\n'.join(notes).splitlines():
                print('# ' + line)
                if verdict != 'ok':  # meson shows this stream of a program that failed, and not the other
                    print(f'{number}: {line}', file=sys.stderr)
            sys.stdout.flush()
    sys.exit(1 if n_failed else 0)
