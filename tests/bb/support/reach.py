# SPDX-License-Identifier: MIT OR Apache-2.0
"""Commands run as a user without rights, who may not enter the checkout: a home of root's is closed to others.

What such a user runs are copies, made once a program beside its scratch files, with the build's own layout, by
which the command and the plugin find their library. Opening the way to the checkout instead was rejected: a
test changes no rights outside its own directory.
"""
import os
import shutil
import threading

import harness
from harness import Skip, need, same

STRANGER = 65534

_lock = threading.Lock()
_made = None


class Copies:
    """Of the command, its library and the plugin (None where there is none to copy)."""

    def __init__(self, command, plugin):
        self.command, self.plugin = command, plugin


def as_nobody():
    """What to put before a command to run it without root's rights. Skips where we have not those to give up,
    and where such a user can't reach the scratch files."""
    if os.geteuid():
        raise Skip('needs root, to become another user')
    need('setpriv')
    words = ['setpriv', f'--reuid={STRANGER}', f'--regid={STRANGER}', '--clear-groups', '--bounding-set=-all']
    if harness.run(*words, 'test', '-x', harness.root).rc:
        raise Skip(f'another user can\'t enter {harness.root}: set TMPDIR')
    return words


def mounting(place):
    """What to put before a command that mounts a file system at this new directory, in a namespace of its own. Skips where
    that may not be done."""
    need('unshare')
    words = ['unshare', '-m'] if os.geteuid() == 0 else ['unshare', '-Urm']
    os.mkdir(place)
    if harness.run(*words, 'mount', '-t', 'tmpfs', 'none', place).rc:
        raise Skip('may not mount, even in a namespace of our own')
    return words


def _copy_file(path, to):
    """By another process: a child that a neighbouring case forks has ours open for writing until its exec(), and a
    program that is open for writing can't be run."""
    same(harness.run('cp', '-L', path, to).rc, 0, f'copying {path}')
    return f'{to}/{os.path.basename(path)}'


def _copy(plugin):
    build = os.path.dirname(os.path.dirname(harness.blockpull))
    to = f'{harness.root}/reach'
    for name in 'engine', 'tools':
        os.makedirs(f'{to}/{name}')
    for name in os.listdir(f'{build}/engine') if os.path.isdir(f'{build}/engine') else []:
        if name.startswith('libblockpull.so') and '.p' not in name:
            _copy_file(f'{build}/engine/{name}', f'{to}/engine')
    command = _copy_file(harness.blockpull, f'{to}/tools')
    made = Copies(command, _copy_file(plugin, f'{to}/tools') if plugin else None)
    for directory, _, names in os.walk(to):
        os.chmod(directory, 0o755)
        for name in names:
            os.chmod(f'{directory}/{name}', 0o755)
    return made


def copies(plugin=None):
    """Copies that any user can run. The program's end removes them."""
    global _made
    with _lock:
        if not _made or plugin and not _made.plugin:
            shutil.rmtree(f'{harness.root}/reach', ignore_errors=True)
            _made = _copy(plugin)
    if harness.run(*as_nobody(), _made.command, '--version').rc:
        raise Skip(f'another user can\'t run {_made.command}')
    return _made


def unprivileged(d):
    """The command as a user without root's rights runs it, which may write to this directory: what to run. As
    it is, if we have none to give up."""
    if os.geteuid():
        return [harness.blockpull]
    words = [*as_nobody(), copies().command]
    os.chmod(d, 0o777)
    return words
