# SPDX-License-Identifier: MIT OR Apache-2.0
"""The Python package: built from its tree against the installed library, tried by its own tests, and its two
examples run as their first lines say."""
import functools
import os
import shutil

import examples
import harness
from harness import Skip, case, check, need
from installed import install

TREE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../../tools/bindings/python')


def python_with(*modules):
    """A Python that has these modules: the one we run on, or the system's."""
    for python in (shutil.which('python3'), '/usr/bin/python3'):
        if python and not harness.run(python, '-c', 'import ' + ', '.join(modules)).rc:
            return python
    raise Skip('no Python here has ' + ', '.join(modules))


@functools.lru_cache
def site_of(python):
    """Where it finds the package. One build for all cases: it takes longer than most of them."""
    d = harness.temp_dir('python')
    env, _ = install(d)
    shutil.copytree(TREE, f'{d}/tree', ignore=shutil.ignore_patterns('__pycache__'))
    result = harness.run(python, '-m', 'pip', 'install', '--quiet', '--no-build-isolation', '--no-index', '--no-deps',
                         '--no-cache-dir', '--root-user-action=ignore', '--target', f'{d}/site', f'{d}/tree', env=env)
    check(result.rc == 0, str(result))
    env.update(PYTHONPATH=f'{d}/site', PYTHONDONTWRITEBYTECODE='1')
    return env


def built(*modules):
    """A Python that has these modules, and the environment in which it finds the package."""
    need('cc', 'qemu-img')
    python = python_with('cffi', 'setuptools', 'wheel', 'pip', *modules)
    return python, dict(site_of(python))


@case('the package\'s own tests pass')
def own_tests(d):
    python, env = built('pytest')
    result = harness.run(python, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '--basetemp', f'{d}/pytest',
                         f'{TREE}/tests', env=env)
    check(result.rc == 0 and ' passed' in result.out, str(result))


@case('the package\'s types hold')
def types(d):
    python, env = built('mypy')
    env.pop('PYTHONPATH')
    result = harness.run(python, '-m', 'mypy', '--cache-dir', f'{d}/cache', '--ignore-missing-imports', f'{TREE}/src',
                         f'{TREE}/examples', env=dict(env, MYPYPATH=f'{TREE}/src'))
    check(result.rc == 0, str(result))


@case('the example that pulls')
def example_pull(d):
    python, env = built()
    examples.judge_pull(d, [python, f'{TREE}/examples/pull.py'], env, 'Traceback')


@case('the example that pulls, interrupted')
def example_interrupted(d):
    python, env = built()
    examples.judge_interrupted_pull(d, [python, f'{TREE}/examples/pull.py'], env)


@case('the example that serves reads')
def example_serve(d):
    python, env = built()
    examples.judge_serve(d, [python, f'{TREE}/examples/serve_reads.py'], env)


if __name__ == '__main__':
    harness.main()
