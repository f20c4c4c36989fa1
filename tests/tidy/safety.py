#!/usr/bin/env python3
"""tests/tidy/safety.py - what safety.md and stages.md of deploy/manual point to is there.

`path` must exist; in "`path`: `name`, `name`" each name must be a word of that file.
"""
import re
import sys

from tap import ROOT, Tap

PAGE = ROOT / "deploy/manual/safety.md"
STAGES = ROOT / "deploy/manual/stages.md"
PATH = r"`((?:tests|lib|raft|agents|cmd|deploy)/[\w./-]+)`"
NAMES = re.compile(PATH + r":\s+(`[\w-]+`(?:,\s+`[\w-]+`)*)")


def missing_files(page):
    return [f"{path} is not there" for path in re.findall(PATH, page)
            if not (ROOT / path).is_file()]


def missing_names(page):
    for path, names in NAMES.findall(page):
        file = ROOT / path
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        for name in re.findall(r"`([\w-]+)`", names):
            if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text):
                yield f"{path} has no {name}"


def bare_claims(page):
    """A claim is a paragraph that names invariants; tests follow it, as a list."""
    body = page.split("## The protocol")[1].split("**Then two primaries")[0]
    for claim in re.split(r"\n\n(?=\*\*)", body.strip()):
        if not re.search(r"Invariants? \d", claim) or not NAMES.search(claim):
            yield f"without an invariant or a test: {claim.strip()[:60]}"


def main():
    page = PAGE.read_text(encoding="utf-8")
    tap = Tap()
    tap.case("files named by the safety argument exist", missing_files(page))
    tap.case("files named by the stages exist",
             missing_files(STAGES.read_text(encoding="utf-8")))
    tap.case("tests named by the safety argument exist", missing_names(page))
    tap.case("each claim has an invariant and a test", bare_claims(page))
    return tap.end()


if __name__ == "__main__":
    sys.exit(main())
