#!/usr/bin/env python3
"""deploy/lib/webhook_receiver.py - take webhooks and write each one down.

One JSON object a line: when it came (CLOCK_BOOTTIME and wall clock, nanoseconds), its headers, its
body as received, and the status that was answered (0: none). While the file --fail-while exists the
answer is 503. The file --modes, a JSON object of path to mode, makes a path behave badly:

  fail      500                            slow     204 after SLOW_S
  hang      nothing, the connection open   trickle  the answer's head, one byte a second
  reset     a reset in place of an answer  redirect 307 to /elsewhere
  huge      200, and a body without end    heads    200, and header lines without end
"""
import argparse
import http.server
import json
import os
import socket
import struct
import time

BODY_MAX = 1 << 20
SLOW_S = 0.2
HANG_S = 120
CHUNK = b"x" * 65536


def mode_of(modes, path):
    try:
        with open(modes, encoding="utf-8") as file:
            return json.load(file).get(path, "good")
    except (OSError, TypeError, ValueError):
        return "good"


def end_of(stream, deadline_s):
    """Wait until the client has gone."""
    stream.settimeout(deadline_s)
    try:
        while stream.recv(4096):
            pass
    except OSError:
        pass


def trickle(stream, data):
    for byte in data:
        stream.sendall(bytes([byte]))
        time.sleep(1)


def flood(stream, head, data):
    stream.sendall(head)
    while True:
        stream.sendall(data)


def reset(stream):
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


MISBEHAVE = {
    "hang": lambda stream: end_of(stream, HANG_S),
    "reset": reset,
    "trickle": lambda stream: trickle(stream, b"HTTP/1.1 204 No Content\r\n\r\n"),
    "huge": lambda stream: flood(stream, b"HTTP/1.1 200 OK\r\n\r\n", CHUNK),
    "heads": lambda stream: flood(stream, b"HTTP/1.1 200 OK\r\n", b"X: " + CHUNK[:1000] + b"\r\n"),
}
STATUS = {"fail": 500, "redirect": 307, "huge": 200, "heads": 200}


def handler_of(log, fail_while, modes):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            size = int(self.headers.get("Content-Length") or 0)
            if size > BODY_MAX:
                self.send_error(413)
                return
            body = self.rfile.read(size).decode("utf-8", "replace")
            mode = mode_of(modes, self.path)
            status = STATUS.get(mode, 0 if mode in MISBEHAVE else 204)
            if fail_while and os.path.exists(fail_while):
                mode, status = "good", 503
            self.note(status, body)
            if mode == "slow":
                time.sleep(SLOW_S)
            if mode in MISBEHAVE:
                self.close_connection = True
                MISBEHAVE[mode](self.connection)
                return
            self.send_response(status)
            if mode == "redirect":
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def note(self, status, body):
            line = {
                "boottime_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                "wall_ns": time.time_ns(),
                "status": status,
                "path": self.path,
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "body": body,
            }
            log.write(json.dumps(line) + "\n")
            log.flush()

        def log_message(self, format, *args):
            pass

    return Handler


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # the client has gone, which is what some modes are for


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--listen", required=True, help="ADDRESS:PORT")
    parser.add_argument("--log", required=True)
    parser.add_argument("--fail-while", help="answer 503 while this file exists")
    parser.add_argument("--modes", help="how each path behaves")
    args = parser.parse_args()
    host, port = args.listen.rsplit(":", 1)
    with open(args.log, "a", encoding="utf-8") as log:
        server = Server((host, int(port)), handler_of(log, args.fail_while, args.modes))
        server.serve_forever()


if __name__ == "__main__":
    main()
