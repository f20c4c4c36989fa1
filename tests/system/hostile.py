#!/usr/bin/env python3
"""tests/system/hostile.py - a peer that means harm: bytes that are no protocol, and idle crowds.

Runs in the network of a lab's client, against one watcher; prints one JSON object with what became
of its connections. With --cert it speaks TLS first, so that what follows comes from a peer that has
a valid key.
"""
import argparse
import concurrent.futures
import json
import random
import socket
import ssl
import struct
import sys
import time

CLOSE_MAX_S = 20
MESSAGE = 1  # type of a frame that holds a message
FRAME_MAX = 60000
U64 = struct.Struct("<Q")
BIG = (4096, 10 ** 6, 2 ** 31, 2 ** 32 - 1)


def words(*numbers):
    return b"".join(U64.pack(number & (2 ** 64 - 1)) for number in numbers)


def frame(kind, payload, size=None):
    return struct.pack("<IB", (len(payload) + 1 if size is None else size) & 0xffffffff,
                       kind) + payload


def record(kind, payload, size=None, version=0x0303):
    return struct.pack(">BHH", kind, version, len(payload) if size is None else size) + payload


def cases():
    """41 of them: noise, other protocols, broken TLS, old Raft's messages, broken frames."""
    noise = random.Random(41)
    found = [noise.randbytes(size) for size in (1, 4, 5, 64, 1500, 65536, 1 << 20)]
    found += [b"\0" * 4096, b"\xff" * 4096, b"\x80" * 100000]
    found += [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET " + b"/" * 200000,
              b"POST /v1/config HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
              b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
              b"X: y\r\n" * 50000, b"SSH-2.0-x\r\n", b"*100000000\r\n$3\r\n", b"$2147483647\r\n"]
    found += [record(22, b"\x01\xff\xff\xff" + b"x" * 500), record(22, b"", 0xffff),
              record(22, b"\x01\x00\x00\x04abcd", 9, 0x0300), record(23, b"x" * 100),
              record(21, b"\x02\x28"), record(20, b"\x01"), record(99, b"x" * 10)]
    # The header of libraft's own transport, and what kills it.
    found += [words(1, 1), words(2 ** 64 - 1, 1), words(1, 2 ** 64 - 1)]
    found += [words(1, 56) + words(1, 1, 1, 0, count) for count in BIG]
    found += [words(3, 2 ** 63) + words(1, 9, 9, 9), words(5, 64) + b"\0" * 64]
    found += [frame(1, b"", 0), frame(1, b"", 0xffffffff), frame(0, b"x"), frame(255, b"x" * 100),
              frame(1, noise.randbytes(200)), frame(1, b"\0" * 8000), frame(2, b"\xff" * 64)]
    assert len(found) == 41, len(found)
    return found


def dial(args, alpn):
    sock = socket.create_connection((args.host, args.port), 10)
    if args.cert is None:
        return sock
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(args.ca)
    if args.cert != "none":
        context.load_cert_chain(args.cert + ".pem", args.cert + ".key")
    context.set_alpn_protocols([alpn])
    sock.settimeout(10)
    return context.wrap_socket(sock)


def until_end(sock):
    """Seconds until the other side closes; None: it does not."""
    began = time.monotonic()
    sock.settimeout(1)
    while time.monotonic() - began < CLOSE_MAX_S:
        try:
            if not sock.recv(65536):
                return time.monotonic() - began
        except TimeoutError:
            pass
        except OSError:
            return time.monotonic() - began
    return None


def text(value):
    return struct.pack("<H", len(value)) + value.encode()


def after_hello(name, data):
    """The same bytes as the payload of a sound frame, from an agent that has said who it is."""
    hello = b"\x03\x01" + text(name) + U64.pack(random.getrandbits(64) | 1) + text("0")
    return frame(MESSAGE, hello) + frame(MESSAGE, data[:FRAME_MAX])


def one_case(args, data):
    if args.hello:
        data = after_hello(args.hello, data)
    try:
        with dial(args, args.alpn) as sock:
            try:
                sock.sendall(data)
            except OSError:
                return 0.0
            return until_end(sock)
    except OSError as error:
        return f"not connected: {error}"


def garbage(args):
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        ends = list(pool.map(lambda data: one_case(args, data), cases()))
    longest = [end for end in ends if isinstance(end, float)]
    return {"cases": len(ends), "open": [at for at, end in enumerate(ends) if end is None],
            "unconnected": [end for end in ends if isinstance(end, str)],
            "longest_s": max(longest, default=0)}


def idle(args):
    """So many connections that say nothing; those the watcher closed are opened again."""
    socks, opened, end = [], 0, time.monotonic() + args.seconds
    while time.monotonic() < end:
        while len(socks) < args.count and time.monotonic() < end:
            try:
                socks.append(socket.create_connection((args.host, args.port), 2))
                opened += 1
            except OSError:
                break
        if len(socks) == args.count:
            print(json.dumps({"standing": len(socks)}), flush=True)
            time.sleep(0.2)
        for sock in [one for one in socks if is_closed(one)]:
            sock.close()
            socks.remove(sock)
    return {"opened": opened}


def is_closed(sock):
    try:
        return sock.recv(1, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def loris(args):
    """A request, one byte every half second, on many connections of one valid key."""
    socks = []
    for _ in range(args.count):
        try:
            socks.append(dial(args, "http/1.1"))
        except OSError:
            pass
    began, closed = time.monotonic(), 0
    while socks and time.monotonic() - began < args.seconds:
        for sock in list(socks):
            try:
                sock.sendall(b"G")
                sock.settimeout(0.001)
                if sock.recv(4096):
                    continue
            except TimeoutError:
                continue
            except OSError:
                pass
            socks.remove(sock)
            closed += 1
        time.sleep(0.5)
    return {"opened": closed + len(socks), "closed": closed}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("garbage", "idle", "loris"))
    parser.add_argument("host")
    parser.add_argument("--port", type=int, default=7400)
    parser.add_argument("--ca")
    parser.add_argument("--cert", help="FILE.pem and FILE.key, or none")
    parser.add_argument("--alpn", default="hafailover/1")
    parser.add_argument("--hello", metavar="AGENT", help="say hello as AGENT first")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=15)
    args = parser.parse_args()
    print(json.dumps({"garbage": garbage, "idle": idle, "loris": loris}[args.what](args)))


if __name__ == "__main__":
    sys.exit(main())
