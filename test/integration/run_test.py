#!/usr/bin/python3
"""`sandboxctl run`: what a program in a sandbox prints, how it ends, and what a mistake gets."""

import os
import stat

import harness
import testing


class RunTest(harness.SandboxdTestCase):
    def test_output_errors_and_status_arrive_apart(self):
        done = self.run_program("/bin/sh", "-c", "echo out; echo err >&2; exit 7")
        self.assertEqual(("out\n", "err\n", 7), (done.stdout, done.stderr, done.returncode))

    def test_a_signal_ends_a_process(self):
        # As the first process of its pid namespace, the outer shell would ignore these itself (signal(7)).
        self.assertEqual("137 143\n", self.sh("sh -c 'kill -9 $$'; a=$?; sh -c 'kill -15 $$'; echo $a $?"))

    def test_the_command_is_found_on_the_path(self):
        self.assertEqual("hello\n", self.run_program("echo", "hello").stdout)

    def test_stdin_reaches_the_program_and_ends(self):
        self.assertEqual("7\n", self.run_program("/bin/sh", "-c", "cat | wc -l", stdin="line\n" * 7).stdout)

    def test_much_output_arrives_whole(self):
        done = self.run_program("/bin/sh", "-c", "seq 200000")
        self.assertEqual("".join("%d\n" % n for n in range(1, 200001)), done.stdout)

    def test_binary_bytes_are_kept(self):
        data = bytes(range(256)) * 1000
        self.assertEqual(data, self.run_program("cat", stdin=data, text=False).stdout)

    def test_it_is_our_own_kernel(self):
        self.assertTrue(self.sh("uname -sr").startswith("Linux 6.1"), "uname")
        self.assertEqual("1\n", self.sh("echo $$"))

    def test_the_root_file_system_is_the_given_one(self):
        with open(os.path.join(self.rootfs, "etc/marker"), "w", encoding="utf-8") as file:
            file.write("here\n")
        self.assertEqual("here\n", self.sh("cat /etc/marker"))
        self.assertEqual("", self.sh("ls -d /etc/apt /work /usr/include 2>/dev/null || true"))

    def test_a_tree_of_processes(self):
        self.assertEqual("120\n", self.sh("f() { if [ $1 -gt 1 ]; then echo $(($1 * $(f $(($1 - 1))))); else echo 1; fi; }; "
                                          "f 5"))

    def test_runs_follow_each_other_in_one_daemon(self):
        for n in range(5):
            self.assertEqual(n, self.run_program("/bin/sh", "-c", "exit %d" % n).returncode)
        self.assertEqual([], self.daemon.list())


class MistakeTest(harness.SandboxdTestCase):
    """Each mistake gets one clear sentence on stderr, and leaves nothing (the harness looks)."""

    def refused(self, done, *words):
        self.assertNotEqual(0, done.returncode)
        self.assertEqual("", done.stdout)
        lines = done.stderr.strip().splitlines()
        self.assertEqual(1, len(lines), done.stderr)
        for word in words:
            self.assertIn(word, lines[0])

    def test_no_such_rootfs(self):
        self.refused(self.run_program("true", rootfs="/no/such/rootfs"), "/no/such/rootfs")

    def test_no_such_program(self):
        done = self.run_program("/bin/no-such-program")
        self.refused(done, "/bin/no-such-program")
        self.assertEqual(127, done.returncode)

    def test_not_executable(self):
        done = self.run_program("/etc/passwd")
        self.refused(done, "/etc/passwd")
        self.assertEqual(126, done.returncode)

    def test_truncated_elf(self):
        path = os.path.join(self.rootfs, "bin/cut-short")
        with open(os.path.join(self.rootfs, "bin/busybox"), "rb") as whole, open(path, "wb") as cut:
            cut.write(whole.read(100))
        os.chmod(path, 0o755)
        self.refused(self.run_program("/bin/cut-short"), "/bin/cut-short")

    def test_wrong_architecture(self):
        path = os.path.join(self.rootfs, "bin/arm")
        with open(os.path.join(self.rootfs, "bin/busybox"), "rb") as whole, open(path, "wb") as other:
            data = bytearray(whole.read())
            data[18:20] = (183).to_bytes(2, "little")  # e_machine = EM_AARCH64
            other.write(data)
        os.chmod(path, 0o755)
        self.refused(self.run_program("/bin/arm"), "/bin/arm")

    def test_bundle_that_is_no_json(self):
        bundle = os.path.join(self.daemon.folder, "bundle")
        os.mkdir(bundle)
        with open(os.path.join(bundle, "config.json"), "w", encoding="utf-8") as file:
            file.write("{ this is not JSON")
        self.refused(self.daemon.ctl("run", "--bundle", bundle), "config.json")

    def test_daemon_that_is_not_running(self):
        address = "unix://" + os.path.join(self.daemon.folder, "nobody.sock")
        self.refused(self.daemon.ctl("list", env={"SANDBOXD_ADDRESS": address}), "nobody.sock")

    def test_socket_is_for_its_owner_and_group(self):
        mode = os.stat(self.daemon.address[len("unix://"):]).st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(0o660, stat.S_IMODE(mode))


if __name__ == "__main__":
    testing.main()
