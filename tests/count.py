#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Prints the run's closing line, "N passed, N failed, N skipped", from Meson's
JUnit report: every case of every TAP program counts. Exits 1 where something
failed or nothing ran."""
import sys
import xml.etree.ElementTree as tree


def main():
    passed = failed = skipped = 0
    try:
        report = tree.parse(sys.argv[1])
    except OSError:
        print("no test ran", file=sys.stderr)
        print("0 passed, 0 failed, 0 skipped")
        return 1
    for suite in report.iter("testsuite"):
        cases = list(suite.iter("testcase"))
        for case in cases:
            kinds = {child.tag for child in case}
            if kinds & {"failure", "error"}:
                failed += 1
                print(f"failed: {suite.get('name')}: {case.get('name')}", file=sys.stderr)
            elif "skipped" in kinds:
                skipped += 1
                reason = " ".join((case.findtext("system-out") or "no reason").split())
                print(f"skipped: {suite.get('name')}: {case.get('name')}: {reason}", file=sys.stderr)
            else:
                passed += 1
        # A program that crashed or timed out may have reported no case at all.
        if not cases and int(suite.get("errors") or 0):
            failed += 1
            print(f"failed: {suite.get('name')}", file=sys.stderr)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
