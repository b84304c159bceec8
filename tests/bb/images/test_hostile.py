# SPDX-License-Identifier: MIT OR Apache-2.0
"""The hostile images of hostile_images.py and its parts, judged as an outsider would.

Each is looked at by check, info, map and pull --dry-run, and then pulled. No command may crash, take ten
seconds or 128 MiB, print a control character, or change a file that it only looks at; a pull does what the
image's verdict says.
One case is a class of images; it goes through some of them and reports every deviation: of a class that has
many, a third that BB_SEED draws. BB_ALL=1, as a soak has it once, goes through all of them, has every command
look at every image, and says what became of each.
"""
import os
import random
import re
import shutil
import sys
import time

import facts
import harness
import hostile_images
import hostile_more
import hostile_names
import hostile_qed_images
import images
import reach
from harness import CORRUPT, DONE, FAILED, KIB, MIB, REFUSED, Failed, bp, case, check, note, run, same
from images import Untouched

SECONDS, MEMORY = 10, 128 * MIB
SEED = int(os.environ.get('BB_SEED', time.time_ns() % 10**6))
ALL = bool(os.environ.get('BB_ALL'))
FEW = 6 if facts.emulated() else 20  # images that are not worth a choice
LOOKS = ('check',), ('info',), ('info', '--json', '--chain'), ('map',), ('pull', '-n')
NAMED = ('shared tables', 'backing names', 'data files', 'chains', 'no images', 'giants', 'QED backing name', 'QED files',
         'header extensions')
CONTROL = re.compile('[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]')


def files_of(d):
    """Regular files below d, no symbolic link followed."""
    found = []
    for where, _, names in os.walk(d):
        found += [f'{where}/{n}' for n in names if os.path.isfile(f'{where}/{n}') and not os.path.islink(f'{where}/{n}')]
    return found


def command(d, *args, **options):
    """Runs blockpull within the limits; what it says must be fit for a terminal."""
    result = bp(*args, rc=None, timeout=SECONDS, cwd=d, **options)
    check(harness.instrumented() or result.max_rss < MEMORY, f'{result.max_rss >> 20} MiB of memory: {result}')
    found = CONTROL.search(result.out + result.err)
    check(not found, f'control character {found and found.group()!r}: {result.argv} {result.out!r} {result.err!r}')
    if result.rc and result.rc != harness.LEAKS and args[0] != 'check':
        check(result.err.strip(), f'refused without a word: {result}')
        check(not re.search(r'assert|sanitizer|runtime error', result.err, re.I), str(result))
    return result


def qemu_reads(path, fmt, flat):
    """What QEMU reads of the image as it is, as a file; None if it can't."""
    done = run('qemu-img', 'convert', '-U', '-f', fmt, '-O', 'raw', path, flat, timeout=20).rc == 0
    return flat if done else None


def judge_changed(image, plan, top, fmt, flat):
    """A pull said that it is done, and changed the image."""
    if image.verdict == 'limits':  # more than the judge's tools can look at; what there is lies in front
        run('qemu-img', 'dd', '-f', fmt, '-O', 'raw', 'bs=256k', 'count=1', f'if={top}', f'of={top}.part')
        plan.size = min(plan.size, 256 * KIB)
        with open(f'{top}.part', 'rb') as got, open(plan.flat(f'{top}.flat'), 'rb') as wanted:
            check(got.read() == wanted.read(), 'content changed by the pull')
    elif flat:
        images.judge_pulled(top, fmt, flat)
    else:  # QEMU could not read it; what we call whole, it must be able to read at least in parts
        same(images.image_check(top, fmt), 0, 'exit code of qemu-img check after the pull')


def judge_pull(d, image, plan, before, flat):
    top, fmt = f'{d}/top.img', getattr(plan, 'fmt', 'qcow2')
    who = {}
    if hasattr(plan, 'user') and os.getuid() == 0:
        who = {'user': plan.user, 'group': plan.user, 'extra_groups': [], 'command': reach.copies().command}
    looked = before.files.get(top)
    result = command(d, 'pull', *getattr(plan, 'args', ()), 'top.img', **who)
    verdict = image.verdict
    if verdict in ('pull', 'complete'):
        check(result.rc == DONE, f'refused although legal: {result}')
    elif verdict in ('refuse', 'stop'):
        check(result.rc in (FAILED, CORRUPT, REFUSED), f'not refused: {result}')
    check(result.rc in (DONE, FAILED, CORRUPT, REFUSED), f'neither done nor refused: {result}')
    if verdict in ('stop', 'stop?') and result.rc:
        # The base turned out to be unreadable on the way: what was copied may stay, and so does the link.
        del before.files[top]
        before.verify('beside the image')
        if Untouched.look(top) == looked:
            return result
        info = images.image_info(top)
        check(info.get('backing-filename') == 'base.img', f'the link is gone: {info}')
        same(images.image_check(top, fmt), 0, 'exit code of qemu-img check')
    elif result.rc or verdict.startswith('complete') or 'nothing to pull' in result.err:
        before.verify(f'although it was refused: {result}')
    else:
        before.files = {path: look for path, look in before.files.items() if path not in (top, getattr(plan, 'data_file', None))}
        before.verify('beside the image')
        judge_changed(image, plan, top, fmt, flat)
    return result


def judge(d, image, looks):
    plan = image.build(d)
    top, fmt = f'{d}/top.img', getattr(plan, 'fmt', 'qcow2')
    before = Untouched(*files_of(os.path.dirname(d)))
    codes = [f'{args[0]} {command(d, *args, "top.img").rc}' for args in looks]
    before.verify('by a command that only looks')
    flat = None
    if image.verdict == 'pull':
        flat = plan.flat(f'{d}/flat')
    elif image.verdict in ('either', 'stop?'):
        flat = qemu_reads(top, fmt, f'{d}/flat')
    before = Untouched(*files_of(os.path.dirname(d)))
    result = judge_pull(d, image, plan, before, flat)
    return f'exit {result.rc} ({", ".join(codes)}) {result.err.strip()}'


def chosen(name):
    found = [image for image in hostile_images.images if image.cls == name]
    if ALL or len(found) <= FEW:
        return found
    return random.Random(f'{SEED} {name}').sample(found, FEW if facts.emulated() else max(FEW, -(-len(found) // 3)))


def judge_class(d, name):
    broken, seen = [], 0
    for image in chosen(name):
        seen += 1
        place = f'{d}/{seen}/image'
        os.makedirs(place)
        for part in d, f'{d}/{seen}', place:
            os.chmod(part, 0o755)  # for the images that another user looks at
        try:
            # Where names or files are the weapon every command meets it; else they take turns, to save a minute.
            looks = LOOKS if image.cls in NAMED or ALL else LOOKS[seen % len(LOOKS):][:1]
            verdict = judge(place, image, looks)
            if ALL:
                note(f'{image.title}: {image.verdict}: {verdict}')
        except Failed as error:
            broken.append(f'{name}: {image.title} ({image.verdict}): {error}')
        shutil.rmtree(f'{d}/{seen}')
    check(seen, f'no image in class {name}')
    note(f'{seen} images')
    if broken:
        raise Failed(f'{len(broken)} of {seen}, BB_SEED={SEED}:\n' + '\n'.join(broken))


if __name__ == '__main__':
    for class_name in reversed(list(dict.fromkeys(i.cls for i in hostile_images.images))):
        case(class_name, class_name)(judge_class)
    print(f'# BB_SEED={SEED}')
    harness.main(workers=2)
