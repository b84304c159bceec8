# SPDX-License-Identifier: MIT OR Apache-2.0
"""What is in tools/fleet/, as far as it can be tried without a fleet: the array's script where no Slurm is, the container's
filter, and that files which name exit codes, options and metrics name those that the command has. `./tools/dev fleet` tries
the rest."""
import ctypes
import json
import os
import pathlib
import re
import signal
import struct
import time

import facts
import harness
import images
import processes
import prometheus
from harness import CORRUPT, DONE, FAILED, MIB, USAGE, Skip, bp, case, check, need, same
from images import overlay, raw_image

FLEET = pathlib.Path(__file__).resolve().parents[3] / 'tools/fleet'
METRIC = re.compile(r'\bblockpull_[a-z_]+')


def listed(d, n, size=MIB):
    raw_image(f'{d}/base.img', size)
    names = [overlay(f'{d}/v{i}', 'base.img') for i in range(n)]
    with open(f'{d}/list', 'w', encoding='ascii') as file:
        file.write('\n'.join(names))
    return names


def array(d, index, *args, script=FLEET / 'pull-array.sbatch', **env):
    env = harness.environment(SLURM_ARRAY_TASK_ID=str(index), BLOCKPULL=harness.blockpull, BLOCKPULL_PAUSE='0', **env)
    return harness.start('bash', script, *args, env=env, cwd=d)


def is_pulled(path):
    return 'backing-filename' not in images.image_info(path)


@case('the array: each task takes its shard')
def shards(d):
    names = listed(d, 5)
    for index in 0, 2:
        same(harness.finish(array(d, index, 3, f'{d}/list', '--verify')).rc, DONE, 'exit code')
    same([is_pulled(name) for name in names], [True, False, True, True, False], 'pulled by shards 0 and 2 of 3')
    same(harness.finish(array(d, 7, 8, f'{d}/list')).rc, DONE, 'of a shard without names')


@case('the array: metrics of each task')
def metrics(d):
    names = listed(d, 2)
    same(harness.finish(array(d, 1, 2, f'{d}/list', BLOCKPULL_METRICS_DIR=d)).rc, DONE, 'exit code')
    found = prometheus.read(f'{d}/blockpull-1.prom')
    same(prometheus.value(found, 'blockpull_image_exit_code', image=names[1]), 0, 'exit code')


@case('the array: SIGTERM stops the pull cleanly')
def stopped(d):
    names = listed(d, 1, 8 * MIB)
    task = array(d, 0, 1, f'{d}/list', '--bandwidth=1M', '--progress=json')
    check(harness.lines_of(task, lambda line: line.get('cur')), 'it has ended already')
    task.send_signal(signal.SIGTERM)  # the script alone, as Slurm does with B:
    result = harness.finish(task)
    same(result.rc, 128 + signal.SIGTERM, f'exit code: {result}')
    check('are kept and the image is valid' in result.err, str(result))
    images.settle(names[0])
    same(images.image_check(names[0], 'qcow2'), 0, 'qemu-img check')


def pull_of(d):
    """The process id of the command that works below d."""
    deadline = time.monotonic() + harness.WAIT
    while time.monotonic() < deadline:
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                line = pathlib.Path('/proc', pid, 'cmdline').read_bytes().split(b'\0')
            except OSError:
                continue
            if line[0] == os.fsencode(harness.blockpull) and os.fsencode(f'{d}/list') in line:
                return int(pid)
        time.sleep(0.01)
    raise harness.Failed('no pull runs')


@case('the array: a pull that is killed is tried again')
def killed(d):
    names = listed(d, 1, 4 * MIB)
    task = array(d, 0, 1, f'{d}/list', '--bandwidth=4M')
    os.kill(pull_of(d), signal.SIGKILL)
    result = harness.finish(task)
    same(result.rc, DONE, f'exit code: {result}')
    check('exit code 137, trying again' in result.err, str(result))
    images.judge_pulled(names[0], 'qcow2', f'{d}/base.img')


@case('the array: how often it tries')
def tries(d):
    name, = listed(d, 1)
    images.patch(name, 40, struct.pack('>Q', 1 << 40))
    result = harness.finish(array(d, 0, 1, f'{d}/list', BLOCKPULL_TRIES='3'))
    same((result.rc, result.err.count('trying again')), (CORRUPT, 0), 'an image that needs a person')
    os.unlink(name)
    result = harness.finish(array(d, 0, 1, f'{d}/list', BLOCKPULL_TRIES='3'))
    same((result.rc, result.err.count('trying again')), (FAILED, 2), 'an image that may come back')
    same(harness.finish(array(d, 0, 1, f'{d}/gone', BLOCKPULL_TRIES='1')).rc, FAILED, 'a list that is not there')
    same(harness.finish(array(d, 0, 1)).rc, USAGE, 'without a list')


@case('the Job says of each exit code what the manual does')
def job(_):
    text = (FLEET / 'job.yaml').read_text()
    rules = dict(re.findall(r'action: (\w+)\n +onExitCodes:\n +containerName: pull\n +operator: In\n +values: \[([^]]*)\]', text))
    rules = {action: sorted(map(int, codes.split(','))) for action, codes in rules.items()}
    same(rules, {'FailIndex': [4, 5, 6], 'FailJob': [USAGE], 'Count': [1, 3, 7]}, 'rules')
    completions, = re.findall(r'completions: (\d+)', text)
    same(re.findall(r'--shard=\$\(INDEX\)/(\d+)', text), [completions], 'shards')
    known = set(re.findall(r'--[a-z-]+', bp('pull', '--help').out))
    named = set(re.findall(r'^ +- (--[a-z-]+)', text, re.M))
    check(named and named <= known, f'options that pull has not: {named - known}')


@case('the dashboard names metrics that are written')
def dashboard(d):
    process = harness.start(harness.blockpull, 'pull', '-q', '--bandwidth=2M', '--metrics-file', f'{d}/m.prom', *listed(d, 1, 8 * MIB))
    written = set()
    while process.poll() is None and 'blockpull_image_rate_bytes_per_second' not in written:
        if os.path.exists(f'{d}/m.prom'):
            written |= {name for name, _, _ in prometheus.read(f'{d}/m.prom')}
        time.sleep(0.05)
    process.wait()
    written |= {name for name, _, _ in prometheus.read(f'{d}/m.prom')}
    board = json.loads((FLEET / 'dashboard.json').read_text())
    named = set(METRIC.findall(' '.join(t['expr'] for panel in board['panels'] for t in panel['targets'])))
    check(len(named) >= 8 and named <= written, f'not written: {named - written}')
    guide = (FLEET.parents[1] / 'docs/fleet.md').read_text()
    named = set(METRIC.findall(guide))
    check(named and named <= written, f'docs/fleet.md: not written: {named - written}')


class Profile:
    """A container's seccomp profile, installed in a child by libseccomp, as a runtime would."""
    ERRNO, ALLOW = 0x00050000, 0x7fff0000

    def __init__(self, path):
        with open(path, encoding='ascii') as file:
            self.profile = json.load(file)
        try:
            self.lib = ctypes.CDLL('libseccomp.so.2')
        except OSError:
            raise Skip('libseccomp.so.2 is not there') from None
        self.lib.seccomp_init.restype = ctypes.c_void_p
        self.lib.seccomp_init.argtypes = [ctypes.c_uint32]
        self.lib.seccomp_rule_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint]
        self.lib.seccomp_load.argtypes = [ctypes.c_void_p]

    def build(self, without=()):
        same(self.profile['defaultAction'], 'SCMP_ACT_ERRNO', 'the default')
        ctx = self.lib.seccomp_init(self.ERRNO | self.profile['defaultErrnoRet'])
        for rule in self.profile['syscalls']:
            same(rule['action'], 'SCMP_ACT_ALLOW', 'a rule')
            for name in rule['names']:
                number = self.lib.seccomp_syscall_resolve_name(name.encode())
                check(number != -1, f'{name} is no system call')
                if name not in without:
                    self.lib.seccomp_rule_add(ctx, self.ALLOW, number, 0)
        return ctx

    def options(self, **how):
        ctx = self.build(**how)
        return {'preexec_fn': lambda: self.lib.seccomp_load(ctx) and os._exit(99)}


@case("the container's filter lets a pull work: io_uring", '--io=uring')
@case("the container's filter lets a pull work: threads", '--io=threads')
def profile(d, io):
    if harness.instrumented():
        raise Skip('at its end a sanitizer asks for more than the filter lets through')
    filters = Profile(FLEET / 'seccomp-io_uring.json')
    names = listed(d, 3)
    if io == '--io=uring' and not facts.has_uring():
        raise Skip('io_uring is forbidden here anyway')
    bp('pull', io, '--verify', '--compress', '-j2', '--json', '--metrics-file', f'{d}/m.prom', '--list', f'{d}/list',
       **filters.options())
    same([is_pulled(name) for name in names], [True] * 3, 'pulled')
    bp('flatten', io, names[0], f'{d}/flat', **filters.options())
    bp('check', names[0], **filters.options())
    result = bp('pull', '--io=uring', names[0], rc=None, **filters.options(without=('io_uring_setup',)))
    check(result.rc, f'the filter is none: {result}')


# What the command leaves itself once its files are open, and asks for until then to confine itself.
CONFINES_ITSELF = {'seccomp', 'landlock_create_ruleset', 'landlock_add_rule', 'landlock_restrict_self'}


def kept():
    """The system calls that the command's own filter allows."""
    text = (FLEET.parent / 'cli/sandbox.c').read_text()
    tables = {name: set(re.findall(r'SCMP_SYS\((\w+)\)', body))
              for name, body in re.findall(r'static const int (sandbox_\w+)\[\] = \{(.*?)\};', text, re.S)}
    check(tables.pop('sandbox_hostile', None), 'sandbox.c was not understood')
    found = set().union(*tables.values())
    check(len(found) > 60, f'only {len(found)} calls found')
    return found


@case("the container's filter allows what the command's own does")
def profile_is_whole(_):
    with open(FLEET / 'seccomp-io_uring.json', encoding='ascii') as file:
        listed = {name for rule in json.load(file)['syscalls'] for name in rule['names']}
    lacking = (kept() | CONFINES_ITSELF) - listed
    check(not lacking, f'not in the profile: {sorted(lacking)}')


def members(group):
    """The system calls of a group of systemd's, and of the groups in it."""
    found = set()
    for line in harness.run('systemd-analyze', 'syscall-filter', group).out.splitlines()[1:]:
        name = line.split('#')[0].strip()
        found |= members(name) if name.startswith('@') else {name} if name else set()
    return found


@case("a unit's filter allows what the command's own does: pull", 'blockpull@.service', {'seccomp'})
@case("a unit's filter allows what the command's own does: serve", 'blockpull-serve@.service', set())
def unit_is_whole(_, unit, more):
    need('systemd-analyze')
    text = (FLEET / unit).read_text()
    allowed, = re.findall(r'^SystemCallFilter=([^~].*)$', text, re.M)
    denied, = re.findall(r'^SystemCallFilter=~(.*)$', text, re.M)
    whole = [set().union(*(members(word) if word.startswith('@') else {word} for word in line.split())) for line in (allowed, denied)]
    check(len(whole[0]) > 200, f'systemd-analyze was not understood: {whole[0]}')
    lacking = (kept() | more) - (whole[0] - whole[1])
    check(not lacking, f'{unit} lacks {sorted(lacking)}')


@case('the units: no mistake, and at most 1.0 of exposure')
def units(d):
    need('systemd-analyze')
    result = harness.run('python3', FLEET / 'try.py', harness.blockpull, '--only', 'units')
    check(result.rc == 0 and ' ok ' in result.out, str(result))


@case('the serving unit: its command takes the socket that systemd has made, and finds its templates')
def serving(d):
    need('systemd-socket-activate', 'qemu-img')
    plugin = facts.nbdkit_plugin()
    for place in 'vms', 'templates':
        os.mkdir(f'{d}/{place}')
    raw_image(f'{d}/templates/base.img', MIB)
    name = overlay(f'{d}/vms/v', '../templates/base.img')
    flat = images.flatten(name, 'qcow2', f'{d}/flat')
    unit = (FLEET / 'blockpull-serve@.service').read_text().replace('/srv/templates', f'{d}/templates')
    words = {'blockpull': plugin, '%f': name}
    words |= {f'${key}': value for key, value in re.findall(r'^Environment=(\w+)=(.*)$', unit, re.M)}
    argv = [words.get(word, word) for word in re.search(r'^ExecStart=(.*)$', unit, re.M)[1].split()]
    server = harness.start('systemd-socket-activate', '-l', f'{d}/socket', *argv, cwd=d)
    processes.wait_listening(server, f'{d}/socket')
    images.compare_flat(f'nbd+unix:///?socket={d}/socket', 'raw', flat)
    server.send_signal(signal.SIGTERM)
    same(harness.finish(server).rc, DONE, 'exit code')
    bp('pull', f'--allow-backing={d}/templates', name)
    images.judge_pulled(name, 'qcow2', flat)


@case('the Containerfile: the packages that the command is linked to')
def container(_):
    need('ldd', 'readelf', 'dpkg-query')
    if harness.instrumented():
        raise Skip('a sanitizer adds libraries of its own')
    packages = set(re.findall(r'\blib[a-z0-9-]+\b|\bzlib1g\b', (FLEET / 'Containerfile').read_text().split('FROM debian:12-slim\n')[1]))
    wanted, paths = set(), dict(re.findall(r'(\S+) => (/\S+)', harness.run('ldd', harness.blockpull).out))
    # What those libraries need in turn comes with their packages.
    ours = [harness.blockpull, *(path for name, path in paths.items() if name.startswith('libblockpull'))]
    needed = {name for path in ours for name in re.findall(r'NEEDED.*\[(.+)\]', harness.run('readelf', '-d', path).out)}
    for path in (path for name, path in paths.items() if name in needed and path not in ours):
        # Where /lib is a link to /usr/lib, dpkg may know either name.
        name = os.path.basename(os.path.realpath(path))
        owner = harness.run('dpkg-query', '-S', os.path.realpath(path)).out or harness.run('dpkg-query', '-S', f'*/{name}').out
        wanted |= {line.split(':')[0] for line in owner.splitlines()}
    wanted = {name for name in wanted if not name.startswith('libc6') and name != 'libgcc-s1'}
    check(wanted, 'ldd tells nothing')
    check(wanted <= packages, f'the Containerfile lacks {wanted - packages}')


if __name__ == '__main__':
    harness.main()
