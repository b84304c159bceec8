#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The bill of materials that tools/packaging/sbom.py makes, as TAP: it has what SPDX 2.3 demands, it is true of the
tree, and no file has a licence that is not the project's.

usage: check_sbom.py ROOT SCRATCH"""
import copy
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT, SCRATCH = map(pathlib.Path, sys.argv[1:3])
LICENCE = "MIT OR Apache-2.0"
SHIPPED = ROOT / "meson.build"
OPTIONAL = ROOT / "tools/nbd/meson.build"
ID = re.compile(r"SPDXRef-[A-Za-z0-9.-]+")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
URI = re.compile(r"https?://[^\s#]+")
NEEDED = {  # the fields of SPDX 2.3 that are mandatory, or that a reader of ours needs
    "document": ("spdxVersion", "dataLicense", "SPDXID", "name", "documentNamespace", "creationInfo", "packages", "files",
                 "relationships"),
    "package": ("SPDXID", "name", "versionInfo", "downloadLocation", "filesAnalyzed", "licenseDeclared", "licenseConcluded",
                "copyrightText"),
    "file": ("SPDXID", "fileName", "checksums", "licenseInfoInFiles", "licenseConcluded", "copyrightText"),
}


def make(out):
    subprocess.run([sys.executable, "-B", ROOT / "tools/packaging/sbom.py", SCRATCH / "build", out], check=True,
                   env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}, capture_output=True)
    return json.loads(out.read_text())


def without(what, entries):
    for entry in entries:
        for field in NEEDED[what]:
            if not entry.get(field) and entry.get(field) is not False:
                yield f"{what} {entry.get('name') or entry.get('fileName')}: {field} is missing or empty"


def wrong_values(bill):
    if bill.get("spdxVersion") != "SPDX-2.3" or bill.get("dataLicense") != "CC0-1.0":
        yield "the version of SPDX, or the licence of the bill itself"
    if bill.get("SPDXID") != "SPDXRef-DOCUMENT" or not URI.fullmatch(bill.get("documentNamespace", "")):
        yield "the document's name or namespace"
    info = bill.get("creationInfo", {})
    if not TIME.fullmatch(info.get("created", "")):
        yield "the time is not UTC as SPDX writes it"
    yield from (f"creator {one}" for one in info.get("creators", [""]) if not re.match(r"(Person|Organization|Tool): \S", one))


def wrong_links(bill):
    entries = [bill, *bill["packages"], *bill["files"]]
    ids = [entry.get("SPDXID", "") for entry in entries]
    yield from (f"id {one}" for one in ids if not ID.fullmatch(one))
    yield from (f"id {one} is there twice" for one in {one for one in ids if ids.count(one) > 1})
    ends = [link[end] for link in bill["relationships"] for end in ("spdxElementId", "relatedSpdxElement")]
    ends += bill["packages"][0].get("hasFiles", [])
    yield from (f"nothing is called {one}" for one in set(ends) - set(ids))
    linked = {link["relatedSpdxElement"] for link in bill["relationships"]}
    yield from (f"{one['name']} belongs to nothing" for one in bill["packages"] if one["SPDXID"] not in linked)


def lacking(bill):
    yield from without("document", [bill])
    yield from wrong_values(bill)
    yield from without("package", bill["packages"])
    yield from without("file", bill["files"])
    yield from wrong_links(bill)


def untrue_files(bill):
    listed = {entry["fileName"]: entry for entry in bill["files"]}
    known = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, check=False).stdout.decode().split("\0")[:-1]
    yield from (f"{name} is not in it" for name in known if (ROOT / name).is_file() and f"./{name}" not in listed)
    for name, entry in listed.items():
        data = (ROOT / name).read_bytes()
        for algorithm in "SHA1", "SHA256":
            sums = [one["checksumValue"] for one in entry["checksums"] if one["algorithm"] == algorithm]
            if sums != [hashlib.new(algorithm.lower(), data).hexdigest()]:
                yield f"{name}: {algorithm}"
        if not set(entry["licenseInfoInFiles"]) <= {LICENCE, "NONE"} or entry["licenseConcluded"] != LICENCE:
            yield f"{name}: its licence is {entry['licenseInfoInFiles']}"
        if name.endswith((".c", ".h", ".py", ".rs", ".sh", "meson.build")) and entry["licenseInfoInFiles"] != [LICENCE]:
            yield f"{name}: no licence found in it"


def optional():
    """Libraries of libblockpull-nbd, which is built where all of them are there."""
    names = set(re.findall(r"dependency\('([\w.-]+)'", OPTIONAL.read_text()))
    tool = shutil.which("pkg-config") or "pkgconf"
    return names if subprocess.run([tool, "--exists", *names], check=False).returncode == 0 else set()


def untrue(bill):
    yield from untrue_files(bill)
    package = bill["packages"][0]
    sums = sorted(hashlib.sha1((ROOT / entry["fileName"]).read_bytes()).hexdigest() for entry in bill["files"])
    if package["packageVerificationCode"]["packageVerificationCodeValue"] != hashlib.sha1("".join(sums).encode()).hexdigest():
        yield "the verification code"
    version = re.search(r"version: '(.*?)'", SHIPPED.read_text())[1]
    if (package["name"], package["versionInfo"], package["licenseDeclared"]) != ("blockpull", version, LICENCE):
        yield f"not this project: {package['name']} {package['versionInfo']} {package['licenseDeclared']}"
    wanted = set(re.findall(r"dependency\('([\w.-]+)'", SHIPPED.read_text())) - {"threads", "criterion"} | optional()
    there = {one["name"] for one in bill["packages"][1:] if re.match(r"\d", one["versionInfo"])}
    yield from (f"{one} is not in it, or without a version" for one in sorted(wanted - there))
    yield from (f"{one} is not shipped" for one in sorted(there & {"criterion", "fuse3"}))


# What is done to a bill that is right, and which check finds it.
SPOILT = (
    ("no namespace", lacking, lambda bill: bill.pop("documentNamespace")),
    ("a time with a zone", lacking, lambda bill: bill["creationInfo"].update(created="2026-01-01T00:00:00+01:00")),
    ("a package without a place", lacking, lambda bill: bill["packages"][1].pop("downloadLocation")),
    ("a file without sums", lacking, lambda bill: bill["files"][7].pop("checksums")),
    ("an id twice", lacking, lambda bill: bill["files"][7].update(SPDXID=bill["files"][8]["SPDXID"])),
    ("a link to nothing", lacking, lambda bill: bill["relationships"].append({**bill["relationships"][0], "relatedSpdxElement": "SPDXRef-x"})),
    ("a library of nothing", lacking, lambda bill: bill["relationships"].pop()),
    ("a file left out", untrue, lambda bill: bill["files"].pop()),
    ("another file's sum", untrue, lambda bill: bill["files"][7].update(checksums=bill["files"][8]["checksums"])),
    ("another licence", untrue, lambda bill: bill["files"][7].update(licenseInfoInFiles=["GPL-2.0-only"])),
    ("a library left out", untrue, lambda bill: bill["packages"].pop()),
)


def missed(bill):
    for title, check, spoil in SPOILT:
        spoilt = copy.deepcopy(bill)
        spoil(spoilt)
        if not list(check(spoilt)):
            yield f"not noticed: {title}"


def main():
    SCRATCH.mkdir(parents=True, exist_ok=True)
    bill, again = make(SCRATCH / "first.json"), make(SCRATCH / "second.json")
    cases = (("it has what SPDX 2.3 demands", lacking(bill)), ("it is true of the tree", untrue(bill)),
             ("made again it is the same", [] if bill == again else ["it differs"]), ("what is wrong is noticed", missed(bill)))
    print(f"1..{len(cases)}")
    failed = False
    for i, (title, wrong) in enumerate(cases, 1):
        wrong = list(wrong)
        failed |= bool(wrong)
        print(f"{'not ok' if wrong else 'ok'} {i} - {title}")
        for line in wrong[:20]:
            print(f"# {line}")
    return int(failed)


sys.exit(main())
