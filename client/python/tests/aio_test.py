#!/usr/bin/python3
"""The asyncio client against a real daemon."""

import asyncio
import functools

import fixture
import harness
import sandboxd
import testing


def with_client(test):
    """Runs an async test with an AsyncClient."""
    @functools.wraps(test)
    def run(self):
        async def body():
            async with sandboxd.AsyncClient(self.daemon.address) as client:
                await asyncio.wait_for(test(self, client), harness.PATIENCE * 4)
        asyncio.run(body())
    return run


class AioTest(fixture.ClientTestCase):
    @with_client
    async def test_run(self, client):
        done = await client.run(["sh", "-c", "cat; echo err >&2; exit 3"], stdin=b"in", **self.options())
        self.assertEqual((b"in", b"err\n", 3), (done.stdout, done.stderr, done.returncode))
        with self.assertRaises(sandboxd.ProcessFailed):
            await client.run(["false"], check=True, **self.options())
        with self.assertRaises(sandboxd.errors.ProgramNotFound):
            await client.run(["nosuch"], **self.options())
        with self.assertRaises(sandboxd.RunTimeout) as caught:
            await client.run(["sh", "-c", "echo began; sleep 1000"], timeout=5, **self.options())
        self.assertEqual(b"began\n", caught.exception.stdout)
        with self.assertRaises(sandboxd.OutputLimitExceeded) as caught:
            await client.run(["yes"], max_output=1000, **self.options())
        self.assertEqual(b"y\n" * 500, caught.exception.stdout)
        self.assertEqual([], await client.list())

    @with_client
    async def test_input_from_an_async_source(self, client):
        async def source():
            for n in range(100):
                await asyncio.sleep(0)
                yield fixture.block(n, 10000)
        done = await client.run(["cat"], stdin=source(), **self.options())
        self.assertEqual(b"".join(fixture.block(n, 10000) for n in range(100)), done.stdout)

    @with_client
    async def test_a_cancelled_run_leaves_nothing(self, client):
        task = asyncio.ensure_future(client.run(["sleep", "1000"], **self.options(id="box")))
        async for event in client.watch():
            if event.type == sandboxd.EventType.STARTED:
                break
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.assertEqual([], await client.list())

    @with_client
    async def test_life_cycle_and_watch(self, client):
        seen = []

        async def watch():
            async for event in client.watch(ids=["box"]):
                seen.append(event.type.value)
                if event.type == sandboxd.EventType.DELETED:
                    return
        watching = asyncio.ensure_future(watch())
        while "bookmark" not in seen:
            await asyncio.sleep(0.01)
        async with await client.create(["sh", "-c", "echo logged; exit 6"], **self.options(id="box")) as box:
            await box.start()
            self.assertEqual(6, (await box.wait(harness.PATIENCE)).code)
            self.assertEqual(b"logged\n", b"".join([c.data async for c in box.logs(follow=True)]))
            self.assertEqual(sandboxd.State.STOPPED, (await box.refresh()).state)
        await watching
        self.assertEqual(["bookmark", "created", "started", "stopped", "deleted"],
                         [e for e in seen if not e.startswith("process")])

    @with_client
    async def test_a_conversation(self, client):
        async with await client.create(["sleep", "1000"], **self.options()) as box:
            await box.start()
            async with await box.exec(["sh", "-c", "read a; echo got $a; read b; echo and $b; exit 9"],
                                      stdin=True) as process:
                # A reader that gives up costs nothing: what comes later is there for the next one.
                with self.assertRaises(asyncio.TimeoutError):
                    await asyncio.wait_for(process.stdout.__anext__(), 0.2)
                await process.stdin.write(b"one\n")
                self.assertEqual(b"got one\n", await process.stdout.__anext__())
                await process.stdin.write(b"two\n")
                self.assertEqual([b"and two\n"], [line async for line in process.stdout.lines()])
                self.assertEqual((9, 9), (process.exit.code, (await process.wait()).code))
                with self.assertRaises(BrokenPipeError):
                    await process.stdin.write(b"more")

    @with_client
    async def test_both_full_streams_at_once(self, client):
        size = 3 << 20
        async with await client.create(["sleep", "1000"], **self.options()) as box:
            await box.start()
            script = "head -c %d /dev/zero & head -c %d /dev/zero >&2; wait" % (size, size)
            async with await box.exec(["sh", "-c", script]) as process:
                out, err = await asyncio.gather(process.stdout.read(), process.stderr.read())
                self.assertEqual((size, size), (len(out), len(err)))

    @with_client
    async def test_two_hundred_at_once_lose_no_byte(self, client):
        async with await client.create(["sleep", "1000"], **self.options()) as box:
            await box.start()

            async def one(number):
                data = fixture.block(number, 50000 + number)
                done = await box.run(["sh", "-c", "cat; exit %d" % (number % 100)], stdin=data)
                return done.stdout == data and done.returncode == number % 100
            self.assertEqual([True] * 200, await asyncio.gather(*[one(n) for n in range(200)]))


if __name__ == "__main__":
    testing.main()
