# SPDX-License-Identifier: MIT OR Apache-2.0
"""The nbdkit plugin, read only and by its export's name: what is to be read only is never written, needs no
right to be written, and is shared with other readers."""
import json
import os

import facts
import harness
import images
from harness import MIB, case, check, need, same
from images import raw_image
from reach import as_nobody, copies
from test_control import Client
from test_nbdkit_start import beside, disk, does_not_start, end, in_background, serves

harness.cases.clear()  # theirs


READ_ONLY = [('-r',), ('--readonly',), ('--read-only',), ('--reado',), ('-vr',), ('readonly=true',), ('readonly=1', '-r')]


def witness(d):
    return {name: (images.digest(f'{d}/{name}'), os.stat(f'{d}/{name}').st_mtime_ns) for name in ('top.img', 'base.img')}


@case('read only, said in each way', 'qcow2')
@case('read only, said in each way: QED', 'qed')
def read_only(d, fmt):
    need('nbdinfo', 'qemu-nbd', 'nbdcopy')
    top = disk(d, fmt)
    flat = images.flatten(top, fmt, f'{d}/flat')
    before = witness(d)
    for words in READ_ONLY:
        with beside(f'{d}/q', 'qemu-nbd', '-r', '-t', '-k', f'{d}/q', '-f', fmt, top):
            result = in_background(d, f'image={top}', *words)
            same(result.rc, 0, f'{words} beside another reader: {result}')
            uri = f'nbd+unix:///?socket={d}/nbd'
            info = json.loads(harness.run('nbdinfo', '--json', uri).out)['exports'][0]
            for key in 'is_read_only', 'can_multi_conn':
                check(info[key], f'{words}: {key}: {info}')
            check(not info.get('can_trim') and not info.get('can_zero'), f'{words}: {info}')
            same(harness.run('nbdcopy', '--flush', uri, f'{d}/out').rc, 0, 'nbdcopy')
            same(images.digest(f'{d}/out'), images.digest(flat), f'{words}: what it serves')
            check(harness.run('qemu-io', '-f', 'raw', '-c', 'write 0 4k', uri).rc, f'{words}: it can be written')
            end(d)
        same(witness(d), before, f'{words}: the files')


@case('read only needs no permission to write')
def read_only_permission(d):
    top = disk(d)
    here = copies(facts.nbdkit_plugin())
    os.chmod(d, 0o777)
    for name in 'top.img', 'base.img':
        os.chmod(f'{d}/{name}', 0o444)
    before = witness(d)
    for words in ('-r',), ('readonly=true',):
        result = in_background(d, f'image={top}', *words, prefix=as_nobody(), so=here.plugin)
        same(result.rc, 0, f'{words}: {result}')
        check(serves(d), f'{words}: it does not serve')
        end(d)
    same(witness(d), before, 'the files')


@case('what changes the image does not go with read only', ['pull=true'], 'pull')
@case('copy-on-read does not go with read only', ['copy-on-read=true'], 'copy-on-read')
@case('what only a pull needs does not go with read only', ['verify=true', 'control={d}/ctl'], 'verify')
def read_only_refused(d, parameters, key):
    top = disk(d)
    before = witness(d)
    for words in READ_ONLY:
        does_not_start(d, [f'{key}: ', 'readonly=true'], f'image={top}', *words, *[p.format(d=d) for p in parameters], anywhere=False)
    same(witness(d), before, 'the files')


@case('a socket beside it starts no pull')
def read_only_socket(d):
    top = disk(d)
    before = witness(d)
    same(in_background(d, '-r', f'image={top}', f'control={d}/ctl').rc, 0, 'exit code')
    client = Client(f'{d}/ctl')
    request = {'execute': 'block-stream', 'arguments': {'device': top}}
    answer = client.raw(json.dumps(request).encode() + b'\n')
    check('error' in answer and 'read' in str(answer), str(answer))
    client.socket.close()
    end(d)
    same(witness(d), before, 'the files')


@case('what only looks like -r is none')
def not_read_only(d):
    """A value of another option, a parameter's, and what stands behind --."""
    os.rename(disk(d), f'{d}/-r')
    for words in ('-e', '-r', f'{d}/-r'), ('image=-r',), ('--exportname', '--readonly', 'image=-r'), ('--', '-r'):
        so = facts.nbdkit_plugin()
        before = ('--', so, '-r') if words == ('--', '-r') else (so, *words)
        result = harness.run('setsid', '-w', 'nbdkit', '-U', f'{d}/nbd', '-P', f'{d}/pid', *before, cwd=d)
        same(result.rc, 0, f'{words}: {result}')
        uri = f'nbd+unix:///?socket={d}/nbd'
        same(harness.run('qemu-io', '-f', 'raw', '-c', 'write 0 4k', uri).rc, 0, f'{words}: a write')
        end(d)


@case('a raw disk, read only')
def raw_read_only(d):
    raw_image(f'{d}/base.img', MIB)
    top = raw_image(f'{d}/top.img', 4 * MIB, (0, MIB))
    before = witness(d)
    same(in_background(d, '-r', f'image={top}', 'format=raw').rc, 0, 'exit code')
    check(serves(d), 'it does not serve')
    end(d)
    same(witness(d), before, 'the files')


# ---- Export names ----

@case('the one export has no name; another name is refused')
def export_names(d):
    need('nbdinfo')
    top = disk(d)
    same(in_background(d, f'image={top}').rc, 0, 'exit code')
    found = json.loads(harness.run('nbdinfo', '--list', '--json', f'nbd+unix:///?socket={d}/nbd').out)
    same([e['export-name'] for e in found['exports']], [''], 'the list')
    for name in 'other', 'top.img', '%2F', 'x' * 200:
        result = harness.run('nbdinfo', f'nbd+unix:///{name}?socket={d}/nbd')
        check(result.rc, f'{name}: it was served: {result}')
    check(serves(d), 'it does not serve any more')
    end(d)


@case('nbdkit\'s own name for it is taken', ('-e', 'disk one'))
@case('nbdkit\'s own name for it is taken, spelt out', ('--exportname=disk one',))
@case('nbdkit\'s own name for it is taken, abbreviated', ('--export-n', 'disk one'))
def export_name_given(d, words):
    need('nbdinfo')
    top = disk(d)
    result = harness.run('nbdkit', '-U', f'{d}/nbd', facts.nbdkit_plugin(), f'image={top}', *words, '--run',
                         'nbdinfo --size "$uri" && ! nbdinfo --size "nbd+unix:///disk?socket=$unixsocket"'
                         ' && nbdinfo --size "nbd+unix:///?socket=$unixsocket"')
    same(result.rc, 0, str(result))
    same(result.out.split(), [str(16 * MIB)] * 2, 'sizes')


@case('a word twice is one too many')
def twice(d):
    top = disk(d)
    does_not_start(d, ['readonly: ', 'twice'], f'image={top}', 'readonly=true', 'readonly=true', anywhere=False)


if __name__ == '__main__':
    harness.main(workers=2)
