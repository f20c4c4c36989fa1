"""tests/system/verdict.py - what a chaos run is asked: each question a function of what was noted.

The functions take plain lists, so that judge.py can plant a fault in each of them; what collects
the evidence from a lab is at the end. A function returns what is wrong, as sentences; none is good.
"""
import collections
import dataclasses
import json

from stories import SERVICE, WATCHERS, LabError, reigns, wait_for

NOTICES_S = 75     # a breaker that has opened tries again within a minute
DIGEST_S = 20


@dataclasses.dataclass
class Claim:
    """A host said that the address is its own, at some time between two."""
    since: int
    until: int
    host: str


@dataclasses.dataclass
class Loss:
    count: int = 0
    size: int = 0
    told: int = 0


def is_subsequence(order, made):
    rest = iter(made)
    return all(any(name == other for other in rest) for name in order)


def then(names):
    return " then ".join(names)


def two_at_once(made, *writers):
    """Reigns must be a subsequence of the primaries that the log made, in its order."""
    order = [reign[0] for reign in reigns(*writers)]
    if is_subsequence(order, made):
        return []
    return [f"acknowledged by {then(order[:20])}; primaries were {then(made)}"]


def two_answer(made, claims):
    """The same of the hosts that answered for the address. What cannot be ordered, because the
    times in which two hosts may have said it overlap, proves nothing."""
    claims = sorted(claims, key=lambda claim: claim.until)
    order = []
    for at, claim in enumerate(claims):
        near = claims[max(0, at - 8):at + 9]
        if any(other.host != claim.host and other.since <= claim.until and
               claim.since <= other.until for other in near):
            continue
        if not order or order[-1] != claim.host:
            order.append(claim.host)
    if is_subsequence(order, made):
        return []
    return [f"the address was answered for by {then(order[:20])}; primaries were {then(made)}"]


def size_of(engine, prefix, number):
    """Bytes that a write takes in the replication stream, at least."""
    if engine != "redis":
        return 100
    key = len(f"{prefix}:{number}")
    digits = len(str(number))
    return len("*3\r\n$3\r\nSET\r\n") + sum(len(f"${n}\r\n") + n + 2 for n in (key, digits))


def lost(engine, durability, made, acks, present, told):
    """(what is wrong, Loss). acks: [(prefix, Ack)], present: {(prefix, number)}, told: bytes.

    Only what a deposed primary had acknowledged last may be missing: nothing that it acknowledged
    before something that is there and was sent later, and nothing of the last primary.
    """
    missing = [(prefix, ack) for prefix, ack in acks if (prefix, ack.number) not in present]
    loss = Loss(len(missing), sum(size_of(engine, p, a.number) for p, a in missing), told)
    wrong = []
    if not missing:
        return wrong, loss
    if durability != "async":  # sync too: alone, it takes no writes from where nobody can see it
        wrong.append(f"{len(missing)} acknowledged writes are lost under {durability}")
    by_server = collections.defaultdict(list)
    for _, ack in missing:
        by_server[ack.server].append(ack)
    for server, gone in by_server.items():
        if server not in made[:-1]:
            wrong.append(f"{len(gone)} writes acknowledged by {server} are lost, "
                         "which was not deposed")
            continue
        if made.count(server) > 1:
            continue  # which reign they were of is not known here
        first = min(gone, key=lambda ack: ack.answered)
        kept = [ack for prefix, ack in acks if ack.server == server and
                ack.sent > first.answered and (prefix, ack.number) in present]
        if kept:
            wrong.append(f"{server}: write {first.number} is lost, and {len(kept)} that were sent "
                         "after its acknowledgement are there")
    return wrong, loss


def notices(hooks, before, wanted):
    """(what is wrong, how many came again). hooks: parsed, oldest first; wanted: numbers that must
    have come, all after `before`."""
    wrong, highest, told, again = [], {}, {}, 0
    for hook in hooks:
        event = hook["json"]
        number = int(event["id"].rsplit("-", 1)[1])
        if number <= before or not 200 <= hook["status"] < 300:
            continue
        service = event.get("subject", "")
        body = json.dumps(event, sort_keys=True)
        if number in told:  # also late: a watcher that was frozen while it sent wakes up
            again += 1
            if told[number] != body:
                wrong.append(f"notice {number} is two events")
            continue
        if number < highest.get(service, 0):
            wrong.append(f"notice {number} of {service!r} came after {highest[service]}")
        highest[service] = number
        told[number] = body
    missing = set(wanted) - set(told)
    if missing:
        wrong.append(f"notices lost: {sorted(missing)[:20]}")
    return wrong, again


def digests(states):
    """states: {watcher: (index, digest)}, all asked until they agreed on the index."""
    if len(set(states.values())) == 1:
        return []
    return ["states differ: " + ", ".join(f"{w} {d} at {i}" for w, (i, d) in states.items())]


# --- collectors ---------------------------------------------------------------------------------

def claims_of(lab, since):
    found = []
    for line in lab.claims.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if len(words) == 5 and int(words[2]) > since:
            found.append(Claim(int(words[1]), int(words[2]), words[3]))
    return found


def made_since(lab, first, last_id):
    """(members that were primary: the one at first, then those that the log let open; bytes told
    to be lost). Clients of its own address reach one before it has the virtual address."""
    decisions = sorted(lab.history(), key=lambda d: d["id"])
    later = [d for d in decisions if d["id"] > last_id and d["to"] and
             d["stages_ms"].get("promoted") is not None]
    return [first] + [d["to"] for d in later], sum(d["lost_bytes"] for d in later)


def written(lab, primary):
    """{(prefix, number)} in the database of a member."""
    if lab.engine == "redis":
        rows = lab.redis(primary, "--raw", "keys", "*", deadline_s=30).split()
        pairs = [row.rsplit(":", 1) for row in rows]
    else:
        pairs = [row.split("|") for row in
                 lab.sql(primary, "SELECT prefix, number FROM writes", 30).split()]
    return {(pair[0], int(pair[1])) for pair in pairs if len(pair) == 2}


def forget(lab, primary):
    if lab.engine == "redis":
        lab.redis(primary, "flushall")
    else:
        lab.sql(primary, "TRUNCATE writes")


def states(lab):
    """{watcher: (index, digest)} once all name the same index."""
    def asked():
        found = {}
        for watcher in WATCHERS:
            said = lab.ctl_json("watchers", watcher=watcher)
            found[watcher] = (said["index"], said["digest"])
        return found if len({index for index, _ in found.values()}) == 1 else None
    return wait_for(asked, DIGEST_S, "all watchers at one index", 0.05)


def last_event(lab):
    status, body = lab.http(lab.leader(), "/v1/events?count=1")
    if status != 200:
        raise LabError(f"events: {body}")
    return max((event["seq"] for event in json.loads(body)["events"]), default=0)


def events_after(lab, number):
    """Numbers of the service's notices; those of the watchers' own go to other webhooks."""
    status, body = lab.http(lab.leader(), f"/v1/events?after={number}&count=256&service={SERVICE}")
    if status != 200:
        raise LabError(f"events: {body}")
    return [event["seq"] for event in json.loads(body)["events"]]


def outbox_empty(lab):
    wait_for(lambda: lab.status()["notices_waiting"] == 0, NOTICES_S, "the outbox is empty", 0.1)

