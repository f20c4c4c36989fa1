#!/usr/bin/env python3
"""deploy/lib/webhook_receiver.py - take webhooks and write each one down.

One JSON object a line: when it came (CLOCK_BOOTTIME and wall clock, nanoseconds), its headers, its
body as received, and the status that was answered. While the file --fail-while exists the answer
is 503, which is how a test makes notices wait.
"""
import argparse
import http.server
import json
import os
import time

BODY_MAX = 1 << 20


def handler_of(log, fail_while):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            size = int(self.headers.get("Content-Length") or 0)
            if size > BODY_MAX:
                self.send_error(413)
                return
            body = self.rfile.read(size).decode("utf-8", "replace")
            status = 503 if fail_while and os.path.exists(fail_while) else 204
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
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format, *args):
            pass

    return Handler


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--listen", required=True, help="ADDRESS:PORT")
    parser.add_argument("--log", required=True)
    parser.add_argument("--fail-while", help="answer 503 while this file exists")
    args = parser.parse_args()
    host, port = args.listen.rsplit(":", 1)
    with open(args.log, "a", encoding="utf-8") as log:
        server = http.server.ThreadingHTTPServer((host, int(port)),
                                                 handler_of(log, args.fail_while))
        server.serve_forever()


if __name__ == "__main__":
    main()
