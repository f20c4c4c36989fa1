#!/usr/bin/env python3
"""tests/system/judge.py - the judge itself: planted violations must be found, clean logs must pass."""
import pathlib
import sys
import tempfile

import stories
from hafolab import Writer
from stories import MS

# (name, [notes of each writer], who reigned, two at once?); notes are (server, sent, answered) in ms.
TABLE = (
    ("one server", [[("a", 1, 2), ("a", 3, 4)]], ["a"], False),
    ("a clean change", [[("a", 1, 2), ("b", 9, 10)]], ["a", "b"], False),
    ("seen from two sides", [[("a", 1, 2), ("b", 9, 10)], [("a", 1, 3), ("a", 4, 5)]],
     ["a", "b"], False),
    ("a late write inside the cut", [[("a", 1, 2), ("b", 9, 10)], [("a", 11, 12)]],
     ["a", "b", "a"], True),
    ("both all the time", [[("a", 1, 2), ("a", 5, 6)], [("b", 3, 4), ("b", 7, 8)]],
     ["a", "b", "a", "b"], True),
    ("an answer under way at the change", [[("b", 9, 10)], [("a", 8, 11)]], ["a", "b"], False),
    ("nobody", [[]], [], False),
)


def note(path, rows):
    """The log a writer would have written."""
    lines, last = [], None
    for number, (server, sent, answered) in enumerate(rows, 1):
        if server != last:
            lines.append(f"C {sent * MS} /run/lab/{server}/data")
            last = server
        lines.append(f"A {sent * MS} {answered * MS} {number}")
        lines.append(f"E {answered * MS} Connection reset by peer")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


class Noted(Writer):
    """A writer that has already written."""

    def __init__(self, path):  # pylint: disable=super-init-not-called
        self.path = path
        self._at, self._acks, self._server = 0, [], "?"


def fails(check, *args):
    try:
        check(*args)
    except stories.Failed:
        return True
    return False


def wrong(directory, logs, order, is_two):
    """What the judge gets wrong about a row."""
    writers = []
    for index, rows in enumerate(logs):
        writers.append(Noted(pathlib.Path(directory) / f"{index}.log"))
        note(writers[-1].path, rows)
    if [reign[0] for reign in stories.reigns(*writers)] != order:
        return f"reigns: {stories.reigns(*writers)}"
    if fails(stories.never_two, *writers) != is_two:
        return "never_two is wrong"
    if fails(stories.expect_reigns, order, *writers) or \
            not fails(stories.expect_reigns, order + ["c"], *writers):
        return "expect_reigns is wrong"
    return None


def main():
    print(f"1..{len(TABLE) + 1}")
    bad = 0
    for number, (name, logs, order, is_two) in enumerate(TABLE, 1):
        with tempfile.TemporaryDirectory() as directory:
            why = wrong(directory, logs, order, is_two)
        print(f"{'not ok' if why else 'ok'} {number} - {name}")
        if why:
            bad += 1
            print(f"# {why}")
    with tempfile.TemporaryDirectory() as directory:
        writer = Noted(pathlib.Path(directory) / "log")
        note(writer.path, [("a", 1, 2), ("a", 90, 100), ("b", 129, 130)])
        good = stories.holes(writer) == 98.0 and stories.holes(writer, 100 * MS) == 30.0
    print(f"{'ok' if good else 'not ok'} {len(TABLE) + 1} - the longest hole")
    return 1 if bad or not good else 0


if __name__ == "__main__":
    sys.exit(main())
