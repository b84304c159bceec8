# SPDX-License-Identifier: MIT OR Apache-2.0
"""What `meson install` puts where: completions, pages, and a static library that shows public names alone."""
import os
import pathlib
import re

import harness
import installed
from harness import MIB, Skip, bp, case, check, need, same

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = ROOT / 'tools/packaging/try_dev.c'
PRIVATE = 'blockpull', 'uring', 'zstd', 'deflate', 'xxhash', 'libz.'


def public_calls(lib):
    out = harness.run('nm', '-D', '--defined-only', f'{lib}/libblockpull.so').out
    return set(re.findall(r' (bpull_\w+)@', out))


@case('the static library serves a program that needs no other of ours, and shows public names alone')
def static_library(d):
    need('gcc', 'nm', 'ldd')
    env, lib = installed.install(d)
    if not os.path.exists(f'{lib}/libblockpull.a'):
        raise Skip('built without a static library')
    names = {line.split()[-1] for line in harness.run('nm', '-g', '--defined-only', f'{lib}/libblockpull.a').out.splitlines()
             if len(line.split()) == 3}
    same(names, public_calls(lib), 'names')
    flags = harness.run('pkg-config', '--static', '--cflags', '--libs', 'blockpull', env=env).out.split()
    built = harness.run('gcc', '-Wall', '-Werror', PROGRAM, '-o', f'{d}/program', '-Wl,-Bstatic', *flags, '-Wl,-Bdynamic', env=env)
    check(built.rc == 0, str(built))
    needed = harness.run('ldd', f'{d}/program').out
    check(not any(name in needed for name in PRIVATE), f'not static: {needed}')
    bp('create', '-q', '-f', 'qcow2', f'{d}/a.qcow2', '1M')
    same(harness.run(f'{d}/program', f'{d}/a.qcow2').out, f'{MIB}\n', 'what the program says')


@case('a page for each call and each command, and completions, where they are looked for')
def places(d):
    env, lib = installed.install(d)
    share = next(path for path, _, names in os.walk(f'{d}/root') if path.endswith('/share'))
    pages = {path.stem for path in pathlib.Path(share).glob('man/man3/*.3')}
    same(pages - {'bpull_error', 'blockpull'}, public_calls(lib), 'pages of calls')
    for verb in re.findall(r'^  (\w+) +\S', re.search(r'Commands:\n(.*?)\n\n', bp('--help').out, re.S)[1], re.M)[:-1]:
        check(os.path.exists(f'{share}/man/man1/blockpull-{verb}.1'), f'no page for {verb}')
    for name in 'blockpull', 'blockpull-bench':
        for place in f'bash-completion/completions/{name}', f'fish/vendor_completions.d/{name}.fish', f'zsh/site-functions/_{name}':
            check(os.path.getsize(f'{share}/{place}') > 1000, f'{place} is too short')


harness.main()
