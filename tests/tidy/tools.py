#!/usr/bin/env python3
"""tests/tidy/tools.py - what other programs check: headers alone, format, shell, Python."""
import concurrent.futures
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

from tap import ROOT, Tap, sources

PACKAGES = ("libuv", "raft", "hiredis", "libpq", "jansson", "sqlite3", "libssl", "libcurl",
            "libmicrohttpd", "inih", "cmocka", "libbpf", "libmnl", "libnftnl", "smartcols")


def run(*command):
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


def headers_alone():
    status, flags = run("pkg-config", "--cflags", *PACKAGES)
    flags = shlex.split(flags) if status == 0 else []

    def check(path):
        status, text = run("cc", "-std=gnu11", "-D_GNU_SOURCE", "-fsyntax-only", "-iquote", ".",
                           *flags, "-x", "c", str(path))
        return f"{path} does not compile alone: {text.splitlines()[0]}" if status else None

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return [complaint for complaint in pool.map(check, sources(".h")) if complaint]


def format_check():
    files = [str(path) for path in sources(".c", ".h")]
    _, text = run("clang-format", "--dry-run", *files)
    return sorted({line.split(":", 1)[0] + ": clang-format -i changes it"
                   for line in text.splitlines() if "[-Wclang-format-violations]" in line})


def is_script(path, word):
    if not path.is_file() or path.suffix not in ("", ".sh", ".py"):
        return False
    with open(path, "rb") as file:
        first = file.readline()
    return first.startswith(b"#!") and word in first or path.suffix == f".{'py' if word == b'python3' else 'sh'}"


def scripts(word):
    places = [ROOT / "deploy", ROOT / "tests", ROOT / ".ci"]
    return sorted(str(path.relative_to(ROOT)) for place in places for path in place.rglob("*")
                  if is_script(path, word))


def shell_check():
    if shutil.which("shellcheck") is None:
        return []
    _, text = run("shellcheck", "-x", "--format=gcc", *scripts(b"bash"))
    return text.splitlines()


def python_check():
    for path in scripts(b"python3"):
        try:
            compile(pathlib.Path(ROOT / path).read_text(encoding="utf-8"), path, "exec")
        except SyntaxError as error:
            yield f"{path}: {error}"


def main():
    tap = Tap()
    tap.case("every header compiles alone", headers_alone())
    tap.case("clang-format has nothing to change", format_check())
    tap.case("shellcheck has nothing to say", shell_check())
    tap.case("Python files are Python", python_check())
    return tap.end()


if __name__ == "__main__":
    sys.exit(main())
