"""Answers lines with asyncio's streams: what bench/run compares lines with.

    lines.py PORT

SPDX-License-Identifier: MIT
"""
import asyncio
import sys


async def handle(reader, writer):
    try:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(handle, "127.0.0.1", int(sys.argv[1]))
    print("READY", flush=True)
    await server.serve_forever()


asyncio.run(main())
