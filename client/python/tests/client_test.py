#!/usr/bin/python3
"""The synchronous client against a real daemon."""

import concurrent.futures
import signal
import threading

import fixture
import harness
import sandboxd
import testing


class RunTest(fixture.ClientTestCase):
    def tearDown(self):
        self.assertEqual([], self.client.list())
        super().tearDown()

    def test_output_and_status(self):
        done = self.run_it("sh", "-c", "echo out; echo err >&2; exit 3")
        self.assertEqual((b"out\n", b"err\n", 3), (done.stdout, done.stderr, done.returncode))
        self.assertEqual(("sh", "-c"), done.args[:2])

    def test_input_of_every_kind(self):
        data = fixture.block(1, 3 << 20)
        self.assertEqual(data, self.run_it("cat", stdin=data).stdout)
        self.assertEqual(b"text", self.run_it("cat", stdin="text").stdout)
        self.assertEqual(b"012", self.run_it("cat", stdin=(b"%d" % n for n in range(3))).stdout)
        self.assertEqual(b"", self.run_it("cat").stdout)

    def test_input_that_the_program_does_not_read(self):
        self.assertEqual(4, self.run_it("sh", "-c", "exit 4", stdin=bytes(8 << 20)).returncode)

    def test_a_source_of_input_that_fails(self):
        def source():
            yield b"some"
            raise RuntimeError("no more")
        with self.assertRaisesRegex(sandboxd.Cancelled, "no more"):
            self.run_it("cat", stdin=source())

    def test_environment_user_and_folder(self):
        done = self.run_it("sh", "-c", "echo $A $B; id -u; id -g; pwd", env={"A": "1", "B": "two"}, user=(7, 8), cwd="/tmp")
        self.assertEqual("1 two\n7\n8\n/tmp\n", done.text)

    def test_a_read_only_root_with_a_tmpfs(self):
        done = self.run_it("sh", "-c", "echo x >/tmp/f && cat /tmp/f; echo x >/etc/f", readonly=True,
                           mounts=[sandboxd.Mount("/tmp", "tmpfs", options=["mode=1777"])])
        self.assertEqual("x\n", done.text)
        self.assertIn("Read-only", done.error_text)

    def test_too_late_is_killed_with_its_output_kept(self):
        with self.assertRaises(sandboxd.RunTimeout) as caught:
            self.run_it("sh", "-c", "echo began; sleep 1000", timeout=5)
        self.assertIsInstance(caught.exception, TimeoutError)
        self.assertEqual(b"began\n", caught.exception.stdout)

    def test_too_much_output_is_killed(self):
        with self.assertRaises(sandboxd.OutputLimitExceeded) as caught:
            self.run_it("yes", max_output=100000)
        self.assertEqual(b"y\n" * 50000, caught.exception.stdout)

    def test_check(self):
        with self.assertRaisesRegex(sandboxd.ProcessFailed, "sh -c .*: exit status 5; oh no") as caught:
            self.run_it("sh", "-c", "echo some; echo oh no >&2; exit 5", check=True)
        self.assertEqual(b"some\n", caught.exception.result.stdout)

    def test_mistakes(self):
        with self.assertRaises(sandboxd.errors.ProgramNotFound) as caught:
            self.run_it("nosuch")
        self.assertIsInstance(caught.exception, sandboxd.FailedPrecondition)
        self.assertIn("nosuch", str(caught.exception))
        with self.assertRaises(sandboxd.errors.RootfsNotFound) as caught:
            self.client.run(["true"], rootfs="/nonexistent")
        self.assertEqual("/nonexistent", caught.exception.metadata["path"])
        with self.assertRaises(sandboxd.InvalidArgument) as caught:
            self.run_it("true", cwd="relative", hostname="-bad-")
        self.assertIn("spec.containers[0].process.cwd", [v.field for v in caught.exception.field_violations])
        with self.assertRaises(TypeError):
            self.client.run("true", **self.options())
        with self.assertRaises(ValueError):
            self.client.create(["true"], output="nowhere", **self.options())


class SandboxTest(fixture.ClientTestCase):
    def test_life_cycle(self):
        with self.client.create(["sh", "-c", "echo logged; exit 6"], labels={"a": "b"}, **self.options(id="box")) as box:
            self.assertEqual(("box", sandboxd.State.CREATED, {"a": "b"}), (box.id, box.info.state, box.info.labels))
            self.assertIn(box.start().info.state, (sandboxd.State.RUNNING, sandboxd.State.STOPPED))
            self.assertEqual(6, box.wait(harness.PATIENCE).code)
            self.assertEqual(sandboxd.State.STOPPED, box.refresh().state)
            self.assertEqual(6, box.info.exit.code)
            self.assertEqual(b"logged\n", b"".join(c.data for c in box.logs(follow=True)))
            self.assertEqual(["box"], [b.id for b in self.client.list(labels={"a": "b"}, states=["stopped"])])
            self.assertEqual([], self.client.list(labels={"a": "c"}))
            self.assertEqual("box", self.client.get("box").id)
        self.assertEqual([], self.client.list())
        self.assertFalse(box.delete())
        with self.assertRaises(sandboxd.errors.SandboxNotFound) as caught:
            self.client.get("box")
        self.assertIsInstance(caught.exception, LookupError)

    def test_create_is_idempotent(self):
        with self.client.create(["true"], **self.options(id="box")):
            self.client.create(["true"], **self.options(id="box"))
            with self.assertRaises(sandboxd.errors.SandboxAlreadyExists) as caught:
                self.client.create(["false"], **self.options(id="box"))
            self.assertIn("difference", caught.exception.metadata)

    def test_signal_kill_and_wrong_state(self):
        with self.sleeper() as box:
            with self.assertRaises(sandboxd.errors.WrongState):
                box.start()
            with self.assertRaises(sandboxd.errors.WrongState):
                box.delete()
            box.signal(signal.SIGKILL)
            self.assertEqual(-9, box.wait().returncode)
            with self.assertRaises(sandboxd.errors.WrongState):
                box.exec(["true"])

    def test_a_deadline_of_a_wait(self):
        with self.sleeper() as box:
            with self.assertRaises(sandboxd.DeadlineExceeded) as caught:
                box.wait(timeout=0.2)
            self.assertIsInstance(caught.exception, TimeoutError)

    def test_watch(self):
        events, seen = self.client.watch(ids=["box"]), []
        self.assertEqual(sandboxd.EventType.BOOKMARK, next(events).type)
        with self.client.create(["true"], **self.options(id="box")) as box:
            box.start().wait()
        for event in events:
            seen.append(event.type.value)
            if event.type == sandboxd.EventType.DELETED:
                break
        wanted = ["created", "started", "process_exited", "stopped", "deleted"]
        self.assertEqual(wanted, [e for e in seen if e in wanted])
        again = self.client.watch(ids=["box"], resume_token=event.resume_token)
        again.close()

    def test_a_bundle_is_refused_by_field(self):
        with self.assertRaises(sandboxd.errors.BundleNotFound):
            self.client.create(bundle="/nonexistent")
        with self.assertRaises(TypeError):
            self.client.create(["true"])

    def test_attach_before_start(self):
        with self.client.create(["cat"], stdin=True, output="stream", **self.options()) as box:
            process = box.attach()
            with self.assertRaises(sandboxd.errors.AlreadyAttached):
                box.attach()
            box.start()
            self.assertEqual(b"through", process.communicate(b"through").stdout)

    def test_a_detached_client_comes_back(self):
        with self.client.create(["cat"], stdin=True, output="stream", **self.options()) as box:
            box.start()
            first = box.attach()
            first.stdin.write(b"one")
            self.assertEqual(b"one", next(first.stdout))
            second = box.attach(take_over=True)
            with self.assertRaises(sandboxd.errors.AttachmentTaken):
                next(first.stdout)
            second.stdin.write(b"two")
            second.stdin.close()
            self.assertEqual(b"two", second.stdout.read())
            self.assertEqual(0, second.wait().code)


class ExecTest(fixture.ClientTestCase):
    def setUp(self):
        super().setUp()
        self.box = self.sleeper()
        self.addCleanup(self.box.delete, force=True)

    def test_a_conversation(self):
        with self.box.exec(["sh", "-c", "read a; echo got $a; read b; echo and $b; echo e >&2; exit 9"],
                           stdin=True) as process:
            process.stdin.write(b"one\n")
            self.assertEqual(b"got one\n", next(process.stdout))
            process.stdin.write(b"two\n")
            self.assertEqual([b"and two\n"], list(process.stdout.lines()))
            self.assertEqual(b"e\n", process.stderr.read())
            self.assertEqual(9, process.exit.code)
            self.assertEqual(9, process.wait().code)

    def test_both_streams_in_order(self):
        with self.box.exec(["sh", "-c", "read x; echo a; read x; echo b >&2; read x; echo c"], stdin=True) as process:
            seen = []
            process.stdin.write(b"\n")
            for stream, data in process.output():
                seen.append((stream, data))
                process.stdin.write(b"\n")
            self.assertEqual([("stdout", b"a\n"), ("stderr", b"b\n"), ("stdout", b"c\n")], seen)

    def test_two_threads_read_two_full_streams(self):
        size = 3 << 20
        script = "head -c %d /dev/zero & head -c %d /dev/zero >&2; wait" % (size, size)
        with self.box.exec(["sh", "-c", script]) as process:
            errors = []
            thread = threading.Thread(target=lambda: errors.append(len(process.stderr.read())))
            thread.start()
            self.assertEqual(size, len(process.stdout.read()))
            thread.join()
            self.assertEqual([size], errors)

    def test_a_slow_reader_slows_the_program(self):
        size = 64 << 20
        with self.box.exec(["head", "-c", str(size), "/dev/zero"]) as process:
            read = len(next(process.stdout))
            # Nobody reads: it can't end. Then all of it comes.
            with self.assertRaises(sandboxd.DeadlineExceeded):
                process.wait(timeout=3)
            read += sum(len(data) for data in process.stdout)
            self.assertEqual((size, 0), (read, process.exit.code))

    def test_signal_and_ps(self):
        with self.box.exec(["sleep", "500"], id="second") as process:
            self.assertEqual("second", process.id)
            self.assertIn(process.pid, [p.pid for p in self.box.ps()])
            self.assertEqual("second", self.box.process("second").id)
            process.signal("TERM")
            self.assertEqual(-15, process.communicate().returncode)
        self.box.signal_pid(1, "CONT")
        with self.assertRaises(sandboxd.errors.ProcessNotFound):
            self.box.process("second")

    def test_the_end_of_the_block_kills(self):
        with self.box.exec(["sleep", "500"]) as process:
            pid = process.pid
        harness.wait_until(lambda: pid not in [p.pid for p in self.box.ps() if p.state.value == "running"],
                           "the process is gone")

    def test_detached_with_a_log(self):
        process = self.box.exec(["sh", "-c", "echo one; echo two >&2; exit 2"], output="log")
        self.assertEqual(2, process.wait().code)
        chunks = list(process.logs(follow=True))
        self.assertEqual({("stdout", b"one\n"), ("stderr", b"two\n")}, {(c.stream, c.data) for c in chunks})
        with self.assertRaises(ValueError):
            process.stdout.read()
        process.delete()

    def test_a_terminal(self):
        script = "trap 'stty size; exit' WINCH; stty size; read x; echo $x; while :; do sleep 0.1; done"
        with self.box.exec(["sh", "-c", script], terminal=True, terminal_size=(33, 99)) as process:
            lines = process.stdout.lines()
            self.assertEqual(b"33 99", next(lines).strip())
            process.stdin.write(b"typed\n")
            self.assertEqual([b"typed", b"typed"], [next(lines).strip(), next(lines).strip()])  # the terminal's echo, and ours
            process.resize(44, 111)
            self.assertEqual([b"44 111"], [line.strip() for line in lines])

    def test_timeout_of_an_exec_leaves_the_sandbox_alone(self):
        with self.assertRaises(sandboxd.RunTimeout):
            self.box.run(["sleep", "500"], timeout=0.5)
        self.assertEqual("fine\n", self.box.run(["echo", "fine"]).text)

    def test_two_hundred_at_once_lose_no_byte(self):
        def one(number):
            data = fixture.block(number, 50000 + number)
            done = self.box.run(["sh", "-c", "cat; exit %d" % (number % 100)], stdin=data)
            return done.stdout == data and done.returncode == number % 100
        with concurrent.futures.ThreadPoolExecutor(200) as pool:
            self.assertEqual([True] * 200, list(pool.map(one, range(200))))


if __name__ == "__main__":
    testing.main()
