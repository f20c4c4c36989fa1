#!/usr/bin/env python3
"""tests/system/judge.py - the judge itself: planted violations must be found, clean logs must pass."""
import pathlib
import sys
import tempfile

import stories
import verdict
from hafolab import Ack, Writer
from stories import MS
from verdict import Claim

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
    ("a write that waited at a closed gate",
     [[("a", 1, 2), ("a", 9, 10)], [("b", 8, 60), ("b", 50, 51)]], ["a", "b"], False),
    ("one that waited, and one that did not",
     [[("a", 1, 2), ("a", 9, 10)], [("b", 3, 60), ("b", 4, 5)]], ["a", "b", "a"], True),
    ("nobody", [[]], [], False),
)


def acks(*rows):
    """(prefix, sent, answered, number, server) each."""
    return [(prefix, Ack(sent, answered, number, server))
            for prefix, sent, answered, number, server in rows]


def hook(number, text="a", service="cache", status=204):
    return {"status": status, "json": {"id": f"c-{number}", "subject": service, "text": text}}


# Of "x" the second write is missing; of "y", sent after it, nothing.
SENT = acks(("x", 1, 2, 1, "a"), ("x", 3, 4, 2, "a"), ("y", 5, 6, 1, "a"), ("x", 9, 10, 3, "b"))
THERE = {("x", 1), ("x", 3)}


def lost(made, present, durability="async", sent=None):
    return verdict.lost("redis", durability, made, sent or SENT, present, 0)[0]


# (name, what the chaos run's judge says, is it wrong?): each question once clean, once not.
QUESTIONS = (
    ("answered by one", lambda: verdict.two_answer("ab", [
        Claim(1, 2, "a"), Claim(3, 4, "a"), Claim(9, 10, "b")]), False),
    ("answered by the old one again", lambda: verdict.two_answer("ab", [
        Claim(1, 2, "a"), Claim(5, 6, "b"), Claim(7, 8, "a")]), True),
    ("answered by one who was never primary", lambda: verdict.two_answer("a", [
        Claim(1, 2, "a"), Claim(5, 6, "c")]), True),
    ("answers that cannot be ordered", lambda: verdict.two_answer("ab", [
        Claim(1, 2, "a"), Claim(5, 8, "b"), Claim(5, 9, "a"), Claim(10, 11, "b")]), False),
    ("the last writes of a deposed one lost", lambda: lost("ab", THERE), False),
    ("the same under sync", lambda: lost("ab", THERE, "sync"), True),
    ("a write in the middle lost", lambda: lost("ab", THERE | {("y", 1)}), True),
    ("a write of the last primary lost", lambda: lost("ab", {("x", 1), ("x", 2), ("y", 1)}), True),
    ("a loss without a change", lambda: lost("a", {("x", 1)}, sent=SENT[:2]), True),
    ("notices in order", lambda: verdict.notices([hook(1), hook(2), hook(2), hook(3)], 0,
                                                 [1, 2, 3])[0], False),
    ("a notice again, late", lambda: verdict.notices([hook(1), hook(2), hook(1)], 0, [1, 2])[0],
     False),
    ("a notice lost", lambda: verdict.notices([hook(1), hook(3)], 0, [1, 2, 3])[0], True),
    ("a notice refused and never sent again",
     lambda: verdict.notices([hook(1), hook(2, status=503)], 0, [1, 2])[0], True),
    ("notices out of order", lambda: verdict.notices([hook(2), hook(1)], 0, [1, 2])[0], True),
    ("order is of one service", lambda: verdict.notices([hook(2), hook(1, service="other")], 0,
                                                        [1, 2])[0], False),
    ("one number, two events", lambda: verdict.notices([hook(1), hook(1, "b")], 0, [1])[0], True),
    ("equal states", lambda: verdict.digests({"w1": (7, "x"), "w2": (7, "x")}), False),
    ("a state that differs", lambda: verdict.digests({"w1": (7, "x"), "w2": (7, "y")}), True),
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


def ask(number, name, question, is_wrong):
    good = bool(question()) == is_wrong
    print(f"{'ok' if good else 'not ok'} {number} - {name}")
    return good


def main():
    print(f"1..{len(TABLE) + 1 + len(QUESTIONS)}")
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
    for number, row in enumerate(QUESTIONS, len(TABLE) + 2):
        bad += not ask(number, *row)
    return 1 if bad or not good else 0


if __name__ == "__main__":
    sys.exit(main())
