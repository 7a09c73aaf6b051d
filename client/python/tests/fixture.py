"""A test with a daemon, a busybox root file system and a client."""

import hashlib

import harness
import sandboxd


def block(seed, size):
    """`size` bytes that no other seed gives."""
    return hashlib.shake_128(b"%d" % seed).digest(size)


class ClientTestCase(harness.SandboxdTestCase):
    def setUp(self):
        super().setUp()
        self.client = sandboxd.Client(self.daemon.address)
        self.addCleanup(self.client.close)

    def options(self, **more):
        return {"rootfs": self.rootfs, "platform": harness.PLATFORM, **more}

    def run_it(self, *args, **more):
        return self.client.run(args, **self.options(**more))

    def sleeper(self, **more):
        """A running sandbox, to be used with `with`."""
        return self.client.create(["sleep", "1000"], **self.options(**more)).start()
