#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Builds the fuzz targets as OSS-Fuzz would, by tools/packaging/oss-fuzz/build.sh with its variables, and looks at what
it would take: each target of run.py is there, starts in an empty place, runs its seeds, and needs no library that the
machines which run it lack. Prints TAP; skipped where there is no clang. `./tools/dev oss-fuzz`.

    oss_fuzz.py [BUILD]    BUILD: where it happens (build-oss-fuzz)
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

import run

PROJECT = run.ROOT / 'tools/packaging/oss-fuzz'
# Of OSS-Fuzz's base-builder, for libFuzzer.
FLAGS = '-O1 -fno-omit-frame-pointer -gline-tables-only -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION'
SANITIZERS = {
    'address': '-fsanitize=address -fsanitize-address-use-after-scope',
    'undefined': '-fsanitize=bool,array-bounds,signed-integer-overflow,shift,null,return,unreachable,vla-bound '
                 '-fno-sanitize-recover=all',
}
SYSTEM = re.compile(r'^(linux-vdso|ld-linux.*|libc|libm|libgcc_s|libstdc\+\+|libpthread|libdl|librt|libresolv)\.so')
FIELDS = 'language', 'primary_contact', 'main_repo', 'homepage', 'base_os_version', 'fuzzing_engines', 'sanitizers'


def project():
    """{field: value or list} of project.yaml, which has no more of YAML than this."""
    found = {}
    for line in (PROJECT / 'project.yaml').read_text().splitlines():
        if re.match(r'\w', line):
            field, _, value = line.partition(':')
            found[field] = value.strip().strip('"') or []
        elif line.startswith('  - '):
            found[field].append(line[4:].strip())
    return found


def build(place, sanitizer):
    """build.sh's output, {} of directories. The sources are where OSS-Fuzz's Dockerfile would have cloned them."""
    shutil.rmtree(place, ignore_errors=True)
    dirs = {name: place / name.lower() for name in ('SRC', 'OUT', 'WORK')}
    for one in dirs.values():
        one.mkdir(parents=True)
    (dirs['SRC'] / 'blockpull').symlink_to(run.ROOT)
    flags = f'{FLAGS} {SANITIZERS[sanitizer]} -fsanitize=fuzzer-no-link'
    env = {**os.environ, **{name: str(one) for name, one in dirs.items()}, 'CC': 'clang', 'CXX': 'clang++', 'CFLAGS': flags,
           'CXXFLAGS': flags, 'LIB_FUZZING_ENGINE': '-fsanitize=fuzzer', 'SANITIZER': sanitizer, 'FUZZING_ENGINE': 'libfuzzer'}
    subprocess.run(['bash', '-eu', PROJECT / 'build.sh'], env=env, stdout=sys.stderr, check=True)
    return dirs['OUT']


def wrong_project():
    there = project()
    yield from (f'project.yaml has no {field}' for field in FIELDS if not there.get(field))
    yield from (f'{one} is not built here' for one in set(there['sanitizers']) - set(SANITIZERS))
    image = re.search(r'^FROM gcr\.io/oss-fuzz-base/base-builder:(\S+)', (PROJECT / 'Dockerfile').read_text(), re.M)
    if not image or image[1] != there['base_os_version']:
        yield 'Dockerfile and project.yaml name different systems'
    if f"git clone --depth 1 {there['main_repo']} blockpull" not in (PROJECT / 'Dockerfile').read_text():
        yield 'Dockerfile clones another repository than project.yaml names'


def wrong_targets(out):
    there = {path.name[5:] for path in out.glob('fuzz_*') if not path.suffix and '_seed_corpus' not in path.name}
    for name in sorted(there ^ set(run.TARGETS)):
        yield f'{name} is in one of run.py and $OUT alone'


def wrong_target(out, name):
    """Moved away, as the machines that run it have neither the sources nor the libraries."""
    with tempfile.TemporaryDirectory() as scratch:
        target, seeds = shutil.copy(out / f'fuzz_{name}', scratch), pathlib.Path(scratch, 'seeds')
        listed = subprocess.run(['ldd', target], capture_output=True, text=True, check=True).stdout
        yield from (f'needs {line.strip()}' for line in listed.splitlines()
                    if not SYSTEM.match(pathlib.Path(line.split()[0]).name))
        with zipfile.ZipFile(out / f'fuzz_{name}_seed_corpus.zip') as archive:
            archive.extractall(seeds)
        if not list(seeds.iterdir()):
            yield 'has no seeds'
        result = subprocess.run([target, '-runs=0', *run.LIMITS, seeds], cwd=scratch, capture_output=True, text=True,
                                errors='replace', check=False)
        if result.returncode:
            yield from result.stderr.splitlines()[-30:]
        if not re.search(r'INITED cov: [1-9]', result.stderr):
            yield 'counts no coverage'


def report(number, title, wrong):
    wrong = list(wrong)
    print(f'{"not ok" if wrong else "ok"} {number} - {title}', flush=True)
    print(''.join(f'# {line}\n' for line in wrong), end='')
    return bool(wrong)


def main():
    place = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else run.ROOT / 'build-oss-fuzz').resolve()
    place.mkdir(parents=True, exist_ok=True)
    if not run.can_fuzz(place) or not shutil.which('zip'):
        print('1..0 # SKIP no clang with libFuzzer, or no zip, here')
        return 0
    print(f'1..{1 + len(SANITIZERS) * (1 + len(run.TARGETS))}')
    failed, number = report(1, 'project.yaml and Dockerfile', wrong_project()), 1
    for sanitizer in SANITIZERS:
        out = build(place / sanitizer, sanitizer)
        number += 1
        failed |= report(number, f'{sanitizer}: the targets of run.py, and no others', wrong_targets(out))
        for name in run.TARGETS:
            number += 1
            failed |= report(number, f'{sanitizer}: {name} runs its seeds alone', wrong_target(out, name))
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
