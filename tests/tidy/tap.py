"""tests/tidy/tap.py - tell checks as TAP, which meson counts case by case."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROOMS = ("lib", "raft", "agents", "cmd", "tests")


class Tap:
    def __init__(self):
        self.count = 0
        self.failed = 0

    def case(self, name, complaints):
        """One case; it holds when there is no complaint. At most 40 are shown."""
        self.count += 1
        complaints = list(complaints)
        self.failed += bool(complaints)
        print(f"{'not ok' if complaints else 'ok'} {self.count} - {name}", flush=True)
        for complaint in complaints[:40]:
            print(f"# {complaint}")
        if len(complaints) > 40:
            print(f"# ... and {len(complaints) - 40} more")

    def end(self):
        print(f"1..{self.count}")
        return 1 if self.failed else 0


def sources(*suffixes, rooms=ROOMS):
    """Every file of ours with one of the suffixes, as paths relative to the root, sorted."""
    return sorted(path.relative_to(ROOT) for room in rooms for suffix in suffixes
                  for path in (ROOT / room).rglob(f"*{suffix}"))


def code_of(path):
    """The text of a C file without comments and the insides of strings, lines kept."""
    text = (ROOT / path).read_text(encoding="utf-8")
    token = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    keep_include = re.compile(r'^\s*#\s*include\s', re.M)

    def blank(match):
        line_start = text.rfind("\n", 0, match.start()) + 1
        if match[0][0] == '"' and keep_include.match(text[line_start:match.start()]):
            return match[0]
        if match[0][0] in "\"'":
            return match[0][0] * 2
        return "\n" * match[0].count("\n") or " "

    return token.sub(blank, text)
