#!/usr/bin/env python3
"""tests/system/ask_arp.py - ask the network who has an address, again and again.

ask_arp.py ADDRESS OWN: an ARP request on eth0 every 50 ms until it is killed. The answers are not its
business: the switch notes them where they enter, with the host they are from.
"""
import socket
import struct
import sys
import time

EVERY_S = 0.05
ETH_ARP = 0x0806


def main():
    wanted = socket.inet_aton(sys.argv[1])
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_ARP)) as wire:
        wire.bind(("eth0", ETH_ARP))
        mac = wire.getsockname()[4]
        # Not a probe (which has no sender): that is the word of a host that wants the address.
        request = b"\xff" * 6 + mac + struct.pack("!HHHBBH", ETH_ARP, 1, 0x0800, 6, 4, 1)
        request += mac + socket.inet_aton(sys.argv[2]) + b"\0" * 6 + wanted
        while True:
            try:
                wire.send(request)
            except OSError:
                pass  # the cable is out
            time.sleep(EVERY_S)


if __name__ == "__main__":
    main()
