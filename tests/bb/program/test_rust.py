# SPDX-License-Identifier: MIT OR Apache-2.0
"""The Rust crates: built against the installed library without a network, tried by their own tests, and the two
examples run, beside the program of docs/embedding.md."""
import os
import re
import shutil

import examples
import harness
from harness import case, check, need, same
from images import judge_pulled
from installed import install

TREE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../../tools/bindings/rust')
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../../docs/embedding.md')


def page_program():
    with open(PAGE, encoding='utf-8') as file:
        found = re.findall(r'^```rust\n(// embedding.rs:.*?)^```$', file.read(), re.M | re.S)
    same(len(found), 1, 'programs in Rust in embedding.md')
    return found[0]


def judge_page_program(d, program, env):
    top, flat = examples.chain(d, 'page')
    result = harness.run(program, top, env=env)
    same((result.rc, result.out, result.err), (0, 'stands alone\n', ''), str(result))
    judge_pulled(top, 'qcow2', flat)
    result = harness.run(program, f'{d}/none.img', env=env)
    check(result.rc == 1 and 'none.img' in result.err, str(result))


# One build for all of it: a compiler's minutes are dearer than a case of its own.
@case('their tests pass, and the examples pull and serve')
def crates(d):
    need('cargo', 'cc', 'qemu-img')
    env, _ = install(d)
    shutil.copytree(TREE, f'{d}/tree', ignore=shutil.ignore_patterns('target'))
    with open(f'{d}/tree/blockpull/examples/embedding.rs', 'w', encoding='utf-8') as file:
        file.write(page_program())
    env.update(CARGO_TARGET_DIR=f'{d}/target', CARGO_NET_OFFLINE='true', CARGO_INCREMENTAL='0',
               CARGO_PROFILE_DEV_DEBUG='0', CARGO_PROFILE_TEST_DEBUG='0')
    result = harness.run('cargo', 'test', '--quiet', '--offline', '--manifest-path', f'{d}/tree/Cargo.toml', env=env,
                         timeout=300)
    check(result.rc == 0 and 'warning' not in result.err, str(result))
    examples.judge_pull(d, [f'{d}/target/debug/examples/pull'], env, 'panicked')
    judge_page_program(d, f'{d}/target/debug/examples/embedding', env)
    examples.judge_serve(d, [f'{d}/target/debug/examples/serve_reads'], env)


if __name__ == '__main__':
    harness.main()
