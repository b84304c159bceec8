#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Writes the bill of materials as SPDX 2.3 (JSON): every file of the tree with its checksums and the licence that its
first lines name, and every library that the build found, with its version. What is said of libraries is Meson's
own introspection of a build without tests, so that it has what is shipped.

    sbom.py SCRATCH OUT    SCRATCH: a directory to set a build up in

The same tree on the same system gives the same bytes. A file without a licence of its own has the project's."""
import datetime
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPDX_LINE = re.compile(rb"SPDX-License-Identifier: ([A-Za-z0-9.+() -]*[A-Za-z0-9.+)])")
HEAD_BYTES = 2048
SUPPLIER = "Organization: The blockpull authors"
NOT_PACKAGES = {"threads"}  # the C library's


def introspect(build, what):
    out = subprocess.run(["meson", "introspect", f"--{what}", build], check=True, capture_output=True, text=True).stdout
    return json.loads(out)


def set_up(build):
    if not (build / "build.ninja").exists():
        subprocess.run(["meson", "setup", build, ROOT, "-Dtests=disabled", "-Ddocs=disabled"], check=True,
                       stdout=sys.stderr)


def tree_files():
    """Paths from the root: those that git knows, or, in a tree without git, all."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        names = listed.stdout.decode().split("\0")[:-1]
        return sorted(name for name in names if (ROOT / name).is_file())
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*")
                  if path.is_file() and not path.relative_to(ROOT).parts[0].startswith(("build", ".git")))


def licence_of(data):
    """The expression that a file's first lines name, or None."""
    found = SPDX_LINE.search(data[:HEAD_BYTES])
    return found[1].decode() if found else None


def spdx_id(kind, name):
    plain = re.sub(r"[^A-Za-z0-9.-]", "-", name)
    return f"SPDXRef-{kind}-{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def file_entry(name, project_licence):
    data = (ROOT / name).read_bytes()
    named = licence_of(data)
    return {
        "SPDXID": spdx_id("File", name),
        "fileName": f"./{name}",
        "checksums": [{"algorithm": algorithm, "checksumValue": hashlib.new(algorithm.lower(), data).hexdigest()}
                      for algorithm in ("SHA1", "SHA256")],
        "licenseInfoInFiles": [named or "NONE"],
        "licenseConcluded": named or project_licence,
        "copyrightText": "NOASSERTION",
    }


def sha1_of(entry):
    return entry["checksums"][0]["checksumValue"]


def verification_code(files):
    """Of SPDX 2.3, section 7.9: SHA1 of the files' SHA1s in their order."""
    return hashlib.sha1("".join(sorted(map(sha1_of, files))).encode()).hexdigest()


def own_package(project, licence, files):
    copyright_line = re.search(r"^Copyright.*", (ROOT / "LICENSE").read_text(), re.M)[0]
    return {
        "SPDXID": "SPDXRef-Package-blockpull",
        "name": project["descriptive_name"],
        "versionInfo": project["version"],
        "supplier": SUPPLIER,
        "downloadLocation": "NOASSERTION",
        "primaryPackagePurpose": "SOURCE",
        "filesAnalyzed": True,
        "packageVerificationCode": {"packageVerificationCodeValue": verification_code(files)},
        "licenseInfoFromFiles": sorted({one for entry in files for one in entry["licenseInfoInFiles"]}),
        "licenseDeclared": licence,
        "licenseConcluded": licence,
        "copyrightText": copyright_line,
        "hasFiles": [entry["SPDXID"] for entry in files],
    }


def library(found):
    """Nothing is claimed about licences of what is not in this tree."""
    return {
        "SPDXID": spdx_id("Package", found["name"]),
        "name": found["name"],
        "versionInfo": found["version"],
        "downloadLocation": "NOASSERTION",
        "primaryPackagePurpose": "LIBRARY",
        "filesAnalyzed": False,
        "licenseDeclared": "NOASSERTION",
        "licenseConcluded": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                          "referenceLocator": f"pkg:generic/{found['name']}@{found['version']}"}],
    }


def created():
    """SOURCE_DATE_EPOCH, or the newest commit's time, or now: as text."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH") or subprocess.run(
        ["git", "-C", ROOT, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False).stdout.strip()
    time = datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc) if seconds else \
        datetime.datetime.now(datetime.timezone.utc)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def document(build):
    project = introspect(build, "projectinfo")
    licence = licence_of((ROOT / "LICENSE").read_bytes())
    files = [file_entry(name, licence) for name in tree_files()]
    package = own_package(project, licence, files)
    libraries = [library(found) for found in sorted(introspect(build, "dependencies"), key=lambda one: one["name"])
                 if found["name"] not in NOT_PACKAGES]
    name = f"{package['name']}-{package['versionInfo']}"
    code = package["packageVerificationCode"]["packageVerificationCodeValue"]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://spdx.org/spdxdocs/{name}-{code}",
        "creationInfo": {"created": created(), "creators": [SUPPLIER, "Tool: tools/packaging/sbom.py"]},
        "packages": [package, *libraries],
        "files": files,
        "relationships": [
            {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": package["SPDXID"]},
            *({"spdxElementId": package["SPDXID"], "relationshipType": "DEPENDS_ON", "relatedSpdxElement": one["SPDXID"]}
              for one in libraries)],
    }


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    build, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    set_up(build)
    out.write_text(json.dumps(document(build), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
