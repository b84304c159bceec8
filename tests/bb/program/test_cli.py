# SPDX-License-Identifier: MIT OR Apache-2.0
"""The command line: help, typos, sizes, progress, broken terminals, several images, memory."""
import contextlib
import errno
import json
import os
import pty
import re
import select
import signal
import time

import facts
import harness
import images
import seccomp_filter
from harness import DONE, FAILED, GIB, KIB, MIB, TIB, USAGE, Skip, bp, case, check, field, note, refused, same
from images import Untouched, image_info, overlay, qemu_img, raw_image

COMMANDS = 'pull', 'info', 'map', 'check', 'create'


def pair(d, size=2 * MIB):
    raw_image(f'{d}/base.img', size)
    return overlay(f'{d}/top.img', 'base.img')


def linked(path):
    return 'backing-filename' in image_info(path)


# ---- Help and typos -----------------------------------------------------------------------------

@case('--help and --version')
def help_and_version(d):
    text = bp('--help').out
    for command in COMMANDS:
        check(command in text, f'--help leaves out {command}')
        own = bp(command, '--help').out
        check(len(own) > 80 and command in own, f'{command} --help: {own!r}')
        check(max(map(len, own.splitlines())) <= 100, f'{command} --help has overlong lines')
    for option in ('--bandwidth', '--burst', '--allow-backing', '--backing-format', '--io', '--holes', '--progress',
                   '--json', '--dry-run'):
        check(option in bp('pull', '--help').out, f'pull --help leaves out {option}')
    check(re.search(r'\d+\.\d+', bp('--version').out), 'no number in --version')


@case('help COMMAND is COMMAND --help, and a typo gets a hint')
def help_verb(d):
    verbs = re.findall(r'^  (\w+) +\S', re.search(r'Commands:\n(.*?)\n\n', bp('help').out, re.S)[1], re.M)
    check(len(verbs) > 9, f'help was not understood: {verbs}')
    same(bp('help').out, bp('--help').out, 'help')
    for verb in verbs[:-1]:
        same(bp('help', verb).out, bp(verb, '--help').out, f'help {verb}')
    same(bp('--help', 'pull').out, bp('help', 'pull').out, '--help pull')
    for args, word in ((['help', 'flaten'], "'flatten'"), (['--version', 'pull'], "'pull'"), (['--help', 'pul'], "'pull'"),
                       (['help', '--jobs'], '--jobs'), (['help', 'pull', 'info'], 'one')):
        result = bp(*args, rc=USAGE)
        check(word in result.err and not result.out, str(result))
    check("'--version'" in bp('--versoin', rc=USAGE).err, 'no hint to --version')


def libraries():
    """What the command and the library load. ldd would start them: another processor's are read."""
    if not facts.emulated():
        return harness.run('ldd', harness.blockpull).out
    program = os.environ['BB_EMULATED']
    library = os.path.join(os.path.dirname(program), '../engine/libblockpull.so')
    return harness.run('readelf', '-d', program).out + harness.run('readelf', '-d', library).out


@case('--version names the ways of I/O, the formats and what was built in')
def version(d):
    lines = bp('--version').out.splitlines()
    check(re.fullmatch(r'blockpull \d+\.\d+\.\d+', lines[0]), f'not a version: {lines}')
    named = dict(line.split(': ', 1) for line in lines[1:])
    same(sorted(named), ['backends', 'features', 'formats'], 'lines')
    same(named['formats'], 'raw qcow2 qed', 'formats')
    here = re.fullmatch(r'io_uring threads \(here: (io_uring|threads)\)', named['backends'])
    check(here, f'not the ways of I/O: {named}')
    top = pair(d, 64 * KIB)
    uring = bp('pull', '--io=uring', top, rc=None)
    same(here[1], 'threads' if uring.rc else 'io_uring', 'what works here')
    seccomp_filter.need_filter(errno.EPERM)
    refused_here = bp('--version', **seccomp_filter.denying(errno.EPERM)).out
    check('(here: threads)' in refused_here, f'io_uring is refused: {refused_here}')
    linked = libraries()
    for feature, library in (('zlib', 'libz.'), ('libdeflate', 'libdeflate.'), ('zstd', 'libzstd.'), ('seccomp', 'libseccomp.')):
        same(feature in named['features'].split(), library in linked, feature)


@case('calls that make no sense: exit code 2 and a hint')
def typos(d):
    top = pair(d)
    before = Untouched(top)
    for words, args in (
            (['pull'], ['pul', top]), (['--bandwidth'], ['pull', '--bandwith=1M', top]),
            (['--json'], ['map', '--jsn', top]),
            (['uring'], ['pull', '--io=urng', top]), (['json'], ['pull', '--progress=jsno', top]),
            (['image'], ['pull']), (['image'], ['info']), (['--bandwidth'], ['pull', top, '--bandwidth']),
            (['--holes'], ['pull', '--holes=maybe', top]),
            (['--backing-format'], ['pull', '--backing-format=vmdk', top]),
            (['raw', 'qcow2, qed'], ['pull', '--format=raw', top]),
            (['--source-format'], ['flatten', '--source-format=vmdk', top, 'out']),
            (['--source-format'], ['snapshot', '--source-format=vmdk', top, 'new']),
            (['--frobnicate'], ['pull', '--frobnicate', top]), (['-f'], ['create', top, '1M'])):
        result = bp(*args, rc=USAGE)
        for word in words:
            check(word in result.err.lower(), f'no hint to {word}: {result}')
        check(not result.out, f'a complaint on stdout: {result}')
        check(len(result.err.splitlines()) <= 4, f'a wall of text: {result}')
    check('blockpull' in bp(rc=USAGE).err, 'no word on the usage')
    before.verify()


@case('an image too many is refused, not ignored')
def too_many_words(d):
    top = pair(d)
    before = Untouched(top)
    for verb, n in ('info', 1), ('check', 1), ('map', 1), ('measure', 1), ('verify', 2):
        result = bp(verb, *[top] * (n + 1), rc=USAGE)
        check('image' in result.err and not result.out, f'{verb}: {result}')
    before.verify()


@case('options may follow the image, and -- ends them')
def option_order(d):
    top = pair(d)
    bp('pull', top, '--progress', 'none')
    check(not linked(top), 'not pulled')
    os.rename(top, f'{d}/--json')
    bp('info', '--', '--json', cwd=d)


@case('sizes are taken as documented, and others refused')
def sizes(d):
    for text in '10MB', '1.5M', '50M/s', '1G', '500000', '64KiB', '0', '2GiB/s', '1T':
        top = pair(d, 64 * KIB)
        bp('pull', '--bandwidth', text, top)
        check(not linked(top), f'--bandwidth {text}: not pulled')
        os.unlink(top)
    top = pair(d, 64 * KIB)
    before = Untouched(top)
    for text in '10Mb', '', 'x', '-1', '1e', '5 apples', '99999999999999T', '1.2.3M', 'M', '0x', 'nan', '10Mbit':
        result = bp('pull', f'--bandwidth={text}', top, rc=USAGE)
        check('--bandwidth' in result.err and (not text or text in result.err), f'{text!r}: {result}')
    check(re.search(r'\bbits?\b|\bbytes?\b|MB|8', bp('pull', '--bandwidth=10Mb', top, rc=USAGE).err), 'no hint on bits')
    before.verify()


# ---- What is printed where ----------------------------------------------------------------------

@case('--json is one JSON document on stdout')
def json_output(d):
    top = pair(d)
    for args in ['info', '--json'], ['info', '--json', '--chain'], ['map', '--json'], ['check', '--json']:
        result = bp(*args, top)
        result.json()
        check(not result.err, f'something on stderr: {result}')
    bp('pull', '--json', '--dry-run', top).json()
    summary = bp('pull', '--json', '--quiet', top)
    same(sum(field(summary.json(), 'bytes', name) for name in ('copied', 'cloned')), 2 * MIB, 'copied')
    same(field(summary.json(), 'status'), 'completed', 'status')
    check(not summary.err, f'something on stderr: {summary}')
    broken = bp('pull', '--json', f'{d}/gone.img', rc=FAILED)
    check('gone.img' in broken.err, f'no sentence: {broken}')
    same(field(broken.json(), 'exit-code'), FAILED, 'exit code in the result')
    check('gone.img' in field(broken.json(), 'error'), f'no sentence in the result: {broken}')


@case('-q and --progress=none say nothing')
def quiet(d):
    for args in ['-q'], ['--progress=none', '-q']:
        top = pair(d)
        result = bp('pull', *args, top)
        check(not result.out and not result.err, str(result))
        os.unlink(top)


@case('--progress=json')
def progress_json(d):
    top = pair(d, 16 * MIB)
    result = bp('pull', '--bandwidth=16M', '--progress=json', '--json', top)
    lines = result.lines()
    check(len(lines) >= 3, f'only {len(lines)} lines in a second')
    seen = [field(line, 'cur') for line in lines if line['event'] == 'progress']
    check(seen == sorted(seen) and seen[-1] > 0, f'cur is not monotonic: {seen}')
    check(all(field(line, 'filename') == top for line in lines), f'the image is not named: {lines[0]}')
    same([line['event'] for line in lines].index('result'), len(lines) - 1, 'place of the result')
    same(field(lines[1], 'bandwidth'), 16 * MIB, 'bandwidth of the progress lines')


@case('--progress=plain')
def progress_plain(d):
    top = pair(d, 16 * MIB)
    pull = harness.start(harness.blockpull, 'pull', '--bandwidth=8M', '--progress=plain', top)
    time.sleep(0.5)
    os.kill(pull.pid, signal.SIGUSR1)  # asks for a line now
    result = harness.finish(pull)
    text = result.err
    check(result.rc == DONE, str(result))
    check(text.endswith('\n') and '\r' not in text and '\x1b' not in text, f'not plain lines: {text!r}')
    check(re.search(r'top\.img.*\d+ ?%', text), f'no percentage: {text!r}')


@case('--progress=auto is plain in a pipe')
def progress_auto(d):
    result = bp('pull', '--bandwidth=16M', pair(d, 8 * MIB))
    text = result.out + result.err
    check('\r' not in text and '\x1b' not in text, f'a bar in a pipe: {text!r}')


def terminal():
    """The two sides of one; skips in a container without any."""
    try:
        return pty.openpty()
    except OSError as error:
        raise Skip(f'no terminal to be had (is /dev/pts mounted?): {error}') from None


def in_terminal(*args, **environment):
    """Runs blockpull with a terminal as stderr and returns what it drew there."""
    parent, child = terminal()
    env = harness.environment(**{'TERM': 'xterm', **environment})
    process = harness.start(harness.blockpull, *args, stderr=child, env=env)
    os.close(child)
    drawn = b''
    # A read from a terminal whose other side is closed ends with EIO.
    with contextlib.suppress(OSError):
        while select.select([parent], [], [], 60)[0]:
            drawn += os.read(parent, 65536)
    os.close(parent)
    result = harness.finish(process)
    check(result.rc == DONE, f'{result}\ndrew {drawn!r}')
    return drawn.decode()


@case('a bar on a terminal')
def bar(d):
    drawn = in_terminal('pull', '--bandwidth=8M', pair(d, 8 * MIB))
    check(drawn.count('\r') > 3 and '%' in drawn, f'no bar: {drawn!r}')
    check(drawn.endswith('\n'), f'the prompt would stand behind the bar: {drawn[-80:]!r}')


@case('NO_COLOR is heeded, and TERM=dumb')
def no_color(d):
    for change in {'NO_COLOR': '1'}, {'TERM': 'dumb'}:
        top = pair(d, 4 * MIB)
        drawn = in_terminal('pull', '--bandwidth=8M', top, **change)
        check(not re.search(r'\x1b\[[0-9;]*[1-9][0-9;]*m', drawn), f'colours: {drawn!r}')
        check('TERM' not in change or '\x1b' not in drawn, f'escapes for a dumb terminal: {drawn!r}')
        os.unlink(top)


@case('closed standard streams: nothing goes astray into the image')
def closed_streams(d):
    for closed in '>&-', '2>&-', '<&-', '<&- >&- 2>&-':
        for args in ['pull'], ['pull', '--json', '--progress=json'], ['pull', '--progress=plain']:
            top = pair(d, MIB)
            before = Untouched(f'{d}/base.img')
            result = harness.run('sh', '-c', f'exec "$@" {closed}', 'sh', harness.blockpull, *args, top)
            check(result.rc in (DONE, FAILED), f'{closed}: {result}')
            before.verify(f'with {closed}')
            same(images.image_check(top, 'qcow2'), 0, f'qemu-img check, {closed}')
            images.compare_flat(top, 'qcow2', f'{d}/base.img', f'with {closed}')
            if '--json' not in args:
                check(result.rc == DONE and not linked(top), f'a closed stream stopped it, {closed}: {result}')
            os.unlink(top)


@case('a closed stdout is reported')
def closed_stdout(d):
    top, _ = images.pair(d)
    for args in ['--version'], ['--help'], ['info', top], ['map', top], ['check', top], ['measure', top]:
        result = harness.run('sh', '-c', 'exec "$0" "$@" >&-', harness.blockpull, *args)
        same(result.rc, FAILED, f'exit code of {args}')
        check('standard output' in result.err, str(result))


@case('slips of the command line are called by their names')
def slips(d):
    top, _ = images.pair(d)
    for words, args in [
            (['-b'], ['create', '-f', 'qcow2', '-b', '', '-F', 'raw', f'{d}/new', '1M']),
            ([], ['create', '-f', 'qcow2', '-o', 'refcount_bits=3', f'{d}/new', '1M']),
            ([], ['create', '-f', 'qcow2', '-o', 'cluster_size=1000', f'{d}/new', '1M']),
            (['ambiguous', '--format', '--force-share'], ['map', '--fo', top]),
            (['/dev/null', 'neither a directory nor a file'], ['map', '--allow-backing=/dev/null', top])]:
        result = harness.refused(USAGE, words, *args)
        check(not os.path.exists(f'{d}/new'), str(result))


@case('a full disk behind stdout is reported')
def dev_full(d):
    top = pair(d)
    for args in (['info', top], ['info', '--json', top], ['map', top], ['map', '--json', top], ['check', '--json', top],
                 ['--help'], ['--version']):
        with open('/dev/full', 'wb') as full:
            result = harness.run(harness.blockpull, *args, stdout=full)
        check(result.rc == FAILED and result.err, f'output was lost without a word: {result}')
    with open('/dev/full', 'wb') as full:
        result = harness.run(harness.blockpull, 'pull', '--progress=plain', top, stderr=full)
    check(result.rc == DONE and not linked(top), f'progress that cannot be shown stopped the pull: {result}')


@case('a reader that goes away')
def broken_pipe(d):
    top = pair(d)
    for pipeline in '"$1" map --json "$2" | true', '"$1" pull --json --progress=json "$2" 2>&1 | true':
        result = harness.run('sh', '-c', pipeline, 'sh', harness.blockpull, top)
        check(result.rc == 0, str(result))
    deadline = time.monotonic() + harness.WAIT
    while linked(top) and time.monotonic() < deadline:
        result = bp('pull', top, rc=None)
    images.judge_pulled(top, 'qcow2', f'{d}/base.img')


# ---- Images -------------------------------------------------------------------------------------

@case('an image without backing is done at once, and unchanged')
def no_backing(d):
    for fmt in 'qcow2', 'qed':
        top = f'{d}/{fmt}.img'
        qemu_img('create', '-q', '-f', fmt, top, '4M')
        images.qemu_io(top, fmt, 'write -P 3 1M 100k')
        before = Untouched(top)
        bp('pull', top, timeout=5)
        before.verify()
        lines = bp('pull', '--json', '--progress=json', top).lines()
        check(all(field(line, 'end') >= 1 for line in lines[:-1]), 'an end of 0 invites a division')
        same(field(lines[-1], 'status'), 'completed', 'status')


@case('several images at once; one that fails does not stop the others')
def several(d):
    tops = []
    for index in range(4):
        raw_image(f'{d}/base{index}.img', 2 * MIB)
        tops.append(overlay(f'{d}/top{index}.img', f'base{index}.img', 'qed' if index % 2 else 'qcow2'))
    os.unlink(f'{d}/base2.img')
    result = bp('pull', '--progress=plain', *tops, rc=FAILED)
    check('base2.img' in result.err, f'no word on what failed: {result}')
    for index in 0, 1, 3:
        images.judge_pulled(tops[index], image_info(tops[index])['format'], f'{d}/base{index}.img')
    info = json.loads(qemu_img('info', '--output=json', tops[2]).out)
    check('backing-filename' in info, 'the failed one lost its link')


@case('--dry-run changes nothing and says what would be done')
def dry_run(d):
    top = pair(d)
    before = Untouched(top, f'{d}/base.img')
    result = bp('pull', '--dry-run', top)
    before.verify('by --dry-run')
    check('top.img' in result.out + result.err, f'not a word: {result}')
    refused(FAILED, ['gone.img'], 'pull', '--dry-run', f'{d}/gone.img')
    alone = f'{d}/alone.img'
    qemu_img('create', '-q', '-f', 'qcow2', alone, '4M')
    for image in top, alone:
        images.patch(image, 79, b'\x02')  # marked corrupt
        before = Untouched(image, f'{d}/base.img')
        refused(harness.CORRUPT, ['corrupt'], 'pull', '--dry-run', image)
        before.verify('by --dry-run')
    for option in '--dry-run', '-q':
        refused(harness.REFUSED, ['raw'], 'pull', option, f'{d}/base.img')


# ---- Memory -------------------------------------------------------------------------------------

def lean(d, what, top, fmt, flat, limit=64 * MIB):
    if harness.instrumented():
        raise harness.Skip('a sanitizer takes memory of its own')
    for args in ['info', '--chain'], ['map'], ['pull']:
        result = bp(*args, top, timeout=180)
        note(f'{what}: {args[0]} took {result.seconds:.2f} s and {result.max_rss / MIB:.1f} MiB')
        check(result.max_rss < limit, f'{args[0]} took {result.max_rss / MIB:.1f} MiB of memory')
    images.judge_pulled(top, fmt, flat)


@case('memory: 1 TiB with data in 1000 places', 'qcow2', None)
@case('memory: 1 TiB with data in 1000 places, 4 KiB clusters', 'qcow2', 'cluster_size=4k')
@case('memory: 1 TiB with data in 1000 places, QED', 'qed', None)
def terabyte(d, fmt, options):
    flat = raw_image(f'{d}/base.img', TIB, *((i * GIB + i * 12345, 4 * KIB) for i in range(1000)))
    top = overlay(f'{d}/top.img', 'base.img', fmt, options)
    lean(d, f'1 TiB {fmt}', top, fmt, flat)


@case('memory: a chain of 64', 64)
@case('memory: a chain of 200', 200)
def deep(d, depth):
    raw_image(f'{d}/0.img', 4 * MIB)
    for n in range(1, depth):
        fmt = 'raw' if n == 1 else 'qcow2'
        qemu_img('create', '-q', '-u', '-f', 'qcow2', '-b', f'{n - 1}.img', '-F', fmt, f'{d}/{n}.img', '4M')
    images.qemu_io(f'{d}/{depth // 2}.img', 'qcow2', 'write -P 9 1M 100k')
    top = f'{d}/{depth - 1}.img'
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    before = Untouched(*(f'{d}/{n}.img' for n in range(depth - 1)))
    first = bp('pull', '--dry-run', top, rc=None)
    if depth > 64 and first.rc != DONE:  # a bound is allowed if it is said
        refused((FAILED, harness.REFUSED, harness.CORRUPT), [('deep', 'depth', 'chain', 'long')], 'pull', top)
        check(first.max_rss < 64 * MIB, f'{first.max_rss / MIB:.1f} MiB')
    else:
        lean(d, f'chain of {depth}', top, 'qcow2', flat)
    before.verify()


if __name__ == '__main__':
    harness.main()
