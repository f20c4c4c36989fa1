#!/usr/bin/env python3
"""tests/system/pgbench.py - 20 switchovers back and forth under pgbench (HAFO_DURABILITY, or async).

pgbench writes through the virtual IP all the while, beside the clients of the other stories; slowly,
since its load is not what is asked about. It knows no other server to go to: it ends when its
connections do, and is started again at once.
"""
import contextlib
import os
import shutil
import subprocess
import sys

os.environ["HAFO_ENGINE"] = "postgresql"

import operate  # noqa: E402
from stories import VIP, expect, main, wait_for  # noqa: E402

PGBENCH = "/usr/lib/postgresql/15/bin/pgbench"
WHERE = f"-h {VIP} -p 5432 -U app"
CLIENTS, PER_SECOND = 3, 60
HOLE_MEDIAN_MS = 4000  # below any deadline; how fast it is is told
RUN_S = 5  # what it notes it writes when it ends
AGAIN_UNTIL_STOPPED = f"""
while [ ! -e stop ]; do
    {PGBENCH} -n -b tpcb-like -c {CLIENTS} -R {PER_SECOND} -T {RUN_S} -l \
        --log-prefix "noted.$((at += 1))" {WHERE} postgres
    sleep 0.05
done >>pgbench.out 2>&1
"""


@contextlib.contextmanager
def bench(lab):
    """pgbench until the end; gives its folder."""
    folder = lab.run / "client" / "pgbench"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    said = lab.on("client", *f"{PGBENCH} -i -q -s 1 {WHERE} postgres".split(), deadline_s=60)
    expect("done" in said, f"pgbench -i: {said}")
    process = lab.popen("client", ["bash", "-c", AGAIN_UNTIL_STOPPED], cwd=folder,
                        env=dict(os.environ, PGCONNECT_TIMEOUT="2"))
    try:
        yield folder
    finally:
        (folder / "stop").touch()
        try:
            process.wait(RUN_S + 15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def acknowledged(folder):
    return sum(len(path.read_text(encoding="ascii").splitlines())
               for path in folder.glob("noted.*"))


def has(lab, host, sql):
    return [int(word) for word in lab.sql(host, sql, 30).split("|")]


def switchovers(lab):
    """Nothing of it is lost, on no member, and its sums agree."""
    with bench(lab) as folder:
        wait_for(lambda: has(lab, lab.primary(), "SELECT count(*) FROM pgbench_history")[0] > 50, 20,
                 "pgbench writes")
        operate.switchovers(lab, hole_ms=HOLE_MEDIAN_MS)
    noted = acknowledged(folder)
    expect(noted > 0, "pgbench noted nothing")
    primary = lab.wait_settled()["primary"]
    end = lab.sql(primary, "SELECT pg_current_wal_flush_lsn()")
    for host in (primary, *lab.others(primary)):
        if host != primary:
            wait_for(lambda host=host: lab.sql(
                host, f"SELECT pg_last_wal_replay_lsn() >= '{end}'") == "t", 20, "replayed")
        count, *sums = has(lab, host, "SELECT (SELECT count(*) FROM pgbench_history),"
                           " (SELECT sum(delta) FROM pgbench_history),"
                           " (SELECT sum(abalance) FROM pgbench_accounts),"
                           " (SELECT sum(tbalance) FROM pgbench_tellers),"
                           " (SELECT sum(bbalance) FROM pgbench_branches)")
        lab.tell(f"{host}: pgbench was told of {noted} transactions, {count} are there")
        expect(count >= noted, f"{host} lacks {noted - count} transactions of pgbench")
        expect(len(set(sums)) == 1, f"{host}: its sums differ: {sums}")


if __name__ == "__main__":
    sys.exit(main({"switchovers": switchovers}))
