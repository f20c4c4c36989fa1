#!/usr/bin/env python3
"""tests/system/durability.py - PostgreSQL with `strict` (or HAFO_DURABILITY=sync): nothing that was
acknowledged is lost, and never two acknowledge; with `async` the second only.

Every client notes what it was told is done; each story ends by asking every member for all of it.
"""
import ctypes
import itertools
import os
import sys
import time

os.environ["HAFO_ENGINE"] = "postgresql"
os.environ.setdefault("HAFO_DURABILITY", "strict")

import operate  # noqa: E402
from stories import (DATABASES, MS, LabError, address, expect, expect_reigns, holes, main,  # noqa: E402
                     median, never_two, reigns, wait_for)

STRICT = os.environ["HAFO_DURABILITY"] == "strict"
ASYNC = os.environ["HAFO_DURABILITY"] == "async"
# Below any deadline. How fast it is the benchmarks tell, on an idle machine.
KILL_HOLE_MEDIAN_MS = SWITCH_HOLE_MEDIAN_MS = 4000
GRACE_S = 3                 # sync_grace, as it is by default


def now():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def numbers(lab, host, writer):
    """What a member has of a writer's."""
    rows = lab.sql(host, f"SELECT number FROM writes WHERE prefix = '{writer.name}'", 30)
    return {int(row) for row in rows.split()}


def expect_kept(lab, *writers, hosts=None):
    """All that was acknowledged to the writers is there, on the primary or the hosts named."""
    if ASYNC:
        return
    for host in hosts or [lab.service()["primary"]]:
        for writer in writers:
            acked = {ack.number for ack in writer.acks()}
            lost = sorted(acked - numbers(lab, host, writer))
            expect(not lost, f"{host} lacks {len(lost)} of {len(acked)} acknowledged writes of "
                             f"{writer.name}, from {lost[:1]} on")


def expect_everywhere(lab, *writers):
    """The same on each member, once they have replayed what the primary has."""
    def asked():
        service = lab.settled()
        end = lab.sql(service["primary"], "SELECT pg_current_wal_flush_lsn()")
        for host in lab.others(service["primary"]):
            if lab.sql(host, f"SELECT pg_last_wal_replay_lsn() >= '{end}'") != "t":
                raise LabError(f"{host} has not replayed {end}")
        return True

    wait_for(asked, 30, "all have replayed all", 0.1)
    expect_kept(lab, *writers, hosts=DATABASES)


def finish(lab, writers):
    lab.heal()
    lab.wait_settled(60)
    lab.stop_writers()
    never_two(*writers)
    expect_everywhere(lab, *writers)
    lab.tell(f"acknowledged{'' if ASYNC else ' and kept'}: "
             f"{sum(len(writer.acks()) for writer in writers)} writes")


def lose(lab, host):
    """A member with its host, as far as the others can tell."""
    lab.call("cut", host)


def wait_set(lab, *hosts):
    """Until the members whose word is waited for are these."""
    wanted = {f"{host}_e" for host in hosts}

    def asked():
        primary = lab.service()["primary"]
        if primary is None:
            raise LabError("no primary")
        names = lab.sql(primary, "SHOW synchronous_standby_names")
        if {name for name in (f"{host}_e" for host in DATABASES) if name in names} != wanted:
            raise LabError(names)
        return True
    wait_for(asked, 30, f"waits for {' '.join(hosts) or 'nobody'}", 0.1)


def expect_silence(writer, seconds, what):
    """No write that is sent from now on is acknowledged."""
    after = now()
    time.sleep(seconds)
    late = [ack for ack in writer.acks() if ack.sent > after]
    expect(not late, f"{len(late)} writes acknowledged {what}")


def wait_no_candidate(lab):
    """Nobody can be promoted, and it is said; a primary that may come back is not fenced for that."""
    def asked():
        service = lab.service()
        return service["state"] == "NO_CANDIDATE" or "no candidate" in service["why"]
    wait_for(asked, 30, "no candidate", 0.1)


def kill(lab, kills=5):
    """SIGKILL of the primary."""
    seen, clients = [], []
    for _ in range(kills):
        old = lab.wait_settled(60)["primary"]
        clients = [lab.writing(), *lab.direct(*DATABASES)]
        killed = lab.kill(old, "database")
        lab.wait_acks(clients[0], killed, but=old)
        new = lab.wait_other(old)["primary"]
        time.sleep(0.5)
        seen.append(holes(clients[0], killed))
        lab.stop_writers()
        expect_reigns([old, new], *clients)
        expect_kept(lab, *clients)
        lab.tell(f"{old} to {new}: {seen[-1]:.1f} ms without an acknowledgement, "
                 f"{sum(len(client.acks()) for client in clients)} kept")
    finish(lab, clients)
    lab.tell(f"without an acknowledgement, median of {kills}: {median(seen):.1f} ms")
    expect(median(seen) < KILL_HOLE_MEDIAN_MS, f"median hole {median(seen):.0f} ms")


def cut(lab):
    """The host of the primary is cut off, with writers on both sides."""
    old = lab.primary()
    clients = [lab.writing(), *lab.inside(old), *lab.direct(*DATABASES)]
    began = now()
    lab.call("cut", old)
    lab.wait_acks(clients[0], began, but=old)
    time.sleep(1)
    lab.tell(f"without an acknowledgement: {holes(clients[0], began):.0f} ms")
    finish(lab, clients)


def frozen(lab):
    """Database and agent stop, and go on when another is primary: late answers are no answers."""
    old = lab.primary()
    clients = [lab.writing(), *lab.inside(old), *lab.direct(*DATABASES)]
    stopped = now()
    for unit in ("agent", "database"):
        lab.stop(old, unit)
    lab.wait_acks(clients[0], stopped, but=old, deadline_s=30)
    lab.wait_other(old)
    for unit in ("database", "agent"):
        lab.go_on(old, unit)
    time.sleep(2)
    finish(lab, clients)


def hang(lab):
    """The database alone stops."""
    old = lab.primary()
    clients = [lab.writing(), *lab.inside(old), *lab.direct(*DATABASES)]
    stopped = lab.stop(old, "database")
    lab.wait_acks(clients[0], stopped, but=old, deadline_s=30)
    lab.wait_other(old)
    time.sleep(1)
    finish(lab, clients)


SYS_BPF, OBJ_GET, LINK_DETACH = 321, 7, 34  # x86_64


def bpf(command, **attributes):
    """The system call, with a path or a file descriptor first."""
    class Attributes(ctypes.Structure):
        _fields_ = [("path", ctypes.c_char_p), ("rest", ctypes.c_uint64 * 15)] if "path" in \
            attributes else [("fd", ctypes.c_uint32), ("rest", ctypes.c_uint32 * 31)]

    wanted = Attributes(**attributes)
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.syscall(SYS_BPF, command, ctypes.byref(wanted), ctypes.sizeof(wanted))
    expect(done >= 0, f"bpf {command}: {os.strerror(ctypes.get_errno())}")
    return done


def take_gates_away(lab, host):
    """As somebody with the privilege could: the rules are flushed, the program is detached."""
    pin = lab.run / "bpf" / host / "link"
    lab.on(host, "nft", "flush", "ruleset")
    if not pin.exists():
        lab.tell("no program to detach: the gate is nft alone")
        return
    link = bpf(OBJ_GET, path=str(pin).encode())
    bpf(LINK_DETACH, fd=link)
    os.close(link)


def gates_gone(lab):
    """Nothing closes the old primary: both filters are taken away while its agent is frozen. Its
    clients reach it, and so do its standbys; with strict it still acknowledges nothing more. Run
    with HAFO_DURABILITY=async it shows what the gate is for: two take writes."""
    if not STRICT and not ASYNC:
        lab.tell("sync promises nothing there")
        return
    old = lab.primary()
    direct = dict(zip(DATABASES, lab.direct(*DATABASES)))
    clients = [lab.writing(), *lab.inside(old), *direct.values()]
    lab.stop(old, "agent")
    take_gates_away(lab, old)
    gone = now()
    new = lab.wait_other(old, 30)["primary"]
    lab.wait_acks(direct[new], gone, deadline_s=30)
    time.sleep(2)
    said = lab.on("client", "psql", "-X", "-A", "-t", "-h", address(old), "-U", "app", "-d", "postgres",
                  "-c", "SELECT pg_is_in_recovery()")
    expect(said == "f", f"{old} is no open primary any more: {said}")
    last = max((ack.answered for client in clients for ack in client.acks() if ack.server == old),
               default=gone)
    first = direct[new].acks()[0].answered
    lab.tell(f"the last write of {old} {(last - gone) / MS:.0f} ms after its gates were gone, the first "
             f"of {new} {(first - gone) / MS:.0f} ms")
    if not ASYNC:
        finish(lab, clients)
        return
    lab.heal()
    lab.wait_settled(60)
    lab.stop_writers()
    order = [reign[0] for reign in reigns(*clients)]
    expect(len(order) > len(set(order)), f"nothing open, nothing shown: {' then '.join(order[:12])}")


def candidate_killed(lab):
    """The candidate dies in its promotion; strict then needs it, or the old primary, again."""
    old = lab.primary()
    epoch = lab.service()["epoch"]
    clients = [lab.writing(), *lab.direct(*DATABASES)]
    killed = lab.kill(old, "database")

    def promoting():
        """Who was told to become primary, by its agent's own log."""
        return [host for host in lab.others(old)
                if f"kind=promote epoch={epoch + 1} " in
                (lab.run / host / "agent.log").read_text(encoding="utf-8")]

    candidate = wait_for(promoting, 10, "a promotion", 0.002)[0]
    lab.kill(candidate, "database")
    lab.tell(f"killed {candidate}")
    lab.wait_settled(60)
    lab.wait_acks(clients[0], killed + 1000 * MS, deadline_s=30)
    finish(lab, clients)


def restarted(lab):
    """The old primary is the only one left, and shows commits that nobody was told of: from then on
    they count, too."""
    old = lab.primary()
    writer = lab.writing()
    for host in lab.others(old):
        lose(lab, host)
    if STRICT:
        expect_silence(writer, GRACE_S + 1, "although nobody else has them")
    else:
        wait_set(lab)
        lab.wait_acks(writer, now())
    lab.stop_writers()
    waiting = numbers(lab, old, writer)
    lab.kill(old, "database")
    wait_for(lambda: lab.service()["state"] in ("STEADY", "REPOINTING", "OPENING") and
             lab.sql(old, "SELECT pg_is_in_recovery()") == "f", 40, f"{old} is primary again", 0.1)
    shown = numbers(lab, old, writer)
    lab.tell(f"{len(shown - waiting)} commits that waited are seen after the restart")
    expect(shown >= {ack.number for ack in writer.acks()}, "acknowledged writes are lost")
    lab.hold(old, "agent")
    lab.kill(old, "database")
    lab.call("uncut_all")
    if STRICT:
        wait_no_candidate(lab)
        time.sleep(3)
        wait_no_candidate(lab)
        expect(all(lab.sql(host, "SELECT pg_is_in_recovery()") == "t" for host in lab.others(old)),
               "promoted without what was seen")
        lab.tell(lab.service()["why"])
    else:
        lab.wait_other(old, 30)
    lab.heal()
    lab.wait_settled(60)
    if STRICT:
        expect(numbers(lab, lab.service()["primary"], writer) >= shown, "what was seen is lost")
    finish(lab, [])


def no_proof(lab):
    """Strict: the primary and one that counts are lost at once; the other may lack something."""
    old = lab.primary()
    gone, left = lab.others(old)
    writer = lab.writing()
    lose(lab, gone)
    lab.hold(old, "agent")
    lab.kill(old, "database")
    if not STRICT:
        lab.tell("of sync, the same")
    wait_no_candidate(lab)
    expect_silence(writer, 4, "without a proof")
    service = lab.service()
    expect(lab.sql(left, "SELECT pg_is_in_recovery()") == "t", f"{left} was promoted unproven")
    reason = [m["reason"] for m in service["members"] if m["name"] == left][0]
    lab.tell(f"{left}: {reason}")
    after = now()
    lab.call("uncut_all")
    lab.wait_acks(writer, after, but=old, deadline_s=30)
    finish(lab, [writer])


def walk(lab):
    """Every order in which both replicas are lost and come back, then the primary is lost."""
    for lost_first, back_first in itertools.product((0, 1), (0, 1)):
        old = lab.wait_settled(60)["primary"]
        others = lab.others(old)
        first, second = others[lost_first], others[1 - lost_first]
        writer = lab.writing()
        lose(lab, first)
        wait_set(lab, second)
        lab.wait_acks(writer, now())
        lose(lab, second)
        if STRICT:
            time.sleep(0.5)
            expect_silence(writer, GRACE_S + 1, "with nobody left")
        else:
            wait_set(lab)
            lab.wait_acks(writer, now())
        back = others[back_first]
        lab.call("uncut", back)
        lab.wait_acks(writer, now(), deadline_s=30)
        wait_set(lab, back)
        wait_for(lambda: lab.service()["ready"], 30, "ready", 0.1)
        lab.wait_acks(writer, now())
        lab.kill(old, "database")
        lab.hold(old, "agent")
        expect(lab.wait_other(old, 30)["primary"] == back, f"{back} is not primary")
        expect_kept(lab, writer)  # alone now: strict acknowledges nothing until another is back
        lab.tell(f"{first}, {second} lost; {back} back and promoted")
        finish(lab, [writer])


def wait_notice(lab, kind, after):
    """A notice of this kind that came after so many others."""
    wait_for(lambda: any(hook["json"]["type"] == f"io.hafailover.{kind}"
                         for hook in lab.webhooks()[after:]), 10, f"a notice {kind}")


def alone(lab):
    """Sync goes on alone, says so, and comes back."""
    if STRICT:
        lab.tell("strict never does")
        return
    old = lab.primary()
    writer = lab.writing()
    told = len(lab.webhooks())
    for host in lab.others(old):
        lose(lab, host)
    wait_set(lab)
    lab.wait_acks(writer, now())
    wait_notice(lab, "not-replicated", told)
    told = len(lab.webhooks())
    lab.call("uncut_all")
    wait_set(lab, *lab.others(old))
    wait_notice(lab, "replicated", told)
    lab.wait_settled()
    killed = lab.kill(old, "database")
    lab.wait_acks(writer, killed, but=old)
    finish(lab, [writer])


if __name__ == "__main__":
    sys.exit(main({
        "kill": kill,
        "kill-once": lambda lab: kill(lab, 1),
        "switchovers": lambda lab: operate.switchovers(lab, 6, SWITCH_HOLE_MEDIAN_MS),
        "cut": cut,
        "frozen": frozen,
        "hang": hang,
        "gates-gone": gates_gone,
        "candidate-killed": candidate_killed,
        "no-proof": no_proof,
        "restarted": restarted,
        "walk": walk,
        "alone": alone,
    }))
