#!/usr/bin/env python3
"""tests/tidy/rooms.py - who may include whom, and what the pure rooms may not touch."""
import re
import sys

from tap import ROOT, Tap, code_of, sources

DOORS = {
    "lib/base": {"lib/base"},
    "lib/core": {"lib/base", "lib/core"},
    "lib/wire": {"lib/base", "lib/core", "lib/wire"},
    "lib/api": {"lib/base", "lib/core", "lib/wire", "lib/api"},
    "lib/io": {"lib/base", "lib/io"},
    "raft": {"lib/base", "lib/core", "lib/wire", "lib/io", "raft"},
    "agents": {"lib/base", "lib/core", "lib/wire", "lib/io", "agents"},
    "cmd": {"lib/base", "lib/core", "lib/wire", "lib/api", "lib/io", "raft", "agents", "cmd"},
    "tests": {"lib/base", "lib/core", "lib/wire", "lib/api", "lib/io", "raft", "agents", "cmd",
              "tests"},
}
# Two programs; what they share is in cmd/common.
PROGRAMS = ("cmd/hafailoverd", "cmd/hafailover-agent", "cmd/hafailoverctl")

PLAIN = {"assert.h", "ctype.h", "inttypes.h", "limits.h", "stdarg.h", "stdbool.h", "stddef.h",
         "stdint.h", "string.h", "strings.h", "stdio.h", "errno.h",
         "arpa/inet.h", "netinet/in.h"}  # inet_pton reads text, no socket
# Foreign headers of the rooms without a shell; the others take what they need.
FOREIGN = {
    "lib/base": PLAIN | {"stdlib.h"},
    "lib/core": PLAIN,
    "lib/wire": PLAIN | {"stdlib.h", "jansson.h", "ini.h", "openssl/evp.h", "openssl/hmac.h"},
    "lib/api": PLAIN | {"stdlib.h", "jansson.h", "time.h"},
}
# libraft is seen in one folder, libuv not where arithmetic lives.
ONLY_IN = {re.compile(r"raft(\.h|/)"): ("raft", "tests"),
           re.compile(r"libpq-fe\.h"): ("agents/postgresql", "tests"),
           re.compile(r"hiredis/"): ("agents/redis", "tests")}
# stdio is there for snprintf alone, string.h not for locale or allocation.
IMPURE = re.compile(r"\b(malloc|calloc|realloc|free|strdup|strndup|asprintf|printf|fprintf|fopen|"
                    r"fputs|puts|perror|getenv|time|clock_gettime|gettimeofday|localtime|rand|"
                    r"random|exit|abort|strerror|qsort)\s*\(")
# Log text is locale-free and the log says nothing from these rooms (they return facts).
SILENT = re.compile(r"\b(HA_LOG|ha_log_\w+|printf|perror|syslog)\s*\(|\b(fprintf)\(stderr")
TOP = {"cmd", "lib", "raft", "agents", "tests", "deploy", "meson.build", "README.md", "LICENSE"}
BUILT = re.compile(r"(build|b-).*")  # folders that .gitignore names
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+(["<])([^">]+)[">]', re.M)


def room_of(path, rooms):
    found = [room for room in rooms if path == room or path.startswith(room + "/")]
    return max(found, key=len, default=None)


def check_arrow(path, target):
    room, to = room_of(path, DOORS), room_of(target, DOORS)
    if not (ROOT / target).exists():
        return f"{path}: \"{target}\" is not a path from the root"
    if to not in DOORS[room]:
        return f"{path}: {room} may not include {target}"
    program, other = room_of(path, PROGRAMS), room_of(target, PROGRAMS)
    if program and other and program != other:
        return f"{path}: {program} may not include {target}"
    return None


def check_foreign(path, header):
    room = room_of(path, DOORS)
    if room in FOREIGN and header not in FOREIGN[room]:
        return f"{path}: {room} may not include <{header}>"
    for pattern, places in ONLY_IN.items():
        if pattern.match(header) and not room_of(path, places):
            return f"{path}: <{header}> belongs in {places[0]}"
    return None


def calls(pattern, rooms):
    for path in sources(".c", ".h", rooms=rooms):
        for number, line in enumerate(code_of(path).splitlines(), 1):
            for match in pattern.finditer(line):
                word = next(filter(None, match.groups()))
                yield f"{path}:{number}: {word}() is not for this room"


def check_top():
    for entry in sorted(ROOT.iterdir()):
        if entry.name in TOP or entry.name.startswith(".") or \
                entry.is_dir() and BUILT.fullmatch(entry.name):
            continue
        yield f"{entry.name}: nothing else belongs at the top"


def main():
    arrows, foreign = [], []
    for path in sources(".c", ".h"):
        for match in INCLUDE.finditer(code_of(path)):
            check = check_arrow if match[1] == '"' else check_foreign
            complaint = check(str(path), match[2])
            if complaint:
                (arrows if match[1] == '"' else foreign).append(complaint)
    tap = Tap()
    tap.case("includes go one way", arrows)
    tap.case("foreign headers stay in their rooms", foreign)
    tap.case("lib/core has no clock, memory, file or chance", calls(IMPURE, ("lib/core",)))
    tap.case("lib/core, lib/wire and lib/api do not log",
             calls(SILENT, ("lib/core", "lib/wire", "lib/api")))
    tap.case("the top level holds the rooms", check_top())
    return tap.end()


if __name__ == "__main__":
    sys.exit(main())
