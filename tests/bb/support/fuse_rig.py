# SPDX-License-Identifier: MIT OR Apache-2.0
"""The file systems of tests/, mounted through FUSE: skipped where that can't be, and gone at the end."""
import os
import signal
import time

import harness
from harness import WAIT, Skip, check, need

WAIT_ALONE = 60  # seconds of harness.clock()


def program(name):
    """The path of a file system of ours; Skip where it can't be mounted."""
    need('fusermount3')
    path = os.path.join(os.path.dirname(harness.blockpull), '..', 'tests', name)
    if not os.path.exists(path):
        raise Skip(f'tests/{name} is not built: libfuse3-dev is missing')
    if not os.access('/dev/fuse', os.R_OK | os.W_OK):
        raise Skip('no /dev/fuse to mount on')
    return path


def mount(path, *args):
    """Starts it with these arguments, the last of which is where; returns the process when it is mounted."""
    server = harness.start(path, *args)
    deadline = time.monotonic() + WAIT
    while not os.path.ismount(args[-1]):
        if server.poll() is not None:
            text = server.stderr.read().decode(errors='replace').strip()
            raise Skip(f'FUSE does not mount here: {text.splitlines()[-1] if text else "no reason given"}')
        check(time.monotonic() < deadline, f'{path} did not mount within {WAIT} s')
        time.sleep(0.01)
    return server


def unmount(server, where, in_use=False):
    """Unmounts it, also where a process is still at work in it if that may be, and waits for its end. A namespace that another
    program has made meanwhile has it mounted, too: then it is told to end."""
    os.chdir('/')  # the directory that a process stands in cannot be unmounted
    deadline = time.monotonic() + WAIT
    while harness.run('fusermount3', '-uz' if in_use else '-u', where).rc and os.path.ismount(where):
        check(time.monotonic() < deadline, f'{where} cannot be unmounted')
        time.sleep(0.05)
    told = harness.Later(WAIT_ALONE, lambda: harness.kill(server, signal.SIGTERM))
    try:
        result = harness.finish(server)
    finally:
        told.cancel()
    if told.has_called:
        harness.note(f'{where} was mounted elsewhere, too, or its server did not end: it was told to')
    return result
