"""tests/bench/scale.py - many services at once: a hundred primaries die in the same moment."""
import dataclasses
import subprocess
import time

from models import HafailoverModels, allow_files
from system import DATABASES, LabError, MS, wait_for

KILLED = 100
RECOVER_S = 60
WRITE_US = 200_000  # three clients for each service: they must not be what is measured


@dataclasses.dataclass
class Scale:
    services: int
    killed: int = 0
    writable: int = 0      # of the killed ones, in time
    first_s: float = 0.0   # from the kill until the first and the last of them took a write again
    last_s: float = 0.0
    median_s: float = 0.0
    twice: int = 0         # services in which two took writes
    disturbed: int = 0     # others whose epoch changed
    entries: int = 0       # of the replicated log, for all of it
    error: str = ""


def reigns(clients):
    """Who acknowledged, in order of time; a name that comes back means two at once."""
    acks = sorted((ack for client in clients for ack in client.acks()), key=lambda ack: ack.sent)
    order = []
    for ack in acks:
        if not order or order[-1] != ack.server:
            order.append(ack.server)
    return order


def first_after(clients, old, at):
    found = [ack.answered for client in clients for ack in client.acks()
             if ack.sent > at and ack.server != old]
    return (min(found) - at) / MS / 1e3 if found else None


def start_clients(lab, victims):
    """One service after the other: hundreds of processes that start at once starve the daemons."""
    clients = {}
    lab.all_ready()
    for number in victims:
        group = [lab.client("client", lab.model_writer(host, number, WRITE_US))
                 for host in DATABASES]
        wait_for(lambda asked=group: any(client.acks() for client in asked), 30,
                 f"s{number} is written to", 0.02)
        clients[number] = group
    return clients


def kill_many(lab, scale):
    victims = list(range(min(KILLED, lab.count)))
    clients = start_clients(lab, victims)
    before = {service["name"]: service for service in lab.all_ready()}
    primaries = {number: before[f"s{number}"]["primary"] for number in victims}
    entries = lab.log_index()
    at = lab.kill_models([(primaries[number], number) for number in victims])

    def times():
        return [first_after(group, primaries[number], at) for number, group in clients.items()]
    try:
        wait_for(lambda: None not in times(), RECOVER_S, "all are writable again", 0.2)
    except LabError as error:
        scale.error = str(error)
    time.sleep(2)
    lab.stop_clients()
    found = sorted(seconds for seconds in times() if seconds is not None)
    scale.killed, scale.writable = len(victims), len(found)
    if found:
        scale.first_s, scale.last_s = round(found[0], 3), round(found[-1], 3)
        scale.median_s = round(found[len(found) // 2], 3)
    orders = [reigns(group) for group in clients.values()]
    scale.twice = sum(len(order) != len(set(order)) for order in orders)
    after = {service["name"]: service["epoch"] for service in lab.services()}
    scale.disturbed = sum(after.get(name) != service["epoch"] for name, service in before.items()
                          if int(name[1:]) not in victims)
    scale.entries = lab.log_index() - entries


def measure_one(build, count):
    lab, scale = HafailoverModels(build, count, KILLED), Scale(count)
    try:
        lab.up()
        kill_many(lab, scale)
    except (LabError, OSError, subprocess.SubprocessError) as error:
        scale.error = " ".join(str(error).split())[:300]
    finally:
        lab.down()
    print(f"  {scale.killed} of {count} primaries killed: {scale.writable} writable again, the last "
          f"after {scale.last_s} s; two took writes in {scale.twice}; {scale.disturbed} others "
          f"disturbed{'; ' + scale.error if scale.error else ''}", flush=True)
    return scale


def measure_all(build, counts):
    allow_files()
    for count in counts:
        yield measure_one(build, count)


def markdown(scales):
    lines = ["Primaries killed at the same moment, of services of three model members on three "
             "hosts; seconds from the kill until a write was acknowledged.", "",
             "| services | killed | writable again | first | median | last | two took writes | "
             "others disturbed | log entries |", "|" + " --- |" * 9]
    for s in scales:
        lines.append(f"| {s.services} | {s.killed} | {s.writable} | {s.first_s} s | {s.median_s} s | "
                     f"{s.last_s} s | {s.twice} | {s.disturbed} | {s.entries} |")
    lines += [f"- {s.services} services: {s.error}" for s in scales if s.error]
    return lines + [""]
