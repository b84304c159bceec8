# SPDX-License-Identifier: MIT OR Apache-2.0
"""The library as strangers meet it: installed below a directory, found by pkg-config."""
import os

import harness
from harness import Skip, check, need, same


def install(d):
    """The environment in which pkg-config finds what `meson install` made below d, and where the library is."""
    build = os.path.dirname(os.path.dirname(harness.blockpull))
    if harness.instrumented():
        raise Skip('a sanitizer\'s library wants its programs built alike')
    if not os.path.exists(f'{build}/meson-info'):
        raise Skip('the command does not lie in a build directory')
    if not os.access(f'{build}/meson-logs', os.W_OK):
        raise Skip('another user owns the build directory, and meson logs there')
    need('meson', 'pkg-config')
    result = harness.run('meson', 'install', '-C', build, '--no-rebuild', '--quiet', '--destdir', f'{d}/root')
    check(result.rc == 0, str(result))
    found = [p for p, _, names in os.walk(f'{d}/root') if 'blockpull.pc' in names]
    same(len(found), 1, 'pkg-config files installed')
    lib = os.path.dirname(found[0])
    return harness.environment(PKG_CONFIG_PATH=found[0], PKG_CONFIG_SYSROOT_DIR=f'{d}/root', LD_LIBRARY_PATH=lib), lib
