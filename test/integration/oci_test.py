#!/usr/bin/python3
"""sandboxd-oci: the life of a container by the command line of an OCI runtime."""

import json
import os
import re
import signal
import socket
import subprocess

import engines
import harness
import testing


class OciTest(engines.OciTestCase):
    def setUp(self):
        super().setUp()
        self.root = os.path.join(self.folder, "oci")
        self.addCleanup(self.no_container_is_left)

    def no_container_is_left(self):
        for name in os.listdir(self.root) if os.path.isdir(self.root) else []:
            if not name.startswith("."):
                self.oci("delete", "--force", name)
                self.fail("container %s is left" % name)

    def oci(self, *arguments, **kwargs):
        return engines.run(self.runtime, "--root", self.root, *arguments, **kwargs)

    def ok(self, *arguments, **kwargs):
        done = self.oci(*arguments, **kwargs)
        self.assertEqual(0, done.returncode, "%s: %s%s" % (arguments, done.stdout, done.stderr))
        return done.stdout

    def bundle(self, *args, **changes):
        """A bundle that runs `args`; `changes` go into config.json."""
        folder = os.path.join(self.folder, "bundle")
        os.makedirs(folder, exist_ok=True)
        config = os.path.join(folder, "config.json")
        if os.path.exists(config):
            os.unlink(config)
        self.ok("spec", "--bundle", folder)
        with open(config, encoding="utf-8") as file:
            spec = json.load(file)
        spec["root"] = {"path": self.rootfs}
        spec["process"]["terminal"] = changes.pop("terminal", False)
        spec["process"]["args"] = list(args)
        spec["linux"].update(changes.pop("linux", {}))
        spec.update(changes)
        with open(config, "w", encoding="utf-8") as file:
            json.dump(spec, file)
        return folder

    def create(self, name, *args, **changes):
        """A created container; its streams are files that are returned as (stdout, stderr) paths, and its pid."""
        paths = [os.path.join(self.folder, name + suffix) for suffix in (".out", ".err", ".pid")]
        with open(paths[0], "w", encoding="utf-8") as out, open(paths[1], "w", encoding="utf-8") as err:
            done = subprocess.run([self.runtime, "--root", self.root, "create", "--bundle", self.bundle(*args, **changes),
                                   "--pid-file", paths[2], name], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                  timeout=harness.PATIENCE, check=False)
        with open(paths[1], encoding="utf-8") as err:
            self.assertEqual(0, done.returncode, err.read())
        with open(paths[2], encoding="utf-8") as pid:
            return paths[0], paths[1], int(pid.read())

    def status(self, name):
        return json.loads(self.ok("state", name))["status"]

    def wait_for(self, name, status):
        harness.wait_until(lambda: self.status(name) == status, "%s is %s" % (name, status))

    def test_run_is_the_program(self):
        done = self.oci("run", "--bundle", self.bundle("sh", "-c", "echo out; echo err >&2; cat; exit 3"), "c", input="in\n")
        self.assertEqual((3, "out\nin\n", "err\n"), (done.returncode, done.stdout, done.stderr))

    def test_a_life_step_by_step(self):
        out, _, pid = self.create("c", "sh", "-c", "echo began; while :; do sleep 1; done")
        self.assertEqual("created", self.status("c"))
        self.assertTrue(os.path.exists("/proc/%d" % pid))
        state = json.loads(self.ok("state", "c"))
        self.assertEqual(("c", pid, os.path.join(self.folder, "bundle")), (state["id"], state["pid"], state["bundle"]))
        self.ok("start", "c")
        self.assertEqual("running", self.status("c"))
        harness.wait_until(lambda: open(out, encoding="utf-8").read() == "began\n", "its output is there")
        self.assertEqual([pid], json.loads(self.ok("ps", "--format", "json", "c")))
        self.assertIn("sleep", self.ok("ps", "c"))
        self.assertEqual("c", json.loads(self.ok("list", "--format", "json"))[0]["id"])
        self.assertIn("running", self.oci("delete", "c").stderr)
        self.ok("kill", "c", "KILL")
        self.wait_for("c", "stopped")
        harness.wait_until(lambda: not os.path.exists("/proc/%d/exe" % pid), "its monitor has ended")
        self.assertIn("container not running", self.oci("kill", "c", "TERM").stderr)
        self.ok("delete", "c")
        self.assertIn("container does not exist", self.oci("state", "c").stderr)
        self.ok("delete", "--force", "c")

    def test_exec(self):
        self.create("c", "sleep", "1000")
        self.ok("start", "c")
        done = self.oci("exec", "--env", "A=b", "--cwd", "/bin", "--user", "7:8", "c", "sh", "-c", "echo $A $PWD $(id -u) $(id -g); exit 4")
        self.assertEqual((4, "b /bin 7 8\n"), (done.returncode, done.stdout))
        process = os.path.join(self.folder, "process.json")
        with open(process, "w", encoding="utf-8") as file:
            json.dump({"args": ["sh", "-c", "echo from json"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}, file)
        pid_file = os.path.join(self.folder, "exec.pid")
        with open(os.path.join(self.folder, "exec.out"), "w+", encoding="utf-8") as out:
            subprocess.run([self.runtime, "--root", self.root, "exec", "--process", process, "--detach", "--pid-file", pid_file, "c"],
                           stdin=subprocess.DEVNULL, stdout=out, check=True, timeout=harness.PATIENCE)
            harness.wait_until(lambda: (out.seek(0), out.read())[1] == "from json\n", "its output is there")
        self.ok("delete", "--force", "c")

    def test_pause_and_resume(self):
        out, _, _ = self.create("c", "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done")
        self.ok("start", "c")
        harness.wait_until(lambda: os.path.getsize(out) > 0, "it counts")
        self.ok("pause", "c")
        self.assertEqual("paused", self.status("c"))
        # What it had written is on its way out; after that nothing comes.
        self.assertIn("only a running sandbox", self.oci("pause", "c").stderr)
        self.ok("resume", "c")
        size = os.path.getsize(out)
        harness.wait_until(lambda: os.path.getsize(out) > size, "it counts on")
        self.ok("delete", "--force", "c")

    def test_limits_are_kept_and_changed(self):
        path = "/sandboxd-oci-test-%d" % os.getpid()
        self.create("c", "sleep", "1000", linux={"cgroupsPath": path, "resources": {"memory": {"limit": 256 << 20}, "pids": {"limit": 5}}})
        self.ok("start", "c")
        done = self.oci("exec", "c", "sh", "-c", "sleep 9 & sleep 9 & sleep 9 & sleep 9 & sleep 9 & echo all")
        self.assertIn("can't fork", done.stderr)
        stats = json.loads(self.ok("events", "--stats", "c"))["data"]
        self.assertEqual(256 << 20, stats["memory"]["usage"]["limit"])
        self.assertEqual(5, stats["pids"]["limit"])
        self.ok("update", "--resources", "-", "c", input='{"memory": {"limit": 536870912}, "cpu": {"shares": 0}}')
        self.assertEqual(512 << 20, json.loads(self.ok("events", "--stats", "c"))["data"]["memory"]["usage"]["limit"])
        self.ok("delete", "--force", "c")
        for folder, names, _ in os.walk("/sys/fs/cgroup"):
            self.assertNotIn(path[1:], names, folder)

    def test_hooks_run_in_order_with_the_state(self):
        log = os.path.join(self.folder, "hooks")
        kinds = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
        hooks = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", "echo %s >> %s; tr -d '\\n ' >> %s; echo >> %s" % (kind, log, log, log)]}]
                 for kind in kinds}
        self.assertEqual(0, self.oci("run", "--bundle", self.bundle("true", hooks=hooks), "c").returncode)
        with open(log, encoding="utf-8") as file:
            lines = file.read().splitlines()
        self.assertEqual(kinds, lines[0::2])
        self.assertEqual(["creating", "creating", "creating", "running", "stopped"],
                         [json.loads(line)["status"] for line in lines[1::2]])

    def test_a_hook_that_fails_leaves_nothing(self):
        hooks = {"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", "echo no luck >&2; exit 9"]}]}
        done = self.oci("create", "--bundle", self.bundle("true", hooks=hooks), "c")
        self.assertIn("prestart hook /bin/sh ended with status 9: no luck", done.stderr)
        self.assertIn("does not exist", self.oci("state", "c").stderr)

    def test_a_terminal_goes_to_the_console_socket(self):
        path = os.path.join(self.folder, "console")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            bundle = self.bundle("sh", "-c", "stty size; read line; echo got $line", terminal=True)
            self.ok("create", "--bundle", bundle, "--console-socket", path, "c")
            connection, _ = server.accept()
            with connection:
                _, fds, _, _ = socket.recv_fds(connection, 64, 1)
        master = fds[0]
        self.ok("start", "c")
        os.write(master, b"hello\n")
        text = b""
        while b"got hello" not in text:
            text += os.read(master, 1000)
        self.assertRegex(text.decode(), r"\d+ \d+")
        self.wait_for("c", "stopped")
        os.close(master)
        self.ok("delete", "c")

    def test_a_dead_monitor_takes_its_container_with_it(self):
        _, _, pid = self.create("c", "sleep", "1000")
        self.ok("start", "c")
        os.kill(pid, signal.SIGKILL)
        self.wait_for("c", "stopped")
        self.ok("delete", "c")

    def test_a_container_outlives_the_daemon(self):
        out, _, pid = self.create("c", "sh", "-c", "until [ -e /go ]; do sleep 0.1; done; echo done")
        self.ok("start", "c")
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual("running", self.status("c"))
        self.assertTrue(os.path.exists("/proc/%d/exe" % pid))
        open(os.path.join(self.rootfs, "go"), "w", encoding="utf-8").close()
        self.wait_for("c", "stopped")
        harness.wait_until(lambda: open(out, encoding="utf-8").read() == "done\n", "its output came through")
        self.ok("delete", "c")

    def test_mistakes_are_named(self):
        self.assertIn("config.json", self.oci("create", "--bundle", "/no/such", "c").stderr)
        log = os.path.join(self.folder, "log")
        bundle = self.bundle("true", linux={"resources": {"hugepageLimits": [{"pageSize": "2MB", "limit": 5}]}})
        done = self.oci("--log", log, "--log-format", "json", "create", "--bundle", bundle, "c")
        self.assertEqual(1, done.returncode)
        self.assertIn("linux.resources.hugepageLimits", done.stderr)
        with open(log, encoding="utf-8") as file:
            entry = json.loads(file.read().splitlines()[-1])
        self.assertEqual("error", entry["level"])
        self.assertIn("hugepageLimits", entry["msg"])
        self.assertIn("--preserve-fds", self.oci("create", "--bundle", self.bundle("true"), "--preserve-fds", "1", "c").stderr)
        self.assertIn("no container id", self.oci("create", "--bundle", self.bundle("true"), "a/b").stderr)
        self.assertIn("systemd", self.oci("--systemd-cgroup", "state", "c").stderr)

    def test_features_is_json(self):
        features = json.loads(self.ok("features"))
        self.assertIn("prestart", features["hooks"])
        self.assertTrue(re.match(r"1\.", features["ociVersionMax"]))


class PrivateDaemonTest(engines.OciTestCase):
    """Without a daemon one is started under --root, and ends after its last container."""

    def test_it_comes_and_goes(self):
        prefix = os.path.join(self.folder, "prefix")
        os.makedirs(os.path.join(prefix, "bin"))
        os.makedirs(os.path.join(prefix, "libexec/sandboxd"))
        programs = self.daemon.programs
        for source, place in ((programs.sandboxd, "bin/sandboxd"), (engines.program("SANDBOXD_OCI"), "bin/sandboxd-oci"),
                              (programs.kernel, "libexec/sandboxd/sandbox-kernel"), (programs.gofer, "libexec/sandboxd/sandbox-gofer")):
            subprocess.run(["cp", source, os.path.join(prefix, place)], check=True)
        root = os.path.join(self.folder, "own")
        bundle = os.path.join(self.folder, "bundle")
        os.makedirs(bundle)
        oci = os.path.join(prefix, "bin/sandboxd-oci")
        engines.run(oci, "spec", "--bundle", bundle)
        with open(os.path.join(bundle, "config.json"), encoding="utf-8") as file:
            spec = json.load(file)
        spec["root"] = {"path": self.rootfs}
        spec["process"].update(terminal=False, args=["echo", "hello"])
        with open(os.path.join(bundle, "config.json"), "w", encoding="utf-8") as file:
            json.dump(spec, file)
        if os.path.exists("/run/sandboxd/sandboxd.sock"):
            self.skipTest("a sandboxd of this machine would be used")
        done = engines.run(oci, "--root", root, "--platform", harness.PLATFORM, "run", "--bundle", bundle, "c")
        self.assertEqual((0, "hello\n"), (done.returncode, done.stdout), done.stderr)
        own = os.path.join(root, ".sandboxd")
        with open(os.path.join(own, "sandboxd.log"), encoding="utf-8") as log:
            self.assertIn("ready", log.read())
        harness.wait_until(lambda: not os.path.exists(os.path.join(own, "s.sock")), "the private daemon has ended")


if __name__ == "__main__":
    testing.main()
