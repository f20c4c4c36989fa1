#!/usr/bin/env python3
"""tests/model/check.py - Spin over the model of lease and fence: no error as designed, one error per
rule that is broken on purpose.

Each case is exhaustive within its bounds: so many epochs, crashes of watchers, late answers, clocks
of different rates. `--case NAME` runs one; a counterexample is told step by step with `--trail`.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

MODEL = pathlib.Path(__file__).resolve().with_name("lease.pml")
DEADLINE_S = 1500
DEPTH = 4_000_000

# As designed: every state within these bounds is visited, and both claims hold in each.
CLEAN = {
    "restarts": ("EPOCHS=2", "RESTARTS=2"),
    "rates-late": ("EPOCHS=2", "RATES=1", "LATE=1"),
    "three-epochs": ("EPOCHS=3", "LATE=1"),
    "restart-rates": ("EPOCHS=2", "RESTARTS=1", "RATES=1"),
}

# One rule broken: an error must be found within the same bounds.
BROKEN = {
    "DRIFT": ("EPOCHS=2", "RATES=1"),
    "MAJORITY": ("EPOCHS=2",),
    "CAUGHT_UP": ("EPOCHS=2", "RESTARTS=2"),
    "FROM_RECEIPT": ("EPOCHS=2", "LATE=1"),
    "NEVER_AGAIN": ("EPOCHS=2",),
    "EARLY_REPORT": ("EPOCHS=2",),
    "REMAINDER": ("EPOCHS=2",),
    "LEADER": ("EPOCHS=2",),
    "FORGET": ("EPOCHS=2", "RESTARTS=1"),
}


def verify(directory, defines, trail=False):
    """(errors, states), of an exhaustive search; trail prints the way to the error."""
    flags = [f"-D{define}" for define in defines]
    subprocess.run(["spin", *flags, "-a", str(MODEL)], cwd=directory, check=True,
                   stdout=subprocess.DEVNULL)
    subprocess.run(["cc", "-O2", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=4000", "-w", "-o", "pan",
                    "pan.c"], cwd=directory, check=True)
    done = subprocess.run(["./pan", f"-m{DEPTH}", "-w24"], cwd=directory, capture_output=True,
                          text=True, timeout=DEADLINE_S, check=False)
    errors = re.search(r"errors: (\d+)", done.stdout)
    states = re.search(r"([\d.e+]+) states, stored", done.stdout)
    if errors is None or states is None or "max search depth too small" in done.stdout or \
            "out of memory" in done.stdout:
        raise RuntimeError(f"the search did not end: {done.stdout[-400:]}{done.stderr[-200:]}")
    if trail and int(errors[1]):
        subprocess.run(["spin", *flags, "-t", "-p", "-l", "-g", str(MODEL)], cwd=directory,
                       check=False)
    return int(errors[1]), int(float(states[1]))


def cases():
    for name, defines in CLEAN.items():
        yield f"as designed: {name}", name, defines, 0
    for name, defines in BROKEN.items():
        yield f"broken: {name}", name, (f"BUG_{name}", *defines), 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case")
    parser.add_argument("--trail", action="store_true")
    args = parser.parse_args()
    if shutil.which("spin") is None:
        print("1..1\nnot ok 1 - spin is not installed")
        return 1
    rows = [row for row in cases() if args.case in (None, row[1])]
    print(f"1..{len(rows)}")
    bad = 0
    for number, (title, _, defines, wanted) in enumerate(rows, 1):
        with tempfile.TemporaryDirectory(prefix="hafo-model-") as directory:
            try:
                errors, states = verify(directory, defines, args.trail)
                good, told = errors == wanted, f"{states} states, {errors} errors"
            except (RuntimeError, subprocess.SubprocessError) as error:
                good, told = False, str(error)
        bad += not good
        print(f"{'ok' if good else 'not ok'} {number} - {title}")
        print("# " + told.replace("\n", "\n# "), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
