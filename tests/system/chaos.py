#!/usr/bin/env python3
"""tests/system/chaos.py - faults by chance, one to three at once, under writers on all sides.

Each round: a settled cluster, writers inside and outside of every cut, the faults, healing, and the
questions of verdict.py. The seed is told first; the same seed draws the same faults (faults.py),
though not at the same instants. A round that failed leaves its logs, the notes of its writers and
the command that repeats it. A replica promoted by hand is not among the faults: its clients are
heard until its short deadline, which agent.py measures.
"""
import argparse
import pathlib
import shutil
import subprocess
import sys
import time
import traceback

import faults
import stories
import verdict
from stories import DATABASES, MS, SERVICE, LabError, address, holes

HERE = pathlib.Path(__file__).resolve().parent
KEEP = ("*.log", "*.jsonl", "*.conf", "*.history")
# Frames may be late by tens of milliseconds.
PATIENT = ("--connect", "250", "--timeout", "500")


class Round:
    """One round, and what was seen in it."""
    liveness_s = 60

    def __init__(self, lab, seed, number):
        self.lab, self.seed, self.number = lab, seed, number
        self.wrong, self.names, self.asker = [], [], None

    def began(self):
        lab = self.lab
        self.first = lab.primary()
        self.last_id = max((d["id"] for d in lab.history()), default=0)
        self.notices = verdict.last_event(lab)
        self.claims_from = self.at = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        outside = lab.writing(count=20, interval_us=2000, extra=PATIENT)
        self.writers = [outside]
        for host in DATABASES:
            self.writers.append(lab.writer("client", address(host), 10000, PATIENT))
            self.writers.append(lab.writer(host, "127.0.0.1", 10000, PATIENT))
        self.writers.append(lab.writer(self.first, address(self.first), 5000, PATIENT))
        self.asker = lab.popen("client", [sys.executable, str(HERE / "ask_arp.py"), stories.VIP,
                                          address("client")])

    def harm(self):
        lab = self.lab
        sky, drawn, held_s = faults.draw(lab, f"{self.seed}/{self.number}")
        for name, run, pause_s in [(*sky, 0), *drawn]:
            try:
                run()
            except (LabError, OSError, subprocess.SubprocessError) as error:
                name += f" (not: {error})"
            self.names.append(name)
            time.sleep(pause_s)
        time.sleep(held_s)
        self.names = [name for name in self.names if name]
        lab.tell(f"{self.number}: {', '.join(self.names)}; {held_s:.1f} s")

    def recover(self):
        """Liveness: with the last fault gone, one primary and all others replicas, in time."""
        began = time.monotonic()
        self.lab.heal()
        self.lab.wait_settled(self.liveness_s)
        self.settled_s = time.monotonic() - began

    def ended(self):
        if self.asker is not None:
            self.asker.kill()
            self.asker.wait()
        self.lab.stop_writers()

    def judge(self):
        lab = self.lab
        made, told = verdict.made_since(lab, self.first, self.last_id)
        acks = [(writer.name, ack) for writer in self.writers for ack in writer.acks()]
        primary = lab.primary()
        self.wrong += verdict.two_at_once(made, *self.writers)
        claims = verdict.claims_of(lab, self.claims_from)
        self.wrong += verdict.two_answer(made, claims)
        wrong, loss = verdict.lost(lab.engine, lab.durability, made, acks,
                                   verdict.written(lab, primary), told)
        self.wrong += wrong
        wanted = verdict.events_after(lab, self.notices)
        verdict.outbox_empty(lab)
        wrong, again = verdict.notices(lab.webhooks(), self.notices, wanted)
        self.wrong += wrong
        self.wrong += verdict.digests(verdict.states(lab))
        lab.tell(f"{self.number}: {verdict.then(made)}; {len(acks)} writes, {loss.count} lost of at "
                 f"least {loss.size} bytes, told {loss.told}; hole "
                 f"{holes(self.writers[0], self.at):.0f} ms; {len(claims)} claims of the address; "
                 f"{again} notices again; settled after {self.settled_s:.1f} s")
        self.loss, self.hole_ms = loss, holes(self.writers[0], self.at)
        self.changes = len(made) - 1
        verdict.forget(lab, primary)

    def play(self):
        stories.ready(self.lab)
        try:
            self.began()
            self.harm()
            self.recover()
        finally:
            self.ended()
        self.judge()


def keep(lab, one, keep_in):
    """Logs, notes and what the cluster says, for whoever looks into it."""
    to = keep_in / f"{lab.engine}-{lab.durability}-{one.seed}-{one.number}"
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    for pattern in KEEP:
        for path in [*lab.run.glob(pattern), *lab.run.glob(f"*/{pattern}"),
                     *lab.run.glob(f"*/data-hafailover/{pattern}")]:
            name = "-".join(path.relative_to(lab.run).parts)
            shutil.copy(path, to / name)
    for words in (("status",), ("history",), ("events", "--count", "200"), ("why-not", SERVICE)):
        try:
            text = lab.ctl(*words, "--json").stdout
        except (LabError, OSError, subprocess.SubprocessError) as error:
            text = str(error)
        (to / f"{words[0]}.json").write_text(text, encoding="utf-8")
    (to / "wrong").write_text("\n".join([*one.names, "", *one.wrong]) + "\n", encoding="utf-8")
    return to


def play(lab, one, keep_in, hole_ms):
    try:
        one.play()
    except (stories.Failed, LabError, OSError, subprocess.SubprocessError) as error:
        one.wrong.append(str(error))
    except Exception:  # a bug in the test; told like any failure
        one.wrong.append(traceback.format_exc())
    print(f"{'not ok' if one.wrong else 'ok'} {one.number} - round {one.number}", flush=True)
    if not one.wrong:
        if one.hole_ms > hole_ms:
            print(f"# kept in {keep(lab, one, keep_in)}", flush=True)
        return True
    for text in one.wrong:
        for line in text.splitlines():
            print(f"# {line}")
    print(f"# kept in {keep(lab, one, keep_in)}\n# again: ./tests/run chaos --engine {lab.engine} "
          f"--durability {lab.durability} --seed {one.seed} --round {one.number}", flush=True)
    lab.stop_writers()
    return False


def summary(lab, rounds, seconds):
    good = [one for one in rounds if not one.wrong]
    hole = sorted(one.hole_ms for one in good if one.changes)
    lab.tell(f"{len(rounds)} rounds in {seconds / 60:.1f} min, {len(rounds) - len(good)} failed; "
             f"{sum(one.changes for one in good)} changes of the primary; "
             f"{sum(one.loss.count for one in good)} acknowledged writes lost; switch: "
             f"{lab.switch('stats')}")
    if hole:
        lab.tell(f"longest time without an acknowledgement where the primary changed: median "
                 f"{hole[len(hole) // 2]:.0f} ms, most {hole[-1]:.0f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--engine", choices=("redis", "postgresql"), default="redis")
    parser.add_argument("--durability", choices=("async", "sync", "strict"), default="async")
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--round", type=int, default=0, help="this round of the seed alone")
    parser.add_argument("--keep", type=pathlib.Path, help="where failed rounds leave their logs")
    parser.add_argument("--hole", type=float, default=float("inf"),
                        help="rounds with a longer hole (ms) leave theirs, too")
    args = parser.parse_args()
    seed = args.seed or time.time_ns() // MS % 1_000_000
    keep_in = args.keep or pathlib.Path(args.build).resolve() / "chaos-failed"
    print(f"# {args.engine}, {args.durability}, seed {seed}", flush=True)
    lab = faults.ChaosLab(args.build, args.engine, seed, args.durability)
    rounds, began = [], time.monotonic()
    try:
        while not rounds or (time.monotonic() - began < 60 * args.minutes and not args.round):
            rounds.append(Round(lab, seed, args.round or len(rounds) + 1))
            play(lab, rounds[-1], keep_in, args.hole)
        summary(lab, rounds, time.monotonic() - began)
    finally:
        lab.tear_down()
    print(f"1..{len(rounds)}")
    return 1 if any(one.wrong for one in rounds) else 0


if __name__ == "__main__":
    sys.exit(main())
