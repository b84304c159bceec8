# SPDX-License-Identifier: MIT OR Apache-2.0
"""The units, started: by a systemd of our own, the first process of namespaces (manager.sh), which runs them as a host's would, as
their own user and under their sandboxes. What is this host's stands in drop-ins, as the units ask for. It sees directories
of the trial at /srv, /usr/local and in the place of nbdkit's plugins; no file of this machine is written to.

A user's manager (systemd --user) was rejected: it can't apply most of what the sandboxes ask for."""
import os
import pathlib
import re
import shutil
import subprocess

from probe import UNSEEN
from trial import MIB, Failed, Skip, check, judge_image, need, run, wait_for, written

HERE = pathlib.Path(__file__).resolve().parent
MANAGER = HERE / 'manager.sh'
UID = 64321
PULL, SERVE = 'blockpull@{}.service', 'blockpull-serve@{}.service'
SLOW = 'ExecStart=\nExecStart=blockpull pull --progress=none --bandwidth=1M %f\n'
PROBE = ('StandardOutput=append:/run/trial/{}\nExecStart=\n'
         'ExecStart=/usr/bin/python3 -B /usr/local/bin/probe.py /etc/systemd/system/{} "{}"\n')
HOST = 'Environment=LD_LIBRARY_PATH=/usr/local/lib\nStandardOutput=append:/run/trial/said-%i.out\nStandardError=append:/run/trial/said-%i.out\n'
# Also where we are killed, they end with us.
WITH_US = 'setpriv', '--pdeathsig', 'KILL'
NAMESPACES = 'uts', 'ipc', 'net', 'user'
# The exit codes that another try may mend, and those that it can't; of docs/fleet.md.
RETRIED, FINAL = (1, 3, 7), (2, 4, 5, 6)


class Manager:
    """systemd, whose files are all in one directory. It ends, with all that it started, when this does."""

    def __init__(self, d, blockpull):
        need('setpriv', 'unshare', 'nsenter', 'systemctl', 'nbdkit')
        if os.geteuid():
            raise Skip('mounts and units need root')
        forbidden = run('unshare', '--mount', '--pid', '--cgroup', '--uts', '--ipc', '--net', '--fork', '--mount-proc', 'true', rc=None)
        if forbidden.returncode:
            raise Skip('namespaces are forbidden here: ' + forbidden.stderr.strip())
        self.d, self.log, self.process, self.reader, self.pid = d, d / 'manager.out', None, None, None
        os.mkfifo(d / 'kmsg')
        plugin = blockpull.parent / 'nbdkit-blockpull-plugin.so'
        found = re.search('^plugindir=(.*)', run('nbdkit', '--dump-config').stdout, re.M)[1]
        self.plugins = found if plugin.exists() else ''
        for name in 'etc/systemd/system', 'srv/vms', 'srv/templates', 'srv/elsewhere', 'local/bin', 'local/lib', 'plugins', 'units', 'nothing':
            (d / name).mkdir(parents=True)
        for name, line in ('passwd', f'blockpull:x:{UID}:{UID}::/nonexistent:/usr/sbin/nologin\n'), ('group', f'blockpull:x:{UID}:\n'):
            (d / 'etc' / name).write_text(pathlib.Path('/etc', name).read_text() + line)
        (d / 'etc/machine-id').write_text('0123456789abcdef' * 2 + '\n')
        for name in 'trial', 'sysinit', 'basic', 'sockets', 'shutdown':
            (d / f'units/{name}.target').write_text('[Unit]\nDefaultDependencies=no\n')
        shutil.copy(blockpull, d / 'local/bin')
        shutil.copy(HERE / 'probe.py', d / 'local/bin')
        for library in re.findall(r'=> (\S*/libblockpull\S*) ', run('ldd', blockpull).stdout):
            shutil.copy(library, d / 'local/lib')
        if self.plugins:
            shutil.copy(plugin, d / 'plugins')
        for unit in HERE.glob('blockpull*@.*'):
            shutil.copy(unit, d / 'etc/systemd/system')
        for unit in 'blockpull@.service', 'blockpull-serve@.service':
            self.drop_in(unit, HOST)

    def drop_in(self, unit, text):
        where = self.d / 'etc/systemd/system' / f'{unit}.d'
        where.mkdir(exist_ok=True)
        # One of the same name in a template's directory would not be read.
        (where / f'{unit.split(".")[0]}.conf').write_text('[Service]\n' + text)

    def __enter__(self):
        os.chown(self.d / 'srv/vms', UID, UID)
        with open(self.log, 'ab') as out, open(os.open(self.d / 'kmsg', os.O_RDWR), 'rb') as log:
            self.reader = subprocess.Popen([*WITH_US, 'cat'], stdin=log, stdout=out, start_new_session=True)
            self.process = subprocess.Popen([*WITH_US, 'unshare', '--mount', 'sh', MANAGER, 'outer', self.d, self.plugins], stdout=out, stderr=out,
                                            stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            wait_for('systemd', self.is_up, 60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def is_up(self):
        check(self.process.poll() is None, 'systemd has ended')
        children = pathlib.Path(f'/proc/{self.process.pid}/task/{self.process.pid}/children').read_text().split()
        self.pid = int(children[0]) if children else None
        return self.pid and self.systemctl('is-active', 'trial.target', rc=None).stdout == 'active\n'

    def __exit__(self, *_):
        self.process.kill()  # unshare's child, systemd, ends with it, and what that started with the first process of a namespace
        self.process.wait()
        self.reader.kill()
        self.reader.wait()
        wait_for('the cgroups', lambda: not run('unshare', '--mount', 'sh', MANAGER, 'clean', self.d, rc=None).returncode, 20)

    def inside(self, *argv, **options):
        return run('nsenter', '--target', self.pid, '--mount', '--pid', '--net', '--uts', '--ipc', *argv, **options)

    def systemctl(self, *argv, **options):
        return self.inside('systemctl', *argv, **options)

    def start(self, unit, *options, rc=0):
        return self.systemctl('start', *options, unit, rc=rc)

    def show(self, unit):
        said = self.systemctl('show', unit, '-p', 'ActiveState,SubState,Result,NRestarts,ExecMainStatus').stdout
        return dict(line.split('=', 1) for line in said.splitlines())

    def namespaces(self):
        return ' '.join(os.readlink(f'/proc/{self.pid}/ns/{kind}') for kind in NAMESPACES)

    def kill(self, unit):
        """Its main process, by its manager: a number of the manager's namespace may be another process's out here."""
        self.systemctl('kill', '--kill-who=main', '--signal=KILL', unit)


def name_of(image):
    return 'srv-vms-' + image


class Host:
    """The images: one base in the place of templates, and an overlay on it for each case."""

    def __init__(self, d, rng):
        self.vms, self.content = d / 'srv/vms', rng.randbytes(8 * MIB)
        self.shown = written(self.content, 65536, 7)  # by each overlay
        for place in 'templates', 'elsewhere', 'vms':
            self.base(d / 'srv' / place / 'base.raw')

    def base(self, path):
        path.write_bytes(self.content)
        path.chmod(0o644)

    def overlay(self, name, base='../templates/base.raw'):
        """Its name in units."""
        path = self.vms / name
        run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', path)
        run('qemu-io', '-f', 'qcow2', '-c', 'write -P 7 64k 64k', path)
        os.chown(path, UID, UID)
        return name_of(name)

    def judge(self, name):
        judge_image(self.vms / name, self.shown)


def said(manager, name):
    path = manager.d / f'said-{name}.out'
    return path.read_text() if path.exists() else ''


def expect(manager, unit, restarts=0, **wanted):
    """A unit that has ended well is forgotten: what it was started again for stands in the manager's log alone."""
    shown = manager.show(unit)
    shown['restarts'] = manager.log.read_text(errors='replace').count(f'{unit}: Scheduled restart job')
    wanted['restarts'] = restarts
    check(all(shown[key] == value for key, value in wanted.items()), f'{unit}: {shown}, not {wanted}')


# ---- Cases, in the order of what they wait for --------------------------------------------------

def pulls(manager, host):
    """One start pulls, the next one has nothing to do."""
    name = host.overlay('done')
    manager.start(PULL.format(name))
    expect(manager, PULL.format(name), ActiveState='inactive', Result='success')
    host.judge('done')
    before, n = os.stat(host.vms / 'done').st_mtime_ns, len(said(manager, name))
    manager.start(PULL.format(name))
    check('nothing to pull' in said(manager, name)[n:], f'the second start said: {said(manager, name)[n:]}')
    check(os.stat(host.vms / 'done').st_mtime_ns == before, 'the second start changed the image')


def half_way(manager, host, image):
    """A slow pull that has copied a part: its unit."""
    unit = PULL.format(host.overlay(image))
    manager.drop_in(unit, SLOW)
    manager.systemctl('daemon-reload')
    manager.start(unit, '--no-block')
    wait_for('a part of a pull', lambda: os.stat(host.vms / image).st_blocks * 512 > 2 * MIB, 60)
    return unit


class Killed:
    """A pull that is killed half way is started once more, and goes on."""

    def begin(self, manager, host):
        self.unit = half_way(manager, host, 'killed')
        manager.kill(self.unit)
        wait_for('a restart', lambda: manager.show(self.unit)['SubState'] == 'auto-restart', 30)
        expect(manager, self.unit, Result='signal', ExecMainStatus='9')

    def end(self, manager, host):
        wait_for('the pull after the kill', lambda: manager.show(self.unit)['ActiveState'] == 'inactive', 90)
        expect(manager, self.unit, restarts=1, ActiveState='inactive')
        host.judge('killed')


class Mended:
    """Want of a base (1) and of the lock (3): tried again by the unit itself, and done once that is mended."""

    def begin(self, manager, host):
        self.units = [PULL.format(host.overlay(name, base)) for name, base in (('lost', 'base.raw'), ('locked', '../templates/base.raw'))]
        (host.vms / 'base.raw').unlink()
        holder = subprocess.Popen(['qemu-io', '-f', 'qcow2', host.vms / 'locked'], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        try:
            wait_for('the lock', lambda: run('qemu-img', 'info', host.vms / 'locked', rc=None).returncode, 20)
            for unit, code in zip(self.units, ('1', '3')):
                manager.start(unit, '--no-block')
                wait_for(f'{unit}, another try', lambda u=unit: manager.show(u)['SubState'] == 'auto-restart', 30)
                expect(manager, unit, Result='exit-code', ExecMainStatus=code)
        finally:
            holder.communicate()
        host.base(host.vms / 'base.raw')

    def end(self, manager, host):
        for unit, name in zip(self.units, ('lost', 'locked')):
            wait_for(f'{unit} to end', lambda u=unit: manager.show(u)['ActiveState'] == 'inactive', 90)
            expect(manager, unit, restarts=1, ActiveState='inactive')
            host.judge(name)


def is_over(manager, unit):
    return manager.show(unit)['ActiveState'] in ('failed', 'inactive') or manager.show(unit)['SubState'] == 'auto-restart'


def ends(manager, host):
    """Each exit code: another try, or none. Real for 4 and 6; a program in the pull's place ends with the others."""
    wanted = {code: host.overlay(f'code{code}', '../elsewhere/base.raw' if code == 6 else '../templates/base.raw')
              for code in RETRIED + FINAL}
    with open(host.vms / 'code4', 'r+b') as image:
        image.seek(40)
        image.write((1 << 40).to_bytes(8, 'big'))  # where the first table is
    for code in set(wanted) - {4, 6}:
        manager.drop_in(PULL.format(wanted[code]), f'ExecStart=\nExecStart=sh -c "exit {code}"\n')
    manager.systemctl('daemon-reload')
    for code, name in wanted.items():
        unit = PULL.format(name)
        manager.start(unit, '--no-block')
        wait_for(f'{unit} to end', lambda u=unit: is_over(manager, u), 30)
        expect(manager, unit, ExecMainStatus=str(code), **(
            {'SubState': 'auto-restart'} if code in RETRIED else {'ActiveState': 'failed', 'Result': 'exit-code'}))
        manager.systemctl('stop', unit)


def stops(manager, host):
    """`systemctl stop` ends a pull cleanly: no failure, no other try; a start goes on."""
    unit = half_way(manager, host, 'stopped')
    manager.systemctl('stop', unit)
    expect(manager, unit, ActiveState='inactive')
    check('stopped (Terminated)' in said(manager, name_of('stopped')), 'the pull was over before it was stopped')
    run('qemu-img', 'check', '-q', '-f', 'qcow2', host.vms / 'stopped')
    manager.start(unit)
    host.judge('stopped')


def serves(manager, host):
    """The socket starts the server, which pulls; killed, it is started again, and clients find the disk behind the same socket."""
    if not manager.plugins:
        return 'not served: the plugin was not built'
    name = host.overlay('served')
    unit, path = SERVE.format(name), f'/run/blockpull/{name}.sock'
    socket = unit.replace('.service', '.socket')
    manager.start(socket)
    expect(manager, unit, ActiveState='inactive')
    uri = f'nbd+unix:///?socket={path}'
    copy = manager.d / 'copy'
    for i in range(2):
        manager.inside('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', uri, f'/run/trial/{copy.name}')
        check(copy.read_bytes() == host.shown, 'other bytes were served')
        expect(manager, unit, restarts=i, ActiveState='active')
        if i == 0:
            manager.kill(unit)
            wait_for('the server again', lambda: manager.show(unit)['NRestarts'] == '1' and manager.show(unit)['ActiveState'] == 'active', 30)
    wait_for('the pull', lambda: 'backing file' not in run('qemu-img', 'info', '-U', host.vms / 'served').stdout, 60)
    manager.systemctl('stop', socket, unit)
    expect(manager, unit, restarts=1, ActiveState='inactive')
    check(manager.inside('test', '-e', path, rc=None).returncode, f'{path} is still there')
    host.judge('served')
    return 'served over its socket'


# ---- The sandboxes ------------------------------------------------------------------------------

def probed(manager, template):
    """What the probe says under a unit's options."""
    instance = template.replace('@.', '@probe.')
    manager.drop_in(instance, PROBE.format(f'probe-{template}', template, manager.namespaces()))
    manager.systemctl('daemon-reload')
    manager.start(instance)
    wait_for('the probe', lambda: manager.show(instance)['ActiveState'] != 'active', 30)
    expect(manager, instance, ActiveState='inactive', Result='success')
    return dict(line.split(': ', 1) for line in (manager.d / f'probe-{template}').read_text().splitlines())


def holds_nothing(manager, template):
    """Outside of the unit no probe may find that its option holds: a probe that always did would prove nothing."""
    found = manager.inside('ionice', '-c2', '-n4', '/usr/bin/python3', '-B', '/usr/local/bin/probe.py', f'/etc/systemd/system/{template}',
                           manager.namespaces(), preexec_fn=lambda: (os.setpriority(os.PRIO_PROCESS, 0, 0), os.umask(0o22)))
    held = [line for line in found.stdout.splitlines() if line.endswith(': holds')]
    check(not held, f'the probe finds without the unit: {held}')


def not_applied(manager):
    """What did not hold, for want of something here; whatever else did not fails the trial."""
    missing = []
    for template in 'blockpull@.service', 'blockpull-serve@.service':
        holds_nothing(manager, template)
        for option, said_of_it in probed(manager, template).items():
            if said_of_it != 'holds':
                check(option == 'MemoryHigh' and 'no memory controller' in said_of_it, f'{template}: {option}: {said_of_it}')
                missing.append(f'{option} ({said_of_it})')
    for option, words in ('IPAddressDeny', 'IP firewall'), ('DevicePolicy', 'device ACL'):
        line = re.search(rf'.*{words}.*', manager.log.read_text(errors='replace'))
        if line:
            missing.append(f'{option} ({line[0].split(": ", 1)[-1].strip()})')
    return list(dict.fromkeys(missing))


def try_started(blockpull, _, d, rng):
    with Manager(d, blockpull) as manager:
        host, later = Host(d, rng), (Killed(), Mended())
        for case in later:
            case.begin(manager, host)
        pulls(manager, host)
        ends(manager, host)
        stops(manager, host)
        served = serves(manager, host)
        missing = not_applied(manager)
        for case in later:
            case.end(manager, host)
    return (f'pulled, nothing to do, killed and gone on, mended and tried again, {len(RETRIED + FINAL)} exit codes, stopped, {served}. '
            f'Not applied here: {"; ".join(missing) or "nothing"}. Not to be seen: {", ".join(UNSEEN)}')
