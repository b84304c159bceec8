# SPDX-License-Identifier: MIT OR Apache-2.0
"""Commands under strace: their calls, and calls of theirs that fail."""
import re
import tempfile

import harness
from harness import Skip, need

# With -y: a call that changes a file, its descriptor, its name, and its arguments to the end.
FILE_CALL = re.compile(r'\b(pwrite64|pwritev2?|write|writev|fdatasync|fsync|ftruncate|fallocate)\((\d+)<([^>]*)>(.*)')


def words(trace=None, inject=(), path=None, options=(), log='/dev/null'):
    """The command line in front of a command. Of the calls `trace` (all), those on this path, with strace's
    injections ('openat:error=EPERM'). Skips where there is no strace."""
    need('strace')
    line = ['strace', '-f', '-qq', '-o', log, *options]
    line += ['-P', path] if path else []
    line += ['-e', f'trace={trace}'] if trace else []
    for injection in inject:
        line += ['-e', f'inject={injection}']
    return line


def environment():
    """A traced process can't look for its leaks."""
    return harness.environment(ASAN_OPTIONS='exitcode=99:detect_leaks=0')


def run(*argv, trace=None, inject=(), path=None, options=(), timeout=120):
    """Runs a command under strace. Its result, and the lines of the log. Skips where nothing may be traced."""
    with tempfile.NamedTemporaryFile('r', dir=harness.root, encoding='utf-8', errors='replace') as log:
        result = harness.run(*words(trace, inject, path, options, log.name), *argv, timeout=timeout, env=environment())
        if 'ptrace' in result.err.lower():
            raise Skip('strace may not trace')
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
