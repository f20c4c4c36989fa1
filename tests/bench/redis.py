"""tests/bench/redis.py - the adapters for Redis: hafailover and Redis Sentinel."""
import re
import signal
import time

from system import DATABASES, LabError, System, WATCHERS, address, hafolab, now_ns, wait_for

FAST = """[defaults]
heartbeat = 50ms
probe = 100ms
down_after = 300ms
hang_after = 300ms
lease = 400ms

"""
PROMISED_S = 2  # promises of the length before are over


def numbers(text, prefix):
    return {int(key[len(prefix) + 1:]) for key in text.split() if key.startswith(prefix + ":")}


class RedisSystem(System):
    engine = "redis"

    def database_pids(self, host):
        return [self.pid(host, "database")]

    def written(self, host, prefix):
        return numbers(self.redis(host, "keys", f"{prefix}:*", deadline_s=60), prefix)

    def forget(self, primary):
        self.redis(primary, "flushdb", deadline_s=30)  # flushall saves, and stands still for it

    def writer(self, interval_us, *more):
        return [self.program("tests/support/hafailover-writer"), "--interval", str(interval_us),
                *more]

    def direct_client(self, host, interval_us):
        return self.writer(interval_us, "--host", address(host), "--stay")


class Hafailover(RedisSystem):
    """hafailover, with the quickstart's own lab."""
    title, short = "hafailover", "h"
    profiles = {"default": "lease 1500 ms, down_after 1000 ms",
                "fast": "lease 400 ms, down_after 300 ms, heartbeat 50 ms"}

    def start_all(self):
        self.call("lab_up")
        self.set_profile("default")
        self.wait_settled(60)

    def set_profile(self, profile):
        path = self.run / "services.conf"
        text = self.call("services_conf")
        path.write_text((FAST if profile == "fast" else "") + text, encoding="utf-8")
        self.apply(path)
        time.sleep(PROMISED_S)

    def settled_primary(self):
        return self.settled()["primary"]

    def failovers(self):
        return self.service()["epoch"]

    def leading_watcher(self):
        return self.leader()

    def switchover(self, primary):
        at = now_ns()
        done = self.ctl("switchover", hafolab.SERVICE)
        if done.returncode != 0:
            raise LabError(f"switchover: {done.stderr.strip()}")
        return at

    def main_client(self):
        return self.writer(1000, "--host", hafolab.VIP)

    def database_start(self, host):
        self.call("redis_start", host)


class Sentinel(RedisSystem):
    title, short = "Sentinel", "s"
    profiles = {"default": "down-after 30000 ms", "1000ms": "down-after 1000 ms",
                "tight": "down-after 500 ms"}
    PORT = 26379
    DOWN_AFTER = {"default": 30000, "1000ms": 1000, "tight": 500}

    def start_all(self):
        self.make_hosts()
        for host in DATABASES:
            self.configure_redis(host)
            self.database_start(host)
        for host in WATCHERS:
            folder = self.run / host
            (folder / "sentinel.conf").write_text(
                f"port {self.PORT}\nprotected-mode no\ndir {folder}\n"
                f"sentinel monitor cache {address(DATABASES[0])} 6379 2\n", encoding="utf-8")
            self.unit(host, "sentinel", "redis-sentinel", folder / "sentinel.conf")
        self.wait_primary(60)

    def configure_redis(self, host):
        """The same server as hafailover's lab has."""
        folder = self.run / host
        (folder / "data").mkdir(exist_ok=True)
        text = (f"bind * -::*\nprotected-mode no\nport 6379\nunixsocket {folder}/redis.sock\n"
                f"dir {folder}/data\nsave 3600 1 300 100\nrepl-diskless-sync-delay 0\n"
                f"repl-backlog-size 64mb\n")
        if host != DATABASES[0]:
            text += f"replicaof {address(DATABASES[0])} 6379\n"
        (folder / "redis.conf").write_text(text, encoding="utf-8")

    def database_start(self, host):
        self.unit(host, "database", "redis-server", self.run / host / "redis.conf",
                  restart="never")

    def sentinel(self, host, *command):
        return self.on(host, "redis-cli", "-h", address(host), "-p", str(self.PORT), *command)

    def set_profile(self, profile):
        for host in WATCHERS:
            answer = self.sentinel(host, "sentinel", "set", "cache", "down-after-milliseconds",
                                   str(self.DOWN_AFTER[profile]))
            if answer != "OK":
                raise LabError(f"{host}: {answer}")

    def settled_primary(self):
        names = {address(host): host for host in DATABASES}
        heard = {self.sentinel(host, "sentinel", "get-master-addr-by-name", "cache").split("\n")[0]
                 for host in WATCHERS}
        if len(heard) != 1 or not heard <= set(names):
            raise LabError(f"sentinels say {heard}")
        primary = names[heard.pop()]
        for host in WATCHERS:
            state = self.sentinel(host, "sentinel", "ckquorum", "cache")
            if not state.startswith("OK 3"):
                raise LabError(f"{host}: {state}")
            # A failover goes on after the address has changed; what is told as down may return.
            lines = self.sentinel(host, "sentinel", "replicas", "cache").split("\n")
            facts = dict(zip(lines[::2], lines[1::2]))
            flags = [value for key, value in zip(lines, lines[1:]) if key == "flags"]
            if flags != ["slave", "slave"]:
                raise LabError(f"{host}: replicas are {flags} {facts.get('name')}")
        self.check_replication(primary)
        return primary

    def check_replication(self, primary):
        for host in DATABASES:
            info = self.redis(host, "info", "replication")
            wanted = ("role:master" in info and "connected_slaves:2" in info if host == primary
                      else "role:slave" in info and "master_link_status:up" in info and
                      f"master_host:{address(primary)}" in info)
            if not wanted:
                raise LabError(f"{host} is not yet what it should be")

    def failovers(self):
        """Changes of the address, as the sentinel that saw most of them says."""
        counts = []
        for host in WATCHERS:
            log = (self.run / host / "sentinel.log").read_text(encoding="utf-8", errors="replace")
            counts.append(len(re.findall(r"\+switch-master cache ", log)))
        return max(counts)

    def switchover(self, primary):
        def asked():
            at = now_ns()
            return at if self.sentinel("w1", "sentinel", "failover", "cache") == "OK" else None
        # Right after another one a sentinel may not yet know that the replicas are good.
        return wait_for(asked, 10, "SENTINEL FAILOVER", 0.2)

    def main_client(self):
        sentinels = ",".join(f"{address(host)}:{self.PORT}" for host in WATCHERS)
        return self.writer(1000, "--sentinels", sentinels)

    def heal(self):
        super().heal()
        for host in DATABASES:
            try:
                self.signal(host, "database", signal.SIGCONT)
            except (LabError, ProcessLookupError):
                pass
