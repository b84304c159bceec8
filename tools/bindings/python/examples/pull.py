#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Pulls an image's chain into it, with a progress bar: pull.py IMAGE [BYTES_A_SECOND]."""
import sys

import blockpull

WIDTH = 40


def main() -> int:
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with blockpull.Engine(bandwidth=int((sys.argv + ["0"])[2])) as engine, engine.open(sys.argv[1]) as disk:
            for progress in disk.pull():
                done = round(progress.fraction * WIDTH)
                print(f"\r[{'#' * done}{' ' * (WIDTH - done)}] {progress.fraction:4.0%}, "
                      f"{progress.copied_bytes >> 20} MiB copied", end="", file=sys.stderr, flush=True)
            print(file=sys.stderr)
    except (blockpull.Error, blockpull.JobCanceled) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; what was copied is kept, and the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
