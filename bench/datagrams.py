"""Sends datagrams back with asyncio: what bench/run compares UDP with.

    datagrams.py PORT

SPDX-License-Identifier: MIT
"""
import asyncio
import sys


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


async def main():
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(
        Echo, local_addr=("127.0.0.1", int(sys.argv[1])))
    print("READY", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
