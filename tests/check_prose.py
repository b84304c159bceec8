#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""What documents and comments promise, as TAP: the lists of states in
docs/architecture.md have every state of the code, no sentence hides who does a
thing, no comment is a question, parts of a range are called by the words of
docs/glossary.md, and documents name functions, tests and files that exist:
docs/architecture.md those of the library.

usage: check_prose.py ROOT"""
import pathlib
import re
import sys

import tree

CODE = ("engine", "formats", "io", "tools", "bench", "tests")
LIBRARY = ("engine", "formats", "io")

# The enums whose states docs/architecture.md lists: where each is, what its states begin with, and
# the file whose first comment has the order of the states.
STATES = [("job_step", "engine/core/job.h", "JOB_", "engine/job/job.c"),
          ("copy_run_phase", "engine/copy/walk/run_state.h", "COPY_RUN_", "engine/copy/run.c"),
          ("commit_phase", "engine/commit/state.h", "COMMIT_", "engine/commit/commit.c"),
          ("header_phase", "engine/commit/state.h", "HEADER_", "engine/commit/header.c"),
          ("guest_phase", "engine/guest/request.h", "GUEST_", "engine/guest/guest.c")]

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:[^"\\\n]|\\.)*"', re.S)


def enumerators(root, enum, header):
    body = re.search(rf"^enum {enum} \{{(.*?)^\}};", (root / header).read_text(), re.M | re.S)
    return re.findall(r"^\t([A-Z]\w*)", body[1], re.M) if body else []


def first_comment(path):
    """The comment behind the licence line."""
    comments = COMMENT.findall(path.read_text())
    return comments[1] if len(comments) > 1 else ""


def unlisted_states(root):
    rows = re.findall(r"^\| `([A-Z_]+)` \|", (root / "docs/architecture.md").read_text(), re.M)
    for enum, header, prefix, source in STATES:
        there = enumerators(root, enum, header)
        listed = {name for name in rows if name.startswith(prefix)}
        words = set(re.findall(r"[A-Z_]+", first_comment(root / source)))
        if len(there) < 5:
            yield f"only {len(there)} states of enum {enum} found: the pattern is wrong"
        yield from (f"docs/architecture.md does not list {name} ({header})" for name in there if name not in listed)
        yield from (f"docs/architecture.md lists {name}, which enum {enum} has not"
                    for name in sorted(listed.difference(there)))
        yield from (f"the first comment of {source} does not name {name}"
                    for name in there if not words & {name, name.removeprefix(prefix)})


def c_files(root, folders):
    for folder in folders:
        yield from sorted((root / folder).glob("**/*.[ch]"))


TEXTS = {".c", ".h", ".py", ".sh", ".md", ".scd", ".build"}


def texts(root):
    """All that people read: sources, scripts, documents."""
    yield from sorted(root.glob("*.md"))
    for top in CODE + ("docs",):
        yield from (path for path in sorted((root / top).glob("**/*")) if path.suffix in TEXTS)
    yield root / "tools/dev"


# Words that hide who does a thing. Name the thread, the request, the program.
# A sentence that begins with "Who" has none, either.
HIDING = re.compile(r"(?:[.:;] |^\s*(?:/\*|\*|#)? ?)(?-i:Who) |\b(?:that|all) who\b"
                    r"|\b(?:nobody|somebody|whoever|anybody|everybody|no one|someone|anyone|everyone)\b", re.I)
# (file, what stands on the line): why it stays.
MAY_HIDE = {("tests/check_prose.py", ""): "has the list",
            ("tests/bb/live/test_nbdkit_start.py", "'-u', 'nobody'"): "the name of a user",
            ("tests/unit/io/test_no_threads.c", "NOBODY"): "the number of that user"}


def hidden_subjects(root):
    for path in texts(root):
        name = str(path.relative_to(root))
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if HIDING.search(line) and not any(name == file and part in line for file, part in MAY_HIDE):
                yield f"{name}:{number}: {line.strip()}"


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


QUESTION = re.compile(r"\w[)\]]*\?(?=\s|\*/|$)")


def questions(root):
    """A comment states what is so; a question leaves the reader to guess the answer."""
    for path in c_files(root, CODE):
        text = path.read_text()
        for found in COMMENT_OR_STRING.finditer(text):
            if not found[0].startswith('"') and (asked := QUESTION.search(found[0])):
                yield f"{path.relative_to(root)}:{line_of(text, found.start() + asked.start())}"


# docs/glossary.md has seven words for a part of a range: extent, run, granule, piece, slice, chunk, range; names may have
# a span, and a chain a stretch.
OTHER_NOUNS = re.compile(r"\b(?:stretch|span|portion|section|segment)(?:s|es)?\b", re.I)
# (file or folder, what stands in the comment or string): why it stays.
MAY_SAY = {("engine/copy/walk/left_out.c", "stretches were left out"): "a message that programs have seen",
           ("tools/chain/", "stretch"): "files of a chain"}


def other_nouns(root):
    for path in c_files(root, CODE):
        name, text = str(path.relative_to(root)), path.read_text()
        for found in COMMENT_OR_STRING.finditer(text):
            word = OTHER_NOUNS.search(found[0])
            if word and not any(name.startswith(file) and part in found[0] for file, part in MAY_SAY):
                yield f"{name}:{line_of(text, found.start() + word.start())}: {word[0]}"


# Documents name functions, fields and files; a rename must not leave them behind.
DOCUMENTS = ("docs/architecture.md", "docs/glossary.md", "docs/coverage.md", "CONTRIBUTING.md", "SECURITY.md",
             "tests/faults.md", "*/README.md", "*/*/README.md", "*/*/*/README.md")
QUOTED = re.compile(r"`([^`\n]+)`")
NAME = re.compile(r"[a-z]\w*(?:_\w+|\(\))(?:\(\))?|[A-Z]+_[A-Z_]+")
FILE = re.compile(r"[\w./-]+\.(?:[chS]|py|sh|scd|md|build|map)")
EXERCISES = re.compile("vdi|compare")  # what CONTRIBUTING asks its readers to write


def unknown_names(root):
    """Names in backquotes that no source has, and files that are not there."""
    sources = [path for top in CODE + ("docs",) for path in (root / top).glob("**/*") if path.is_file()]
    files = ["/" + str(path.relative_to(root)) for path in sources + list(root.glob("*"))]
    code = [path for path in sources if path.suffix in (".c", ".h", ".py", ".build")]
    words = set(re.findall(r"\w+", "".join(path.read_text() for path in code)))
    for path in sorted(found for pattern in DOCUMENTS for found in root.glob(pattern)):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for quoted in QUOTED.findall(line):
                place = f"{path.relative_to(root)}:{number}"
                if FILE.fullmatch(quoted):
                    ending = "/" + quoted.removeprefix("../")
                    if not any(name.endswith(ending) for name in files) and not EXERCISES.search(quoted):
                        yield f"{place}: no file {quoted}"
                elif NAME.fullmatch(quoted) and quoted.rstrip("()") not in words:
                    yield f"{place}: no source has {quoted}"


TEST = re.compile(r"^(?:Parameterized)?Test\((?:[^,()]*, )?(\w+), (\w+)", re.M)
CASE = re.compile(r"(\w+)/(\w+)(\.\.\.)?")  # SUITE/TEST, or how it begins


def unknown_tests(root):
    """Tests that documents and the soak verb name: Criterion calls it a success where none has the name."""
    there = {case for path in c_files(root, ("tests",)) for case in TEST.findall(path.read_text())}
    suites = {suite for suite, _ in there}
    if len(there) < 900:
        yield f"only {len(there)} tests found: the pattern is wrong"
    for path in sorted(found for pattern in DOCUMENTS for found in root.glob(pattern)):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for suite, test, begins in (case.groups() for quoted in QUOTED.findall(line) if (case := CASE.fullmatch(quoted))):
                if suite in suites and not (root / "tests" / suite / test).exists() and not any(
                        of == suite and (name.startswith(test) if begins else name == test) for of, name in there):
                    yield f"{path.relative_to(root)}:{number}: no test {suite}/{test}"
    for suite, rows in re.findall(r"soak_drawn (\w+) [A-Z]+ \"\$seed\"((?:[\s\\]+\w+:\d+)+)", (root / "tools/dev").read_text()):
        yield from (f"tools/dev: no test {suite}/{name}" for name in re.findall(r"(\w+):", rows) if (suite, name) not in there)


def unknown_functions(root):
    """Functions that docs/architecture.md names, and the library no longer has: a test may have one of that name."""
    there = {name for path in c_files(root, LIBRARY) for name in tree.functions(path)}
    if len(there) < 1000:
        yield f"only {len(there)} functions found: the pattern is wrong"
    for number, line in enumerate((root / "docs/architecture.md").read_text().splitlines(), 1):
        yield from (f"docs/architecture.md:{number}: the library has no {name}()"
                    for name in re.findall(r"`(\w+)\(\)`", line) if name not in there)


def main():
    root = pathlib.Path(sys.argv[1])
    checks = [("the architecture lists every state", unlisted_states(root),
               "mend the table of states in docs/architecture.md, or the order at the top of the file"),
              ("no sentence hides who does a thing", hidden_subjects(root), "name the thread, the request, the program"),
              ("no comment is a question", questions(root), "say what is so"),
              ("parts of a range have the glossary's names", other_nouns(root), "docs/glossary.md has the words"),
              ("documents name what there is", unknown_names(root), "write the name that it has now"),
              ("documents and soaks name tests that are there", unknown_tests(root), "write the name that it has now"),
              ("the architecture names the library's functions", unknown_functions(root), "write the name that it has now")]
    return tree.report(checks)


if __name__ == "__main__":
    sys.exit(main())
