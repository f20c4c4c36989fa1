#!/usr/bin/env python3
"""tests/support/count.py - sum up what the suites of a run said: the last line, the exit status.

count.py RESULTS STATUS: RESULTS holds one SUITE.json for each suite, as meson writes it; a file
`broken` names suites that left none; STATUS other than 0 means that the run ended early, which is a
failure too. meson's own JUnit file is no help: it forgets programs that died after a good case.
"""
import itertools
import json
import pathlib
import re
import sys

TAIL_LINES = 60
WHY_LINES = 8
CASE = re.compile(r"^(ok|not ok)\b[ 0-9-]*(.*)$")
FINE = ("OK", "SKIP", "EXPECTEDFAIL")


def why(lines):
    """What a program says of a case that failed, after its "not ok"."""
    said = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return [line[1:].strip() for line in itertools.islice(said, WHY_LINES)]


def tell(test, bad):
    """Why a program failed: what it said of each case that did, and the end of all it said."""
    print(f"--- {test['name']}: {test['result']} after {test['duration']:.1f} s, "
          f"status {test['returncode']}")
    for name, reasons in bad:
        print(f"failed: {name}")
        for reason in reasons:
            print(f"  {reason}")
    for stream in ("stdout", "stderr"):
        text = test.get(stream, "").rstrip()
        lines = [line for line in text.splitlines() if not line.startswith("ok ")]
        if lines:
            print(f"{stream}, the last of {len(lines)} lines:")
            print("\n".join(lines[-TAIL_LINES:]))


def count(test):
    """(cases passed, cases failed) of one program."""
    passed, bad = 0, []
    lines = test.get("stdout", "").splitlines()
    cases = [(at, match) for at, match in enumerate(map(CASE.match, lines)) if match]
    skipped = 0
    for at, case in cases:
        if "# skip" in f" {case[2].lower()}":
            skipped += 1  # cmocka says "not ok N # SKIP", which meson takes for a failure
        elif case[1] == "not ok":
            bad.append((case[2], why(lines[at + 1:])))
        else:
            passed += 1
    if not cases and test["result"] == "OK":
        passed = 1  # its exit status is all it says
    # A program that died, ran out of time or left cases out has failed beside its cases.
    fine = test["result"] in FINE or skipped and test["result"] == "FAIL" and test["returncode"] == 0
    failed = len(bad) or (0 if fine else 1)
    if failed:
        tell(test, bad)
    return passed, failed


def main():
    results, status = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    passed = failed = 0
    for path in sorted(results.glob("*.json")):
        for line in path.read_text(encoding="utf-8").splitlines():
            some_passed, some_failed = count(json.loads(line))
            passed += some_passed
            failed += some_failed
    broken = results / "broken"
    for name in broken.read_text().split() if broken.exists() else []:
        print(f"failed: suite {name} left no results")
        failed += 1
    if status != 0:
        print("failed: the run ended early")
        failed += 1
    elif passed + failed == 0:
        print("failed: nothing was run")
        failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
