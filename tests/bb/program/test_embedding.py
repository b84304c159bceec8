# SPDX-License-Identifier: MIT OR Apache-2.0
"""The programs of docs/embedding.md: compiled as strangers do it, and run.

The library is installed below the case's directory; header and pkg-config file are the installed
ones. So a program that is shown there is one that works, as C11 and as C++17.
"""
import os
import re

import harness
from harness import MIB, Skip, case, check, need, same
from images import flatten, judge_pulled, overlay, qemu_io, raw_image
from installed import install

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../../docs/embedding.md')
STRICT = ('-Wall', '-Wextra', '-pedantic', '-Werror')


def program(name):
    with open(PAGE, encoding='utf-8') as file:
        blocks = re.findall(r'^```c\n(.*?)^```$', file.read(), re.M | re.S)
    found = [block for block in blocks if block.startswith(f'/* {name}:')]
    same(len(found), 1, f'programs called {name} in embedding.md')
    return found[0]


def command(first):
    """A line of the page that begins so, without its program, in words of a shell."""
    with open(PAGE, encoding='utf-8') as file:
        found = [line for line in file.read().splitlines() if line.startswith(first)]
    same(len(found), 1, f'lines of embedding.md that begin {first}')
    return found[0].removeprefix('cc -o vmm vmm.c')


def installed(d):
    """Flags of the compiler, and the environment to run in."""
    env, _ = install(d)
    flags = harness.run('pkg-config', '--cflags', '--libs', 'blockpull', env=env)
    check(flags.rc == 0, str(flags))
    return flags.out.split(), env


@case('a poll loop, C11', 'loop.c', 'cc', '-std=c11')
@case('a poll loop, C++17', 'loop.c', 'c++', '-std=c++17')
@case('blocking calls, C11', 'thread.c', 'cc', '-std=c11')
@case('blocking calls, C++17', 'thread.c', 'c++', '-std=c++17')
def compiled(d, name, compiler, standard):
    need(compiler)
    flags, env = installed(d)
    source = f'{d}/program.c' + ('pp' if compiler == 'c++' else '')
    with open(source, 'w', encoding='utf-8') as file:
        file.write(program(name))
    result = harness.run(compiler, standard, *STRICT, '-o', f'{d}/program', source, *flags)
    check(result.rc == 0 and not result.err, str(result))
    pulls(d, name, env)


def pulls(d, name, env):
    """The program does what it says, and fails where it should."""
    raw_image(f'{d}/base.img', 8 * MIB)
    top = overlay(f'{d}/top.img', 'base.img')
    qemu_io(top, 'qcow2', 'write -P 7 3M 100k')
    flat = flatten(top, 'qcow2', f'{d}/flat')
    result = harness.run(f'{d}/program', top, env=env, timeout=60)
    same((result.rc, result.out, result.err), (0, 'stands alone\n', ''), f'{name}: {result}')
    judge_pulled(top, 'qcow2', flat)
    result = harness.run(f'{d}/program', f'{d}/none.img', env=env, timeout=60)
    check(result.rc == 1 and 'none.img' in result.err, str(result))


@case('one that is static but for the C library', 'cc -o vmm vmm.c -Wl,-Bstatic', True)
@case('one that is static altogether', 'cc -o vmm vmm.c -static', False)
def static(d, line, has_libc):
    need('cc', 'ldd')
    env, lib = install(d)
    if not os.path.exists(f'{lib}/libblockpull.a'):
        raise Skip('built without a static library')
    with open(f'{d}/vmm.c', 'w', encoding='utf-8') as file:
        file.write(program('loop.c'))
    built = harness.run('sh', '-c', f'cc -o {d}/program {d}/vmm.c {command(line)}', env=env)
    same((built.rc, built.err), (0, ''), str(built))
    needed = harness.run('ldd', f'{d}/program')
    needed = {os.path.basename(words[0]).split('.')[0] for words in map(str.split, needed.out.splitlines()) if needed.rc == 0}
    same('libc' in needed, has_libc, f'the C library: {needed}')
    check(needed <= {'linux-vdso', 'libc', 'ld-linux-x86-64', 'ld-linux-aarch64'}, f'not static: {needed}')
    del env['LD_LIBRARY_PATH']
    pulls(d, 'loop.c', env)


if __name__ == '__main__':
    harness.main()
