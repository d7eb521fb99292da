"""What bench/run compares the work of tasks with: the same on asyncio.

    between.py WORKLOAD N    does N operations, prints their CPU time as JSON

SPDX-License-Identifier: MIT
"""
import asyncio
import contextvars
import sys
import time

GATHERED = 10000
LIMIT = 100

begun = 0.0


def start():
    global begun
    begun = time.process_time()


def stop(operations):
    cpu = time.process_time() - begun
    print('{"n":%d,"cpu":%.6f}' % (operations, cpu))


async def trivial():
    return 1


async def future(operations):
    new = asyncio.get_running_loop().create_future
    ping = pong = None

    async def answer():
        nonlocal ping
        for _ in range(operations):
            ping = new()
            await ping
            pong.set_result(1)

    answering = asyncio.create_task(answer())
    await asyncio.sleep(0)
    start()
    for _ in range(operations):
        pong = answered = new()
        ping.set_result(1)
        await answered
    stop(operations)
    await answering


async def queue(operations, size):
    items = asyncio.Queue(size)

    async def fill():
        for i in range(operations):
            await items.put(i)

    filling = asyncio.create_task(fill())
    start()
    for _ in range(operations):
        await items.get()
    stop(operations)
    await filling


async def queue1(operations):
    await queue(operations, 1)


async def queue100(operations):
    await queue(operations, 100)


async def gather(operations):
    rounds = max(1, operations // GATHERED)
    start()
    for _ in range(rounds):
        await asyncio.gather(*(trivial() for _ in range(GATHERED)))
    stop(rounds * GATHERED)


async def cancel(operations):
    tasks = [asyncio.create_task(asyncio.sleep(3600))
             for _ in range(operations)]
    await asyncio.sleep(0)
    start()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    stop(operations)


variable = contextvars.ContextVar("bench")


async def ctx_get(operations):
    variable.set(1)
    get = variable.get
    start()
    for _ in range(operations):
        get()
    stop(operations)


async def ctx_set(operations):
    set_ = variable.set
    start()
    for i in range(operations):
        set_(i)
    stop(operations)


async def lock(operations):
    one = asyncio.Lock()
    start()
    for _ in range(operations):
        await one.acquire()
        one.release()
    stop(operations)


async def select_all(queues, operations):
    """Gets so many items, whichever queue has one."""
    gets = {asyncio.ensure_future(q.get()): q for q in queues}
    while operations > 0:
        done, _ = await asyncio.wait(
            gets, return_when=asyncio.FIRST_COMPLETED)
        for get in done:
            q = gets.pop(get)
            gets[asyncio.ensure_future(q.get())] = q
            operations -= 1
    for get in gets:
        get.cancel()
    await asyncio.gather(*gets, return_exceptions=True)


async def select2(operations):
    half = operations // 2
    queues = asyncio.Queue(), asyncio.Queue()

    async def fill():
        for i in range(half):
            queues[i % 2].put_nowait(i)
            await asyncio.sleep(0)

    for i in range(half):
        queues[i % 2].put_nowait(i)
    start()
    await select_all(queues, half)
    filling = asyncio.create_task(fill())
    await select_all(queues, half)
    stop(2 * half)
    await filling


async def map(operations):
    async def limited(semaphore):
        async with semaphore:
            await asyncio.sleep(0)
            return 1

    rounds = max(1, operations // GATHERED)
    start()
    for _ in range(rounds):
        semaphore = asyncio.Semaphore(LIMIT)
        await asyncio.gather(*(limited(semaphore) for _ in range(GATHERED)))
    stop(rounds * GATHERED)


async def process(operations):
    start()
    for _ in range(operations):
        child = await asyncio.create_subprocess_exec(
            "true", stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        await child.communicate()
    stop(operations)


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](int(sys.argv[2])))
