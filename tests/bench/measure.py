"""tests/bench/measure.py - one run: a fault under writing clients, and what they noted.

Three clients write: one as people use the system, one on the primary's own host to its own address
(it is on the old primary's side of every cut), and one to each other member's own address, whose
first acknowledgement is the moment that member takes writes. Then the fault is ended, the system
settles, and what was acknowledged is looked for where it should be.
"""
import dataclasses
import time

from system import DATABASES, LabError, MS, wait_for

HOLD_S = 2.0       # a fault lasts this long after writes go on
SETTLE_S = 120
MAIN_US, INSIDE_US, DIRECT_US = 1000, 2000, 2000
FAULTS = {"kill": "kill -9", "stop": "SIGSTOP", "cut": "link cut", "drop": "silent drop",
          "leader": "link cut, of the leading watcher too", "switchover": "switchover"}


@dataclasses.dataclass
class Result:
    system: str
    engine: str
    profile: str
    fault: str
    run: int
    error: str = ""           # the run could not be judged: why
    recovered: bool = True
    unsettled: str = ""       # it did not come to rest after the fault had ended: why
    in_place: bool = False    # the same server went on
    hole_ms: float = 0.0      # longest time between two acknowledged writes of the client
    promoted_ms: float = 0.0  # from the fault until another member took a write; 0: none did
    acked: int = 0            # the client's acknowledged writes
    lost: int = 0             # of them, those the cluster does not have afterwards
    isolated: int = 0         # of those inside, acknowledged by the old primary, and lost
    both: int = 0             # acknowledged by the old one after the new one had begun
    both_s: float = 0.0       # for how long
    extra: int = 0            # changes of primary that nobody needed


def hole_ms(acks, at):
    """The longest time without an acknowledgement that ended after `at`; open at the end: None."""
    times = [ack.answered for ack in acks]
    return max(((b - a) / MS for a, b in zip(times, times[1:]) if b > at), default=None)


def goes_on(client, old, at, fault):
    """The first acknowledgement after the fault that is not the old primary's last breath."""
    for ack in client.acks():
        if ack.sent <= at:
            continue
        # A killed server that was started again is known by a connection made after its death.
        if ack.server != old or (fault == "kill" and ack.connected > at + MS):
            return ack
    return None


def overlap(clients, old, since):
    """Acknowledgements of the old primary for writes sent after the new one's first: how many, s."""
    late = [ack for client in clients for ack in client.acks()
            if ack.server == old and ack.sent > since]
    return len(late), (max(ack.answered for ack in late) - since) / MS / 1e3 if late else 0.0


def judge(system, result, old, at, main, inside, directs):
    clients = [main, inside, *directs]
    acks = [ack for client in clients for ack in client.acks()]
    others = [ack.answered for ack in acks if ack.server != old and ack.answered > at]
    last = max(acks, key=lambda ack: ack.answered)
    primary = last.server if result.unsettled else system.wait_primary(SETTLE_S)
    result.acked = len(main.acks())
    hole = hole_ms(main.acks(), at)
    result.hole_ms = round(hole if hole is not None else system.recover_s * 1e3, 2)
    result.promoted_ms = round((min(others) - at) / MS, 2) if others else 0.0
    have = system.written(primary, main.name)
    if not have:
        raise LabError("nothing of what the client wrote can be found")
    result.lost = sum(ack.number not in have for ack in main.acks())
    have = system.written(primary, inside.name)
    result.isolated = sum(ack.server == old and ack.number not in have for ack in inside.acks())
    if others:
        result.both, both_s = overlap(clients, old, min(others))
        result.both_s = round(both_s, 3)


def recover(system, result, old, at, main):
    try:
        first = wait_for(lambda: goes_on(main, old, at, result.fault), system.recover_s,
                         "writes go on")
        result.in_place = first.server == old
        time.sleep(HOLD_S)
    except LabError:
        result.recovered = False


def measure(system, result):
    primary = system.wait_primary(SETTLE_S)
    system.use(result.profile)
    primary = system.wait_primary(SETTLE_S)
    system.forget(primary)
    main = system.client("client", system.main_client())
    inside = system.client(primary, system.direct_client(primary, INSIDE_US))
    directs = [system.client("client", system.direct_client(host, DIRECT_US))
               for host in DATABASES if host != primary]
    wait_for(lambda: len(main.acks()) > 500 and len(inside.acks()) > 100, 30, "clients write")
    before = system.failovers()
    at = system.fault(result.fault, primary)
    recover(system, result, primary, at, main)
    system.heal()
    try:
        system.wait_primary(SETTLE_S)
    except LabError as error:
        result.unsettled = str(error)[:200]
    time.sleep(1)
    system.stop_clients()
    judge(system, result, primary, at, main, inside, directs)
    result.extra = max(0, system.failovers() - before - (0 if result.in_place else 1))


def run(system, profile, fault, number):
    """One run; whatever goes wrong is in the result, and the system is built anew."""
    result = Result(system.title, system.engine, profile, fault, number)
    try:
        measure(system, result)
    except (LabError, OSError, ValueError, KeyError) as error:
        result.error = " ".join(str(error).split())[:300] or type(error).__name__
    finally:
        system.stop_clients()
    if result.error or result.unsettled:
        system.down()
        system.up()
    return result
