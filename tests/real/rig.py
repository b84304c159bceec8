# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the scenarios share: programs that end with them, servers, images, and qemu-img as the judge."""
import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

KIB = 1 << 10
MIB = 1 << 20
WAIT = 60  # seconds, for what takes less than one on a quiet machine
# Debian's programs first: by its PATH the Python inside nbdkit chooses its modules.
PATH = '/usr/bin:/bin:/usr/sbin:/sbin:' + os.environ['PATH']


class Failed(Exception):
    """Its text is the whole story."""


class Skip(Exception):
    """Its text is the reason."""


def check(condition, message):
    if not condition:
        raise Failed(message)


def same(got, wanted, what):
    check(got == wanted, f'{what}: {got!r}, wanted {wanted!r}')


def need(*programs):
    for program in programs:
        if not shutil.which(program, path=PATH):
            raise Skip(f'{program} is not installed')


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def wait_for(what, condition, seconds=WAIT):
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, f'{what}: not within {seconds} s')
        time.sleep(0.02)


def answers(address):
    """Does a server listen at a port of 127.0.0.1, or a path?"""
    with socket.socket(socket.AF_INET if isinstance(address, int) else socket.AF_UNIX) as s:
        return s.connect_ex(('127.0.0.1', address) if isinstance(address, int) else address) == 0


class Rig:
    """One scenario: its directory `d`, its environment, all that it started. At the end nothing of it is left."""

    def __init__(self, blockpull, seed):
        self.blockpull, self.rng = str(blockpull), random.Random(seed)
        self.d = pathlib.Path(tempfile.mkdtemp(prefix='blockpull-remote.'))
        # By this variable processes that a failure left are found; nothing of the user's home is read.
        self.env = dict(os.environ, BLOCKPULL_REMOTE=str(self.d), HOME=str(self.d), PATH=PATH)
        self.started = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        ignored = [(number, signal.signal(number, signal.SIG_IGN)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        try:
            for process in reversed(self.started):
                end(process)
            shutil.rmtree(self.d)
            self.nothing_left()
        finally:
            for number, handler in ignored:
                signal.signal(number, handler)

    def nothing_left(self):
        deadline = time.monotonic() + 20
        while left := list(self.ours()):
            if time.monotonic() > deadline:
                for pid, _ in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                raise Failed(f'left behind: {left}')
            time.sleep(0.1)
        check(not self.d.exists(), f'{self.d} is still there')

    def ours(self):
        """Of all other processes those that this scenario started: (pid, command line)."""
        token = os.fsencode(self.d)
        for pid in filter(str.isdigit, os.listdir('/proc')):
            with contextlib.suppress(OSError):
                where = pathlib.Path('/proc', pid)
                line = (where / 'cmdline').read_bytes()
                if int(pid) != os.getpid() and (token in line or token in (where / 'environ').read_bytes()):
                    yield int(pid), line

    def show_logs(self):
        for log in sorted(self.d.glob('*.log')):
            lines = log.read_text(errors='replace').splitlines()[-15:]
            print(f'# {log.name}: ' + '\n# '.join(lines), file=sys.stderr)

    # ---- Programs -------------------------------------------------------------------------------

    def run(self, *argv, rc=0, **options):
        result = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False, timeout=600,
                                stdin=subprocess.DEVNULL, env=options.pop('env', self.env), **options)
        check(rc is None or result.returncode == rc, f'{argv}: exit {result.returncode}: {result.stdout}{result.stderr}')
        return result

    def ours_run(self, *argv, **options):
        return self.run(self.blockpull, *argv, **options)

    def start(self, *argv, at=None, env=None):
        """A program of its own session. With `at`, a port or a socket's path, it listens there when this returns."""
        log = self.d / f'{len(self.started)}-{os.path.basename(str(argv[0]))}.log'
        with open(log, 'wb') as out:
            process = subprocess.Popen([str(a) for a in argv], env=env or self.env, stdout=out, stderr=out, cwd=self.d,
                                       stdin=subprocess.DEVNULL, start_new_session=True)
        process.log = log
        self.started.append(process)
        if at is not None:
            wait_for(f'{argv[0]} at {at}', lambda: answers(at) or process.poll() is not None)
            check(process.poll() is None, f'{argv} ended: {log.read_text(errors="replace")}')
        return process

    def nbdkit(self, *words, sock='s', env=None):
        """A server on a socket in the directory: (process, the URI that names it)."""
        path = f'{self.d}/{sock}'
        process = self.start('nbdkit', '-f', '-r', '-U', path, *words, at=path, env=env)
        return process, f'nbd+unix:///?socket={path}'

    # ---- Images ---------------------------------------------------------------------------------

    def base(self, size=24 * MIB):
        """base.raw with data, zeros and holes, and base.qcow2 with the same disk, compressed."""
        raw = self.d / 'base.raw'
        with open(raw, 'wb') as out:
            for offset in range(0, size, 4 * MIB):
                out.seek(offset + 64 * KIB * self.rng.randrange(8))
                out.write(self.rng.randbytes(MIB + 512) + bytes(128 * KIB) + b'text ' * (100 * KIB))
            out.truncate(size)
        self.run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', '-c', raw, self.d / 'base.qcow2')

    def overlay(self, name, backing, fmt, top='top'):
        """An overlay with writes of its own that records `name`, and its twin, which records the base's file."""
        top, twin = self.d / f'{top}.qcow2', self.d / f'{top}-twin.qcow2'
        self.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', backing, '-F', fmt, twin)
        for _ in range(5):
            at, byte = self.rng.randrange(300) * 64 * KIB + 512, self.rng.randrange(1, 256)
            self.run('qemu-io', '-f', 'qcow2', '-c', f'write -P {byte} {at} 70k', twin)
        shutil.copy(twin, top)
        self.run('qemu-img', 'rebase', '-q', '-u', '-f', 'qcow2', '-b', name, '-F', fmt, top)
        return top, twin

    def judge(self, top, twin):
        """It stands alone and shows what its twin shows with the base's file."""
        same(re.findall('.*backing file.*', self.run('qemu-img', 'info', top).stdout), [], f'{top} still has its link')
        self.run('qemu-img', 'check', '-q', '-f', 'qcow2', top)
        self.run('qemu-img', 'compare', '-q', '-f', 'qcow2', '-F', 'qcow2', top, twin)


def end(process):
    """SIGTERM, and SIGKILL if that is not enough, or if the program hears nothing else."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL if os.path.basename(process.args[0]) == 'unshare' else signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def kill(process):
    process.kill()
    process.wait()
