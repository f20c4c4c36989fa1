#!/usr/bin/env python3
"""tests/tidy/lint.py - cppcheck and clang-tidy over all of our C; minutes, so not for each change."""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys

from tap import ROOT, Tap

CHECKS = ",".join((
    "-*", "bugprone-*", "-bugprone-easily-swappable-parameters", "cert-err34-c",
    # What printf returns is nobody's business, and clang-tidy 14 cannot be told so.
    "-cert-err33-c", "-bugprone-implicit-widening-of-multiplication-result",
    # Structs are zeroed first and compared whole; texts are copied by length; names of enumerators
    # are lists; const is cast away for libraries that only read; a test puts itself before libc.
    "-bugprone-suspicious-memory-comparison", "-bugprone-not-null-terminated-result",
    "-bugprone-suspicious-missing-comma", "-bugprone-reserved-identifier",
    "clang-analyzer-*", "-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling",
    "misc-*", "-misc-no-recursion", "performance-*", "-performance-no-int-to-ptr", "portability-*",
    "readability-function-size",
    "readability-inconsistent-declaration-parameter-name", "readability-non-const-parameter"))
SIZES = ("{CheckOptions: [{key: readability-function-size.LineThreshold, value: 70}, "
         # A callback of libmicrohttpd has eight; ours are kept at five or six by who reads them.
         "{key: readability-function-size.ParameterThreshold, value: 8}, "
         "{key: readability-function-size.StatementThreshold, value: 200}]}")
COMPLAINT = re.compile(r"^(?:[\w-]+/\.\./)?(\S+?:\d+:\d+: (?:warning|error|style|performance|portability)"
                       r".*)$", re.M)


def run(command):
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)
    text = done.stdout + done.stderr
    lines = set(COMPLAINT.findall(text.replace(f"{ROOT}/", "")))
    return sorted(line for line in lines if not line.startswith("/usr/include/"))


def sources(build):
    entries = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    files = {(pathlib.Path(entry["directory"]) / entry["file"]).resolve() for entry in entries}
    return sorted(path for path in files if build not in path.parents and path.suffix == ".c")


def clang_tidy(build):
    # One file a call: several at once give a false error about va_list.
    def check(path):
        return run(["clang-tidy", "--quiet", "-p", str(build), f"--checks={CHECKS}",
                    f"--config={SIZES}", str(path)])
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return sorted({line for lines in pool.map(check, sources(build)) for line in lines})


def cppcheck(build):
    return run(["cppcheck", f"--project={build}/compile_commands.json", "--quiet",
                "--enable=warning,performance,portability", "--inline-suppr",
                # It does not see the macros of other libraries, and takes assert() for a branch.
                "--suppress=unknownMacro", "--suppress=nullPointerRedundantCheck",
                "--suppress=uninitvar", "--suppress=*:/usr/include/*",
                "-I.", "--suppress=missingIncludeSystem", "--template={file}:{line}:{column}: {severity}: "
                "{message} [{id}]", f"-j{os.cpu_count()}"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True, type=pathlib.Path)
    build = parser.parse_args().build.resolve()
    tap = Tap()
    tap.case("cppcheck has nothing to say", cppcheck(build))
    tap.case("clang-tidy has nothing to say", clang_tidy(build))
    return tap.end()


if __name__ == "__main__":
    sys.exit(main())
