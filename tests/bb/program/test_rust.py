# SPDX-License-Identifier: MIT OR Apache-2.0
"""The Rust crates: built against the installed library without a network, tried by their own tests, and the two
examples run."""
import os
import shutil

import examples
import harness
from harness import case, check, need
from installed import install

TREE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../../tools/bindings/rust')


# One build for all of it: a compiler's minutes are dearer than a case of its own.
@case('their tests pass, and the examples pull and serve')
def crates(d):
    need('cargo', 'cc', 'qemu-img')
    env, _ = install(d)
    shutil.copytree(TREE, f'{d}/tree', ignore=shutil.ignore_patterns('target'))
    env.update(CARGO_TARGET_DIR=f'{d}/target', CARGO_NET_OFFLINE='true', CARGO_INCREMENTAL='0',
               CARGO_PROFILE_DEV_DEBUG='0', CARGO_PROFILE_TEST_DEBUG='0')
    result = harness.run('cargo', 'test', '--quiet', '--offline', '--manifest-path', f'{d}/tree/Cargo.toml', env=env,
                         timeout=300)
    check(result.rc == 0 and 'warning' not in result.err, str(result))
    examples.judge_pull(d, [f'{d}/target/debug/examples/pull'], env, 'panicked')
    examples.judge_serve(d, [f'{d}/target/debug/examples/serve_reads'], env)


if __name__ == '__main__':
    harness.main()
