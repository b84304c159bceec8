# SPDX-License-Identifier: MIT OR Apache-2.0
"""Builds the fuzz targets with clang's libFuzzer and the sanitizers, and runs them for a while.

    run.py [--tap] [--seconds N] [--build DIR] [TARGET...]

N is for all targets together, two at a time. What is found stays in DIR/found, and is printed in base64
with the command that runs it again; it belongs into tests/fuzz/corpus/TARGET once it is mended. With --tap
it is a test of the suite, skipped where there is no clang.
"""
import argparse
import base64
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGETS = ('qcow2', 'qed', 'repair', 'guest', 'meta', 'compressed', 'control', 'name',
           'remote', 'trace', 'vhost_messages', 'vhost_ring')
# The time is the wall clock's, of a machine that may be busy: it ends what hangs.
LIMITS = ('-max_len=65536', '-malloc_limit_mb=128', '-rss_limit_mb=1500', '-timeout=120', '-print_final_stats=1')


def can_fuzz(build):
    """Is there a clang with the runtime for it?"""
    probe = build / 'probe.c'
    probe.write_text('int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return 0; }\n')
    return shutil.which('clang') and subprocess.run(
        ['clang', '-fsanitize=fuzzer,address,undefined', str(probe), '-o', str(build / 'probe')],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def compile_targets(build, targets):
    out = build / 'objects'
    if not (out / 'build.ninja').exists():
        run = ['meson', 'setup', str(out), str(ROOT), '-Dfuzz=true', '-Dtests=disabled', '-Ddocs=disabled', '-Dnbdkit=disabled',
               '-Db_sanitize=address,undefined', '-Db_lundef=false', '-Doptimization=1']
        subprocess.run(run, env={**os.environ, 'CC': 'clang'}, stdout=sys.stderr, check=True)
    names = [f'tests/fuzz/fuzz_{name}' for name in (*targets, 'seeds')]
    subprocess.run(['ninja', '-C', str(out), *names], stdout=sys.stderr, check=True)
    return out / 'tests' / 'fuzz'


def fuzz(target, binaries, build, seconds):
    """(executions, text of what is wrong or None)"""
    corpus, found = build / 'corpus' / target, build / 'found'
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(exist_ok=True)
    inputs = [str(d) for d in (build / 'seeds' / target, ROOT / 'tests' / 'fuzz' / 'corpus' / target) if d.is_dir()]
    before = set(found.iterdir())
    result = subprocess.run(
        [str(binaries / f'fuzz_{target}'), *LIMITS, f'-max_total_time={seconds}', f'-artifact_prefix={found}/{target}-',
         str(corpus), *inputs],
        env={**os.environ, 'ASAN_OPTIONS': 'detect_leaks=1', 'UBSAN_OPTIONS': 'print_stacktrace=1:halt_on_error=1'},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace', check=False)
    n_runs = next((int(line.split()[1]) for line in result.stdout.splitlines() if line.startswith('stat::number_of_executed')), 0)
    if not result.returncode:
        return n_runs, None
    text = [line for line in result.stdout.splitlines() if not line.startswith(('#', 'INFO', 'stat'))][-60:]
    for path in sorted(set(found.iterdir()) - before):
        text += [f'{path}: run {binaries}/fuzz_{target} {path}, or without a fuzzer',
                 f'  base64 -d > input; BUILD/tests/fuzz/fuzz_{target} input', base64.b64encode(path.read_bytes()).decode()]
    return n_runs, '\n'.join(text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--tap', action='store_true')
    parser.add_argument('--seconds', type=int, default=600)
    parser.add_argument('--build', type=pathlib.Path, default=ROOT / 'build-fuzz')
    parser.add_argument('targets', nargs='*', metavar='TARGET', help=' '.join(TARGETS))
    args = parser.parse_args()
    targets = args.targets or list(TARGETS)
    if set(targets) - set(TARGETS):
        parser.error(f'the targets are {" ".join(TARGETS)}')
    args.build.mkdir(parents=True, exist_ok=True)
    if not can_fuzz(args.build):
        print('1..0 # SKIP no clang with libFuzzer here' if args.tap else 'fuzzing needs clang and libclang-rt-14-dev')
        return 0 if args.tap else 1
    binaries = compile_targets(args.build, targets)
    subprocess.run([str(binaries / 'fuzz_seeds'), str(args.build / 'seeds')], check=True)
    if args.tap:
        print(f'1..{len(targets)}', flush=True)
    each, failed = max(2 * args.seconds // len(targets), 1), 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda target: fuzz(target, binaries, args.build, each), targets)
        for i, (target, (n_runs, wrong)) in enumerate(zip(targets, results), 1):
            failed += bool(wrong)
            print(f'{"not ok" if wrong else "ok"} {i} - {target}', flush=True)
            print(f'# {n_runs} inputs in {each} s', flush=True)
            for line in (wrong or '').splitlines():
                print(f'# {line}')
    return 1 if failed and not args.tap else 0


if __name__ == '__main__':
    sys.exit(main())
