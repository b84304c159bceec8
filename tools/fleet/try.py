#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Tries what is in this folder, on this machine alone, and leaves nothing behind.

usage: try.py BLOCKPULL [--images N] [--kills N] [--seed N]

A Slurm of our own (munge, slurmctld, slurmd on loopback, all its files in one directory) pulls N small overlays
in an array while workers are killed by SIGKILL, the pulls and the scripts that started them. It is submitted until
Slurm says that all tasks ended with 0; then each overlay is judged by qemu-img, and the array is run once more,
which must change nothing. The same by GNU parallel over ssh to a server of our own. The Kubernetes objects are
validated against the API's schema, the units by systemd-analyze, and started by a systemd of our own (started.py).
What is not installed is skipped with a reason.
"""
import argparse
import contextlib
import getpass
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
import threading
import time

from started import try_started
from trial import Failed, Skip, check, free_port, judge_images, make_images, need, run, stamps, wait_for

HERE = pathlib.Path(__file__).resolve().parent
EXPOSURE = 1.0  # what systemd-analyze may say at most
rows = []       # (what, verdict, how)


# ---- Processes of ours --------------------------------------------------------------------------

def ours(token, name=None):
    """Of all processes those whose command line or environment names the directory: (pid, parent, command line)."""
    for pid in filter(str.isdigit, os.listdir('/proc')):
        with contextlib.suppress(OSError, IndexError):
            where = pathlib.Path('/proc', pid)
            line = (where / 'cmdline').read_bytes()
            if int(pid) == os.getpid() or (token not in line and token not in (where / 'environ').read_bytes()):
                continue
            if name and os.path.basename(line.split(b'\0')[0]) != name:
                continue
            yield int(pid), int((where / 'stat').read_text().rsplit(')', 1)[1].split()[1]), line


class Killer(threading.Thread):
    """Kills pulls below the directory at random, and now and then the script that waits for one."""

    def __init__(self, d, n_kills, rng):
        super().__init__(daemon=True)
        self.token, self.left, self.rng = os.fsencode(d), n_kills, rng
        self.pulls = self.scripts = 0
        self.over = threading.Event()

    def run(self):
        while self.left and not self.over.wait(self.rng.uniform(0.02, 0.3)):
            pulls = list(ours(self.token, b'blockpull'))
            if not pulls:
                continue
            pid, parent, _ = self.rng.choice(pulls)
            script = self.rng.random() < 0.2
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                if script and any(parent == p for p, _, _ in ours(self.token, b'bash')):
                    os.kill(parent, signal.SIGKILL)
                    self.scripts += 1
                self.pulls += 1
                self.left -= 1


def nothing_left(d):
    """The directory is gone; so must be all processes that name it."""
    token, deadline = os.fsencode(d), time.monotonic() + 20
    while left := list(ours(token)):
        if time.monotonic() > deadline:
            for pid, _, _ in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise Failed(f'left behind: {left}')
        time.sleep(0.2)
    check(not d.exists(), f'{d} is still there')


# ---- Slurm --------------------------------------------------------------------------------------

SLURM_CONF = '''
ClusterName=try
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctl_port}
SlurmdPort={d_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={d}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={d}/state
SlurmdSpoolDir={d}/spool
SlurmctldPidFile={d}/slurmctld.pid
SlurmdPidFile={d}/slurmd.pid
SlurmctldLogFile={d}/slurmctld.log
SlurmdLogFile={d}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
MaxArraySize=10001
MinJobAge=600
KillWait=5
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=4096 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
'''


class Slurm:
    """munged, slurmctld and slurmd, whose files are all in one directory."""

    def __init__(self, d):
        need('munged', 'slurmctld', 'slurmd', 'sbatch', 'scontrol')
        if os.geteuid():
            raise Skip('slurmd wants to be root')
        self.d, self.started = d, []
        for name in 'state', 'spool':
            (d / name).mkdir()
        host = socket.gethostname().split('.')[0]
        (d / 'slurm.conf').write_text(SLURM_CONF.format(d=d, host=host, ctl_port=free_port(), d_port=free_port(),
                                                        user=getpass.getuser()))
        (d / 'munge.key').write_bytes(os.urandom(128))
        os.chmod(d / 'munge.key', 0o400)
        self.env = dict(os.environ, SLURM_CONF=f'{d}/slurm.conf', PATH=os.environ['PATH'] + ':/usr/sbin')

    def __enter__(self):
        d = self.d
        self.start('munged', '--foreground', '--force', f'--socket={d}/munge.socket', f'--key-file={d}/munge.key',
                   f'--pid-file={d}/munged.pid', f'--log-file={d}/munged.log', f'--seed-file={d}/munged.seed')
        wait_for('munged', (d / 'munge.socket').exists)
        self.start('slurmctld', '-D')
        self.start('slurmd', '-D')
        wait_for('Slurm', lambda: 'idle' in run('sinfo', '-h', '-o', '%t', rc=None, env=self.env).stdout)
        return self

    def start(self, *argv):
        with open(self.d / f'{argv[0]}.out', 'wb') as out:
            self.started.append(subprocess.Popen(argv, env=self.env, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                                 cwd=self.d, start_new_session=True))

    def __exit__(self, *_):
        for process in reversed(self.started):
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid, _, _ in list(ours(os.fsencode(self.d))):
            with contextlib.suppress(ProcessLookupError):  # a step's daemon, or a pull that a failure left
                os.kill(pid, signal.SIGKILL)

    def array(self, blockpull, n, *options):
        """Submits the array and waits for all of it. The highest exit code of a task."""
        env = dict(self.env, BLOCKPULL=str(blockpull), BLOCKPULL_PAUSE='0', BLOCKPULL_TRIES='2')
        return run('sbatch', '--wait', '--quiet', f'--array=0-{n - 1}', f'--output={self.d}/task-%a.log', '--mem=16M',
                   HERE / 'pull-array.sbatch', n, self.d / 'list', *options, rc=None, env=env, cwd=self.d)


def try_slurm(blockpull, options, d, rng):
    n = options.images
    with Slurm(d) as slurm:
        make_images(d, n, rng)
        killer = Killer(d, options.kills, rng)
        killer.start()
        began, rounds, result = time.monotonic(), 0, None
        while result is None or result.returncode:
            check(rounds < 20, f'not done after {rounds} submissions: {result}')
            result, rounds = slurm.array(blockpull, n, '--bandwidth=8M'), rounds + 1
            print(f'# submission {rounds}: {result.returncode} {result.stderr.strip()[:300]}', file=sys.stderr)
        killer.over.set()
        killer.join()
        seconds = time.monotonic() - began
        judge_images(d, n)
        before = stamps(d, n)
        check(slurm.array(blockpull, n).returncode == 0, 'the array failed when all was done')
        check(stamps(d, n) == before, 'the second run changed images that were finished')
        check(killer.pulls >= min(options.kills, n // 10), f'only {killer.pulls} pulls were killed: it proves little')
    return (f'{n} overlays in {seconds:.0f} s, {rounds} submissions; {killer.pulls} pulls and {killer.scripts} scripts '
            'killed; judged by qemu-img; a further run changed nothing')


# ---- GNU parallel over ssh ----------------------------------------------------------------------

def try_parallel(blockpull, _, d, rng):
    need('parallel', 'sshd', 'ssh', 'ssh-keygen')
    if os.geteuid():
        raise Skip('sshd wants to be root')
    n, port, run_dir = 12, free_port(), pathlib.Path('/run/sshd')
    made = not run_dir.exists()
    run_dir.mkdir(exist_ok=True)
    for name in 'host', 'key':
        run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', d / name)
    (d / 'sshd.conf').write_text((HERE / 'sshd.conf').read_text().format(d=d, port=port))
    make_images(d, n, rng)
    server = subprocess.Popen(['/usr/sbin/sshd', '-D', '-e', '-f', d / 'sshd.conf'], stderr=subprocess.DEVNULL,
                              start_new_session=True)
    try:
        wait_for('sshd', lambda: not socket.socket().connect_ex(('127.0.0.1', port)))
        ssh = (f'ssh -p {port} -i {d}/key -o UserKnownHostsFile={d}/known -o StrictHostKeyChecking=no '
               '-o LogLevel=ERROR')
        env = dict(os.environ, HOME=str(d), PARALLEL_HOME=str(d / 'parallel'))
        (d / 'names').write_text(''.join(f'{d}/vm{i}.qcow2\n' for i in range(n)))
        for _ in range(2):  # the second time there is nothing to do
            run('parallel', '--will-cite', '--ssh', ssh, '--sshlogin', '2/root@127.0.0.1', '--retries', 3, '--joblog', d / 'joblog',
                f'{blockpull} pull -q {{}}', '::::', d / 'names', env=env)
        judge_images(d, n)
    finally:
        server.terminate()
        server.wait()
        if made:
            run_dir.rmdir()
    return f'{n} overlays over ssh to 127.0.0.1, twice'


# ---- Files --------------------------------------------------------------------------------------

def try_kubernetes(_, __, d, ___):
    need('node', 'npm')
    (d / 'package.json').write_text('{}')
    fetched = run('npm', 'install', '--no-audit', '--no-fund', '--loglevel=error', 'kubernetes-models@5', 'yaml@2', rc=None, cwd=d)
    if fetched.returncode:
        raise Skip('npm could not fetch the schema: ' + ' '.join(fetched.stderr.split())[:200])
    valid = run('node', HERE / 'validate.mjs', d, HERE / 'job.yaml').stdout.split('\n')
    text = (HERE / 'job.yaml').read_text()
    for good, bad in (('action: FailIndex', 'actio: FailIndex'), ('completions: 200', 'completions: many'),
                      ('backoffLimitPerIndex: 4', 'backoffLimitPerIndx: 4')):
        check(good in text, f'{good} is not in job.yaml')
        (d / 'bad.yaml').write_text(text.replace(good, bad, 1))
        run('node', HERE / 'validate.mjs', d, d / 'bad.yaml', rc=1)
    return f'{len(valid) - 1} objects; three planted mistakes were found'


def try_units(blockpull, _, d, __):
    need('systemd-analyze')
    found = []
    # verify wants the programs to be there; where they are installed is another matter.
    (d / 'bin').mkdir()
    shutil.copy(blockpull, d / 'bin/blockpull')
    shutil.copy('/bin/true', d / 'bin/nbdkit')
    for unit in sorted(HERE.glob('*.service')) + sorted(HERE.glob('*.socket')):
        text = re.sub(r'^ExecStart=(\w+)', rf'ExecStart={d}/bin/\1', unit.read_text(), flags=re.M)
        (d / unit.name).write_text(re.sub(r'^Documentation=.*\n', '', text, flags=re.M))
    for unit in sorted(d.glob('*@.*')):
        said = run('systemd-analyze', 'verify', unit).stderr.strip()
        said = '\n'.join(line for line in said.splitlines() if unit.name.split('@')[0] in line)
        check(not said, f'{unit.name}: {said}')
        if unit.suffix == '.service':
            said = run('systemd-analyze', 'security', '--offline=yes', unit, rc=None).stdout
            exposure = float(re.search(r'Overall exposure level for \S+: ([0-9.]+)', said)[1])
            check(exposure <= EXPOSURE, f'{unit.name}: exposure {exposure}, at most {EXPOSURE} is allowed')
            found.append(f'{unit.name} {exposure}')
    return 'exposure: ' + ', '.join(found)


def attempt(what, function, blockpull, options):
    d = pathlib.Path(tempfile.mkdtemp(prefix='blockpull-fleet.'))
    began = time.monotonic()
    try:
        verdict, how = 'ok', function(blockpull, options, d, random.Random(options.seed))
    except Skip as reason:
        verdict, how = 'skipped', str(reason)
    except Failed as story:
        verdict, how = 'FAILED', str(story)
        for log in sorted(d.glob('slurm*.log')) + sorted(d.glob('*.out')):
            print(f'# {log.name}: ' + '\n# '.join(log.read_text(errors='replace').splitlines()[-15:]), file=sys.stderr)
    finally:
        shutil.rmtree(d, ignore_errors=True)
    try:
        nothing_left(d)
    except Failed as story:
        verdict, how = 'FAILED', str(story)
    rows.append((what, verdict, f'{time.monotonic() - began:.0f} s', how))
    print(f'{verdict}: {what}: {how}', file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description='Tries what is in tools/fleet/, on this machine.')
    parser.add_argument('blockpull', type=pathlib.Path)
    parser.add_argument('--images', type=int, default=200, help='overlays that the array pulls (200)')
    parser.add_argument('--kills', type=int, default=60, help='workers that are killed (60)')
    parser.add_argument('--seed', type=int, default=random.randrange(1 << 30))
    parser.add_argument('--only', help='slurm, parallel, kubernetes, units or started')
    options = parser.parse_args()
    blockpull = options.blockpull.resolve()
    for number in signal.SIGTERM, signal.SIGHUP:  # as Ctrl-C does: what was started is ended
        signal.signal(number, lambda *_: sys.exit(1))
    print(f'# seed {options.seed}', file=sys.stderr)
    for what, function in (('units', try_units), ('started', try_started), ('kubernetes', try_kubernetes), ('parallel', try_parallel), ('slurm', try_slurm)):
        if options.only in (None, what):
            attempt(what, function, blockpull, options)
    for row in rows:
        print('{:<12}{:<9}{:>6}  {}'.format(*row))
    n = [sum(row[1] == verdict for row in rows) for verdict in ('ok', 'FAILED', 'skipped')]
    print(f'fleet: {n[0]} passed, {n[1]} failed, {n[2]} skipped')
    sys.exit(n[1] > 0)


if __name__ == '__main__':
    main()
