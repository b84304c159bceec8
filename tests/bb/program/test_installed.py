# SPDX-License-Identifier: MIT OR Apache-2.0
"""What `meson install` puts where: completions, pages, and libraries, of which the static ones show public names alone."""
import fnmatch
import json
import os
import pathlib
import re
import stat

import harness
import installed
import processes
from harness import MIB, Skip, bp, case, check, need, same

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = ROOT / 'tools/packaging/try_dev.c'
NBD_PROGRAM = ROOT / 'tools/packaging/try_nbd.c'
PRIVATE = 'blockpull', 'uring', 'zstd', 'deflate', 'xxhash', 'libz.'


def public_calls(lib, name='libblockpull'):
    out = harness.run('nm', '-D', '--defined-only', f'{lib}/{name}.so').out
    return set(re.findall(r' (bpull_\w+)@', out))


def static_names(lib, name='libblockpull'):
    out = harness.run('nm', '-g', '--defined-only', f'{lib}/{name}.a').out
    return {line.split()[-1] for line in out.splitlines() if len(line.split()) == 3}


def has_nbd(lib):
    return os.path.exists(f'{lib}/libblockpull-nbd.so')


@case('the static library serves a program that needs no other of ours, and shows public names alone')
def static_library(d):
    need('gcc', 'nm', 'ldd')
    env, lib = installed.install(d)
    if not os.path.exists(f'{lib}/libblockpull.a'):
        raise Skip('built without a static library')
    same(static_names(lib), public_calls(lib), 'names')
    flags = harness.run('pkg-config', '--static', '--cflags', '--libs', 'blockpull', env=env).out.split()
    built = harness.run('gcc', '-Wall', '-Werror', PROGRAM, '-o', f'{d}/program', '-Wl,-Bstatic', *flags, '-Wl,-Bdynamic', env=env)
    check(built.rc == 0, str(built))
    needed = harness.run('ldd', f'{d}/program').out
    check(not any(name in needed for name in PRIVATE), f'not static: {needed}')
    bp('create', '-q', '-f', 'qcow2', f'{d}/a.qcow2', '1M')
    same(harness.run(f'{d}/program', f'{d}/a.qcow2').out, f'{MIB}\n', 'what the program says')


def nbd_program(d, env, *flags):
    built = harness.run('gcc', '-Wall', '-Werror', NBD_PROGRAM, '-o', f'{d}/program', *flags, env=env)
    same((built.rc, built.err), (0, ''), str(built))


def reads_a_base_that_is_allowed(d, env):
    """With no other of ours but what env leads to."""
    with open(f'{d}/base.raw', 'wb') as file:
        file.truncate(3 * MIB)
    socket, allowed = f'{d}/server.sock', f'nbd+unix:{d}'
    server = harness.start('nbdkit', '-f', '-U', socket, 'file', f'{d}/base.raw')
    processes.wait_listening(server, socket)
    bp('create', '-q', '-f', 'qcow2', '-b', f'nbd+unix:///?socket={socket}', '-F', 'raw', f'--allow-remote={allowed}', f'{d}/a.qcow2')
    result = harness.run(f'{d}/program', f'{d}/a.qcow2', allowed, env=env)
    same((result.rc, result.out), (0, f'nbd+unix:///?socket={socket} {3 * MIB}\n'), str(result))
    result = harness.run(f'{d}/program', f'{d}/a.qcow2', 'nbd:example.org', env=env)
    check(result.rc == 1 and 'no image may name it' in result.err, str(result))
    harness.kill(server)
    server.wait()


@case('libblockpull-nbd and its pkg-config file serve a program, shared', False)
@case('libblockpull-nbd and its pkg-config file serve a program, static', True)
def nbd_library(d, is_static):
    need('gcc', 'nm', 'ldd', 'nbdkit')
    env, lib = installed.install(d)
    if not has_nbd(lib):
        raise Skip('libblockpull-nbd is not built')
    if not is_static:
        nbd_program(d, env, *harness.run('pkg-config', '--cflags', '--libs', 'blockpull-nbd', env=env).out.split())
        reads_a_base_that_is_allowed(d, env)
        return
    if not os.path.exists(f'{lib}/libblockpull-nbd.a'):
        raise Skip('built without a static library')
    same(static_names(lib, 'libblockpull-nbd'), public_calls(lib, 'libblockpull-nbd'), 'names')
    # GnuTLS needs p11-kit, which distributions have as a shared library alone: it and libnbd stay shared.
    others = harness.run('pkg-config', '--libs', 'libnbd', 'gnutls', env=harness.environment()).out.split()
    flags = harness.run('pkg-config', '--static', '--cflags', '--libs', 'blockpull-nbd', env=env).out.split()
    check(set(others) <= set(flags), f'{others} are not all in {flags}')
    own = harness.run('pkg-config', '--static', '--cflags', '--libs', 'blockpull', env=env).out.split()
    nbd_program(d, env, '-Wl,-Bstatic', '-lblockpull-nbd', *own, '-Wl,-Bdynamic', *others)
    needed = harness.run('ldd', f'{d}/program').out
    check(not any(name in needed for name in PRIVATE if name != 'libz.'), f'not static: {needed}')
    del env['LD_LIBRARY_PATH']
    reads_a_base_that_is_allowed(d, env)


@case('a page for each call and each command, and completions, where they are looked for')
def places(d):
    env, lib = installed.install(d)
    share = next(path for path, _, names in os.walk(f'{d}/root') if path.endswith('/share'))
    pages = {path.stem for path in pathlib.Path(share).glob('man/man3/*.3')}
    calls = public_calls(lib) | (public_calls(lib, 'libblockpull-nbd') if has_nbd(lib) else set())
    same(pages - {'bpull_error', 'blockpull'}, calls, 'pages of calls')
    for verb in re.findall(r'^  (\w+) +\S', re.search(r'Commands:\n(.*?)\n\n', bp('--help').out, re.S)[1], re.M)[:-1]:
        check(os.path.exists(f'{share}/man/man1/blockpull-{verb}.1'), f'no page for {verb}')
    for name in 'blockpull', 'blockpull-bench':
        for place in f'bash-completion/completions/{name}', f'fish/vendor_completions.d/{name}.fish', f'zsh/site-functions/_{name}':
            check(os.path.getsize(f'{share}/{place}') > 1000, f'{place} is too short')


# The fields of VhostUserBackend and the features of a "block" one, as QEMU's docs/interop/vhost-user.json has them.
BACKEND_FIELDS = {'description': str, 'type': str, 'binary': str, 'tags': list}
BLOCK_FEATURES = {'read-only', 'blk-file'}


@case('programs that look for vhost-user backends find one, whose binary does what is told of it; packages have it')
def backend(d):
    env, _ = installed.install(d)
    found = list(pathlib.Path(f'{d}/root').glob('**/share/qemu/vhost-user/*'))
    same([path.name for path in found], ['50-blockpull.json'], 'descriptions')
    same(stat.S_IMODE(found[0].stat().st_mode), 0o644, 'its mode')
    told = json.loads(found[0].read_text(encoding='utf-8'))
    same({name: type(value) for name, value in told.items()}, BACKEND_FIELDS, 'fields')
    same({type(tag) for tag in told['tags']}, {str}, 'tags')
    binary = pathlib.Path(told['binary'])
    check(binary.is_absolute() and os.access(f'{d}/root{binary}', os.X_OK), f'{binary} is no program')
    can = harness.run(f'{d}/root{binary}', '--print-capabilities', '--socket-path=/none', env=env)
    same((can.rc, can.err), (0, ''), str(can))
    can = can.json()
    same((set(can), can['type'], told['type']), ({'type', 'features'}, 'block', 'block'), 'capabilities')
    check(set(can['features']) <= BLOCK_FEATURES and len(can['features']) == len(set(can['features'])), f'features: {can}')
    words = harness.run(f'{d}/root{binary}', '--help', env=env).out
    for option in ['socket-path', 'fd', 'print-capabilities', *can['features']]:
        check(f'--{option} ' in words, f'--{option} is told of, and not in --help')
    # The packages' prefix is /usr.
    share = f'/usr/share/{found[0].relative_to(found[0].parents[2])}'
    debian = (ROOT / 'tools/packaging/debian/blockpull.install').read_text(encoding='utf-8').split()
    rpm = (ROOT / 'tools/packaging/blockpull.spec').read_text(encoding='utf-8')
    rpm = rpm.replace('%{_datadir}', '/usr/share').replace('%{_bindir}', '/usr/bin').split()
    for name in share, f'/usr/bin/{binary.name}':
        check(any(fnmatch.fnmatch(name[1:], pattern) for pattern in debian), f'{name} is in no Debian package')
        check(any(fnmatch.fnmatch(name, pattern) for pattern in rpm if pattern.startswith('/')), f'{name} is in no RPM')


harness.main()
