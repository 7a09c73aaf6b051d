#!/usr/bin/python3
"""A daemon that dies and comes back, as its clients see it. README.md tells the same in words."""

import asyncio
import concurrent.futures
import os

import fixture
import harness
import sandboxd
import testing


class RestartTest(fixture.ClientTestCase):
    def waiting(self, status):
        """A running sandbox whose program ends with `status` after release()."""
        return self.client.create(["sh", "-c", "until [ -e /go ]; do sleep 0.1; done; exit %d" % status],
                                  **self.options()).start()

    def release(self):
        with open(os.path.join(self.rootfs, "go"), "w", encoding="utf-8"):
            pass

    def restart(self):
        self.daemon.kill()
        self.daemon.start()

    def test_a_wait_goes_on(self):
        with self.waiting(7) as box, concurrent.futures.ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(box.wait)
            self.restart()
            self.release()
            self.assertEqual(7, waiting.result(harness.PATIENCE).code)

    def test_calls_find_the_daemon_again(self):
        with self.waiting(0) as box:
            self.restart()
            self.assertEqual([box.id], [b.id for b in self.client.list()])
            self.assertEqual("again\n", box.run(["echo", "again"]).text)

    def test_repeatable_calls_wait_for_a_daemon_that_is_away(self):
        self.assertEqual([], self.client.list())
        self.daemon.kill()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            listing = pool.submit(self.client.list)
            self.daemon.start()
            self.assertEqual([], listing.result(harness.PATIENCE))

    def test_without_a_daemon_the_error_is_at_once_and_says_what_to_do(self):
        address = "unix://" + os.path.join(self.daemon.folder, "nobody.sock")
        with sandboxd.Client(address) as client:
            with self.assertRaisesRegex(sandboxd.Unavailable, "no daemon answers at .*sandboxd --listen"):
                client.list()

    def test_a_cut_stream_is_an_error_and_the_process_can_be_attached_again(self):
        with self.client.create(["cat"], stdin=True, output="stream", **self.options()) as box:
            box.start()
            process = box.attach()
            process.stdin.write(b"before")
            self.assertEqual(b"before", next(process.stdout))
            self.restart()
            with self.assertRaises(sandboxd.Unavailable):
                process.stdout.read()
            again = box.attach()
            self.assertEqual(b"after", again.communicate(b"after").stdout)

    def test_a_watch_begins_anew_and_says_so(self):
        with self.waiting(0) as box:
            events = self.client.watch()
            kinds = [next(events).type.value for _ in range(2)]
            self.assertEqual(["existing", "bookmark"], kinds)
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                coming = pool.submit(next, events)
                self.restart()
                event = coming.result(harness.PATIENCE)
            self.assertEqual(("existing", True, box.id), (event.type.value, event.resynced, event.sandbox.id))
            self.assertEqual(("bookmark", True), (lambda e: (e.type.value, e.resynced))(next(events)))
            self.release()
            while event.type != sandboxd.EventType.STOPPED:
                event = next(events)
            self.assertFalse(event.resynced)
            events.close()

    def test_the_same_for_asyncio(self):
        async def body():
            async with sandboxd.AsyncClient(self.daemon.address) as client:
                box = await client.create(["sh", "-c", "until [ -e /go ]; do sleep 0.1; done; exit 7"], **self.options())
                async with await box.start():
                    events = client.watch()
                    self.assertEqual("existing", (await events.__anext__()).type.value)
                    self.assertEqual("bookmark", (await events.__anext__()).type.value)
                    waiting = asyncio.ensure_future(box.wait())
                    coming = asyncio.ensure_future(events.__anext__())
                    await asyncio.get_running_loop().run_in_executor(None, self.restart)
                    self.assertTrue((await coming).resynced)
                    self.assertEqual("again\n", (await box.run(["echo", "again"])).text)
                    self.release()
                    self.assertEqual(7, (await waiting).code)
                    await events.aclose()
        asyncio.run(body())


if __name__ == "__main__":
    testing.main()
