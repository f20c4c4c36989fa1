#!/usr/bin/env python3
"""deploy/lib/steady.py - wait until all of a lab works; its first time, apply its services."""
import argparse
import sys

import hafolab


def caught_up(lab):
    """The status of a watcher that knows what is in force; one that has just started does not."""
    status = lab.status()
    return status if status["caught_up"] else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lab", required=True)
    parser.add_argument("--build", required=True)
    parser.add_argument("--apply", required=True, help="a services.conf")
    args = parser.parse_args()
    lab = hafolab.Lab(args.lab, args.build)
    try:
        status = hafolab.wait_for(lambda: caught_up(lab), 30, "watchers answer", 0.1)
        if status["config_version"] == 0:  # later, what people have applied is left alone
            lab.apply(args.apply)
        lab.wait_settled(60)
    except hafolab.LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
