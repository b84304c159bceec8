# SPDX-License-Identifier: MIT OR Apache-2.0
"""Run in a unit's place, under all that the unit asks for: which of its options hold. A line for each: the option, and
"holds" or what it found. What needs to be forbidden is asked with arguments that would do nothing. started.py runs it outside of
the units, too, where none may hold.

usage: probe.py UNIT_FILE OUTER_NAMESPACES    "uts:[1] net:[2]...", of the manager"""
import ctypes
import errno
import mmap
import os
import re
import socket
import stat
import sys

libc = ctypes.CDLL(None, use_errno=True)
SYSCALLS = {'x86_64': {'ioprio_get': 252, 'delete_module': 176, 'clock_settime': 227}, 'aarch64': {'ioprio_get': 31, 'delete_module': 106, 'clock_settime': 112}}
NUMBERS = SYSCALLS.get(os.uname().machine, {})
NEWUSER, QUERY, SIZE_BUFFER = 0x10000000, 0xffffffff, 10


def status(name):
    with open('/proc/self/status', encoding='ascii') as file:
        return re.search(rf'^{name}:\s*(.*)$', file.read(), re.M)[1].split()


def mounts():
    """(root, where, options of it and of its file system)"""
    with open('/proc/self/mountinfo', encoding='utf-8') as file:
        return [(f[3], f[4], f'{f[5]},{f[-1]}') for f in map(str.split, file)]


def is_mounted(where, root=''):
    return any(w == where and root in r for r, w, _ in mounts())


def proc_has(option):
    return any(w == '/proc' and option in options for _, w, options in mounts())


def is_read_only(where):
    return bool(os.statvfs(where).f_flag & os.ST_RDONLY)


def fails(name, *args, by=errno.EPERM):
    """By the filter, which comes before the kernel looks at the arguments."""
    ctypes.set_errno(0)
    call = libc.syscall if name in NUMBERS else getattr(libc, name)
    return call(*([NUMBERS[name]] if name in NUMBERS else []), *args) == -1 and ctypes.get_errno() == by


def refused(function, *args, by=(errno.EPERM,)):
    try:
        function(*args)
    except OSError as error:
        return error.errno in by
    return False


def no_family(family):
    return refused(socket.socket, family, socket.SOCK_STREAM, by=(errno.EAFNOSUPPORT,))


def families(value):
    return no_family(socket.AF_INET) and no_family(socket.AF_NETLINK) and (no_family(socket.AF_UNIX) == (value == 'none'))


def own_namespace(kind):
    return os.readlink(f'/proc/self/ns/{kind}') not in sys.argv[2].split()


def no_suid(_):
    path = '/tmp/probe'
    with open(path, 'wb'):
        return refused(os.chmod, path, 0o700 | stat.S_ISUID)


def no_executable_writes(_):
    return refused(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))


def no_real_time(_):
    return refused(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(0))  # no priority of that class: EINVAL without the filter


def memory_high(value):
    with open('/proc/self/cgroup', encoding='utf-8') as file:
        where = re.search(r'^0::(.*)$', file.read(), re.M)[1]
    try:
        with open(f'/sys/fs/cgroup{where}/memory.high', encoding='ascii') as file:
            return file.read().strip() == str(int(value[:-1]) << 20) or 'memory.high has another value'
    except FileNotFoundError:
        return 'this cgroup has no memory controller'


# Each says True, False, or what is in its way.
PROBES = {
    'User': lambda value: os.getuid() != 0,
    'Nice': lambda value: os.getpriority(os.PRIO_PROCESS, 0) == int(value),
    'IOSchedulingClass': lambda _: libc.syscall(NUMBERS['ioprio_get'], 1, 0) >> 13 == 3,
    'ReadWritePaths': lambda value: not is_read_only(value.strip('-')) and is_mounted(value.strip('-')),
    'MemoryHigh': memory_high,
    'CapabilityBoundingSet': lambda _: int(status('CapBnd')[0], 16) == 0,
    'NoNewPrivileges': lambda _: status('NoNewPrivs') == ['1'],
    'ProtectSystem': lambda _: all(map(is_read_only, ('/usr', '/etc', '/srv'))),
    'ProtectHome': lambda _: refused(os.listdir, '/home', by=(errno.EACCES,)),
    'ProtectProc': lambda _: proc_has('hidepid='),
    'ProcSubset': lambda _: proc_has('subset=pid') and not os.path.exists('/proc/meminfo'),
    'ProtectClock': lambda _: fails('clock_settime', 0, None),
    'ProtectControlGroups': lambda _: is_read_only('/sys/fs/cgroup'),
    'ProtectHostname': lambda _: own_namespace('uts'),
    'ProtectKernelLogs': lambda _: fails('klogctl', SIZE_BUFFER, None, 0) and not os.path.exists('/dev/kmsg'),
    'ProtectKernelModules': lambda _: fails('delete_module', None, 0),
    'ProtectKernelTunables': lambda _: is_read_only('/sys'),
    'PrivateDevices': lambda _: is_mounted('/dev') and not os.path.exists('/dev/kmsg') and os.path.exists('/dev/null'),
    'PrivateIPC': lambda _: own_namespace('ipc'),
    'PrivateNetwork': lambda _: own_namespace('net'),
    'PrivateTmp': lambda _: is_mounted('/tmp', 'systemd-private') and is_mounted('/var/tmp', 'systemd-private'),
    'PrivateUsers': lambda _: own_namespace('user'),
    'RestrictAddressFamilies': families,
    'RestrictNamespaces': lambda _: fails('unshare', NEWUSER),
    'RestrictRealtime': no_real_time,
    'RestrictSUIDSGID': no_suid,
    'LockPersonality': lambda _: fails('personality', ctypes.c_ulong(QUERY)),
    'MemoryDenyWriteExecute': no_executable_writes,
    'UMask': lambda value: os.umask(0) == int(value, 8),
    'SystemCallFilter': lambda _: fails('chroot', b'/nowhere') and not fails('mincore', None, 1),
}
# What can't be seen from inside.
UNSEEN = ('IPAddressDeny', 'DevicePolicy', 'KeyringMode', 'RemoveIPC', 'SystemCallArchitectures', 'SystemCallErrorNumber')


def options(path):
    """Those of [Service] that a process is under."""
    with open(path, encoding='utf-8') as file:
        service = file.read().split('[Service]')[1]
    found = dict(re.findall(r'^(\w+)=(?!~)(.*)$', service, re.M))
    others = ('Type', 'ExecStart', 'Environment', 'Restart', 'RestartSec', 'RestartPreventExitStatus', 'SuccessExitStatus', 'TimeoutStopSec')
    return {name: value for name, value in found.items() if name not in others}


def main():
    for name, value in options(sys.argv[1]).items():
        if name in UNSEEN:
            continue
        try:
            said = PROBES[name](value)
        except (OSError, KeyError) as error:
            said = f'{type(error).__name__}: {error}'
        print(f'{name}: {"holds" if said is True else said or "does not hold"}', flush=True)


if __name__ == '__main__':
    main()
