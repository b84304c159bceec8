# SPDX-License-Identifier: MIT OR Apache-2.0
"""Commands under strace: their calls, and calls of theirs that fail."""
import functools
import re
import tempfile

import harness
from harness import Skip, need

# With -y: a call that changes a file, its descriptor, its name, and its arguments to the end.
FILE_CALL = re.compile(r'\b(pwrite64|pwritev2?|write|writev|fdatasync|fsync|ftruncate|fallocate)\((\d+)<([^>]*)>(.*)')

# What a command that has all files open does not need.
FORBIDDEN = re.compile(r'\b(open|openat|openat2|creat|execve|execveat|fork|vfork|socket|connect|bind|listen|ptrace|chmod|'
                       r'chown|mknod|symlink|mount|io_uring_setup|memfd_create|unshare|setns)\(')


@functools.lru_cache(1)
def _may_trace():
    return harness.run('strace', '-o', '/dev/null', 'true').rc == 0


def words(trace=None, inject=(), path=None, options=(), log='/dev/null'):
    """The command line in front of a command. Of the calls `trace` (all), those on this path, with strace's
    injections ('openat:error=EPERM'). Skips where there is no strace, and where it may not trace."""
    need('strace')
    if not _may_trace():
        raise Skip('strace may not trace')
    line = ['strace', '-f', '-qq', '-o', log, *options]
    line += ['-P', path] if path else []
    line += ['-e', f'trace={trace}'] if trace else []
    for injection in inject:  # strace lets a call that it does not trace pass, without a word
        untraced = set(injection.partition(':')[0].split(',')) - set(trace.split(',') if trace else [])
        harness.check(not trace or not untraced, f'not traced, so it would not fail: {untraced}')
        line += ['-e', f'inject={injection}']
    return line


def environment():
    """A traced process can't look for its leaks."""
    env = harness.environment()
    return {**env, 'ASAN_OPTIONS': env['ASAN_OPTIONS'] + ':detect_leaks=0'}


def run(*argv, trace=None, inject=(), path=None, options=(), timeout=120):
    """Runs a command under strace. Its result, and the lines of the log."""
    with tempfile.NamedTemporaryFile('r', dir=harness.root, encoding='utf-8', errors='replace') as log:
        result = harness.run(*words(trace, inject, path, options, log.name), *argv, timeout=timeout, env=environment())
        return result, log.read().splitlines()


def whole_calls(lines):
    """The calls, one line each, in the order they returned.

    strace writes a call in two lines if a call of another thread came between its start and its end:
    `write(3, ... <unfinished ...>` and `<... write resumed>) = 5`. They are one line here, that of the end.
    A call that never returned is not told.
    """
    started = {}
    for line in lines:
        line = line.rstrip('\n')
        thread = line.split(maxsplit=1)[0]
        if line.endswith('<unfinished ...>'):
            started[thread] = line.removesuffix('<unfinished ...>').rstrip()
        elif ' resumed>' in line and '<... ' in line:
            yield started.pop(thread, thread) + line.partition(' resumed>')[2]
        else:
            yield line


def own_threads(lines):
    """Of whole calls those of the command itself: none of a process that it forked."""
    lines = list(lines)
    own = {lines[0].split(maxsplit=1)[0]} if lines else set()
    for line in lines:
        thread = line.split(maxsplit=1)[0]
        made = re.search(r'\bclone3?\(.*CLONE_THREAD.*= (\d+)$', line)
        if thread in own and made:
            own.add(made[1])
    return [line for line in lines if line.split(maxsplit=1)[0] in own]


def inside_filter(lines, what):
    """The calls behind the moment in which the filter was installed; none opens anything, and none is refused."""
    at = [i for i, line in enumerate(lines) if 'SECCOMP_SET_MODE_FILTER' in line and 'NULL' not in line]
    if not at:
        harness.need_sandbox()
    harness.check(at, f'{what}: no filter was installed')
    inside = lines[at[0] + 1:]
    for line in inside:
        harness.check(not FORBIDDEN.search(line), f'{what}: behind the filter: {line}')
        harness.check(' EPERM ' not in line, f'{what}: refused: {line}')
    return inside
