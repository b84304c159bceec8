# SPDX-License-Identifier: MIT OR Apache-2.0
"""What strace wrote of a run with threads."""


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
