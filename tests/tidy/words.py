#!/usr/bin/env python3
"""tests/tidy/words.py - banned calls, first lines, guards, names; sizes are told, not judged."""
import re
import subprocess
import sys

from tap import ROOT, Tap, code_of, sources

BANNED = {
    "strcpy": "ha_text_copy", "strcat": "ha_text_format", "sprintf": "snprintf or ha_text_format",
    "vsprintf": "vsnprintf", "strncpy": "ha_text_copy", "strncat": "ha_text_format",
    "gets": "ha_file_read", "strtok": "a cursor", "alloca": "a bounded array",
    "atoi": "ha_text_u64", "atol": "ha_text_u64", "atof": "nothing", "strtol": "ha_text_u64",
    "strtoul": "ha_text_u64", "strtoull": "ha_text_u64", "sscanf": "ha_text_u64",
    "system": "ha_process", "popen": "ha_process", "getaddrinfo": "ha_dns",
    "gethostbyname": "ha_dns", "rand": "ha_prng", "srand": "ha_prng",
}
# Where the banned word is what the file is for, with the reason.
ALLOWED = {
    ("lib/io/dns.c", "getaddrinfo"): "off the loop",
}
CALL = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
TYPEDEF = re.compile(r"^\s*typedef\s+(?:struct|enum|union)\b", re.M)
FUNCTION = re.compile(r"^[A-Za-z_][^;{}=#]*\([^;{}]*\)\n\{\n(.*?)^\}", re.M | re.S)


def banned():
    for path in sources(".c", ".h"):
        for number, line in enumerate(code_of(path).splitlines(), 1):
            for match in CALL.finditer(line):
                word = match[1]
                # A test may run other programs and wait for them; a loop may not.
                if word in ("system", "popen") and path.parts[0] == "tests":
                    continue
                if (str(path), word) not in ALLOWED:
                    yield f"{path}:{number}: {word}() is banned: use {BANNED[word]}"


def unfinished():
    for path in sources(".c", ".h", ".py", ".sh", "meson.build", rooms=("lib", "raft", "agents",
                                                                       "cmd", "deploy")):
        text = (ROOT / path).read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), 1):
            if UNFINISHED.search(line):
                yield f"{path}:{number}: {line.strip()}"


def first_lines():
    for path in sources(".h"):
        line = (ROOT / path).read_text(encoding="utf-8").split("\n", 1)[0]
        if not line.startswith(f"/* {path} - "):
            yield f"{path}: its first line should be '/* {path} - what it is for'"


def guards():
    for path in sources(".h"):
        name = re.sub(r"[^A-Za-z0-9]", "_", str(path).removeprefix("lib/")).upper()
        want = f"HA_{name.removeprefix('HA_')}"
        text = (ROOT / path).read_text(encoding="utf-8")
        if f"#ifndef {want}\n#define {want}\n" not in text:
            yield f"{path}: its guard should be {want}"


def types():
    for path in sources(".c", ".h"):
        for match in TYPEDEF.finditer(code_of(path)):
            yield f"{path}: {match[0].strip()}: only callbacks get a typedef"


def readmes():
    for path in sources("README.md", rooms=("lib", "raft", "agents", "cmd", "tests", "deploy")):
        count = len((ROOT / path).read_text(encoding="utf-8").splitlines())
        if count > 40:
            yield f"{path}: {count} lines, a room's README has at most 40"


def big_files():
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True,
                          check=False)
    for name in done.stdout.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file() and path.stat().st_size > 512 * 1024:
            yield f"{name}: {path.stat().st_size} bytes: is it ours, and not made by a build?"


def tell_sizes():
    for path in sources(".c", ".h", rooms=("lib", "raft", "agents", "cmd")):
        text = (ROOT / path).read_text(encoding="utf-8")
        if text.count("\n") > 600:
            print(f"# long file: {path}, {text.count(chr(10))} lines")
        for match in FUNCTION.finditer(text):
            if match[1].count("\n") > 70:
                head = match[0].split("\n", 1)[0]
                print(f"# long function: {path}: {head} ({match[1].count(chr(10))} lines)")


def main():
    tap = Tap()
    tap.case("no banned calls", banned())
    tap.case("nothing is left unfinished", unfinished())
    tap.case("headers say what they are for in the first line", first_lines())
    tap.case("guards are named after the path", guards())
    tap.case("structs and enums have no typedef", types())
    tap.case("READMEs of rooms are short", readmes())
    tap.case("no large file is tracked", big_files())
    tell_sizes()
    return tap.end()


if __name__ == "__main__":
    sys.exit(main())
