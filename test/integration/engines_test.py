#!/usr/bin/python3
"""Podman and Docker with sandboxd-oci as their runtime."""

import json
import os
import re
import subprocess
import unittest

import engines
import harness
import testing


class PodmanTest(engines.OciTestCase):
    def setUp(self):
        engines.need("podman", "conmon")
        super().setUp()
        self.addCleanup(self.remove_all)

    def podman(self, *arguments, **kwargs):
        return engines.run("podman", "--root", os.path.join(self.folder, "p"), "--runroot", os.path.join(self.folder, "pr"),
                           "--cgroup-manager=cgroupfs", "--runtime", self.runtime, *arguments, **kwargs)

    def run_it(self, *arguments, flags=(), **kwargs):
        return self.podman("run", "--rm", "--network", "none", *flags, "--rootfs", self.rootfs, *arguments, **kwargs)

    def remove_all(self):
        self.podman("rm", "--all", "--force", "--time", "0")
        engines.unmount_all(os.path.join(self.folder, "p"))
        engines.unmount_all(os.path.join(self.folder, "pr"))

    def test_run(self):
        done = self.run_it("echo", "hi")
        self.assertEqual((0, "hi\n"), (done.returncode, done.stdout), done.stderr)
        self.assertEqual(7, self.run_it("sh", "-c", "exit 7").returncode)
        self.assertTrue(self.run_it("uname", "-r").stdout.startswith("6.1"), "it is our kernel")

    def test_input_user_and_limits(self):
        done = self.run_it("sh", "-c", "cat; id -u; ulimit -n", flags=("-i", "--user", "1000", "--ulimit", "nofile=64:64"), input="in\n")
        self.assertEqual("in\n1000\n64\n", done.stdout, done.stderr)

    def test_volume_and_read_only(self):
        volume = os.path.join(self.folder, "volume")
        os.makedirs(volume)
        # A read-only root must have the places to mount on: nobody makes them (docs/integrations.md).
        for name in ("etc/hostname", "etc/hosts", "etc/resolv.conf", "run/.containerenv"):
            with open(os.path.join(self.rootfs, name), "a", encoding="utf-8"):
                pass
        done = self.run_it("sh", "-c", "echo new > /home/file; touch /x 2>&1", flags=("-v", volume + ":/home", "--read-only"))
        self.assertIn("touch: /x: Read-only", done.stdout + done.stderr)
        with open(os.path.join(volume, "file"), encoding="utf-8") as file:
            self.assertEqual("new\n", file.read())

    def test_detached_exec_stop_logs(self):
        done = self.podman("run", "-d", "--name", "web", "--network", "none", "--rootfs", self.rootfs,
                           "sh", "-c", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.1; done")
        self.assertEqual(0, done.returncode, done.stderr)
        done = self.podman("exec", "web", "sh", "-c", "echo inside; exit 3")
        self.assertEqual((3, "inside\n"), (done.returncode, done.stdout), done.stderr)
        harness.wait_until(lambda: "up" in self.podman("logs", "web").stdout, "it has begun")
        done = self.podman("stop", "web")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual("5", self.podman("inspect", "--format", "{{.State.ExitCode}}", "web").stdout.strip())
        self.assertEqual("up\nbye\n", self.podman("logs", "web").stdout)
        self.assertEqual(0, self.podman("rm", "web").returncode)

    def test_pause_and_kill(self):
        done = self.podman("run", "-d", "--name", "web", "--network", "none", "--rootfs", self.rootfs, "sleep", "1000")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual(0, self.podman("pause", "web").returncode)
        self.assertEqual("paused", self.podman("inspect", "--format", "{{.State.Status}}", "web").stdout.strip())
        self.assertEqual(0, self.podman("unpause", "web").returncode)
        self.assertEqual(0, self.podman("kill", "web").returncode)
        self.assertEqual("137", self.podman("wait", "web").stdout.strip())

    def test_a_program_that_is_not_there(self):
        done = self.run_it("/no/such/program")
        self.assertIn(done.returncode, (126, 127))
        self.assertIn("/no/such/program", done.stderr)


class DockerTest(engines.OciTestCase):
    def setUp(self):
        engines.need("dockerd", "docker", "containerd")
        super().setUp()
        config = os.path.join(self.folder, "docker.json")
        with open(config, "w", encoding="utf-8") as file:
            json.dump({"runtimes": {"sandboxd": {"path": self.runtime}}, "default-runtime": "sandboxd", "bridge": "none",
                       "iptables": False}, file)
        self.host = "unix://" + os.path.join(self.folder, "docker.sock")
        with open(os.path.join(self.folder, "dockerd.log"), "wb") as log:
            self.dockerd = subprocess.Popen(
                ["dockerd", "--config-file", config, "--data-root", os.path.join(self.folder, "data"), "--exec-root",
                 os.path.join(self.folder, "exec"), "--pidfile", os.path.join(self.folder, "docker.pid"), "-H", self.host],
                stdout=log, stderr=log)
        self.addCleanup(self.stop_dockerd)
        try:
            harness.wait_until(lambda: self.docker("version").returncode == 0 or self.dockerd.poll() is not None, "dockerd answers", 30)
        except TimeoutError:
            pass
        if self.docker("version").returncode != 0:
            with open(os.path.join(self.folder, "dockerd.log"), encoding="utf-8", errors="replace") as log:
                raise unittest.SkipTest("dockerd does not start here: " + log.read()[-500:])
        tar = os.path.join(self.folder, "image.tar")
        subprocess.run(["tar", "-C", self.rootfs, "-cf", tar, "."], check=True)
        done = self.docker("import", tar, "box")
        self.assertEqual(0, done.returncode, done.stderr)

    def stop_dockerd(self):
        for container in self.docker("ps", "-aq").stdout.split():
            self.docker("rm", "-f", container)
        self.dockerd.terminate()
        self.dockerd.wait(harness.PATIENCE)
        engines.unmount_all(os.path.join(self.folder, "data"))
        engines.unmount_all(os.path.join(self.folder, "exec"))

    def docker(self, *arguments, **kwargs):
        return engines.run("docker", "-H", self.host, *arguments, **kwargs)

    def test_run(self):
        done = self.docker("run", "--rm", "--network", "none", "box", "echo", "hi")
        self.assertEqual((0, "hi\n"), (done.returncode, done.stdout), done.stderr)
        self.assertEqual(7, self.docker("run", "--rm", "--network", "none", "box", "sh", "-c", "exit 7").returncode)
        done = self.docker("run", "--rm", "-i", "--network", "none", "--user", "1000", "--read-only", "box", "sh", "-c",
                           "cat; id -u; touch /x || echo refused", input="in\n")
        self.assertEqual("in\n1000\nrefused\n", done.stdout, done.stderr)

    def test_a_service(self):
        volume = os.path.join(self.folder, "volume")
        os.makedirs(volume)
        done = self.docker("run", "-d", "--name", "web", "--network", "none", "-m", "256m", "--cpus", "1.5", "--pids-limit", "20",
                           "-v", volume + ":/v", "box", "sh", "-c",
                           "trap 'echo bye; exit 5' TERM; echo up | tee /v/file; while :; do sleep 0.1; done")
        self.assertEqual(0, done.returncode, done.stderr)
        harness.wait_until(lambda: self.docker("logs", "web").stdout == "up\n", "it has begun")
        with open(os.path.join(volume, "file"), encoding="utf-8") as file:
            self.assertEqual("up\n", file.read())
        done = self.docker("exec", "web", "sh", "-c", "echo inside; exit 3")
        self.assertEqual((3, "inside\n"), (done.returncode, done.stdout), done.stderr)
        self.assertEqual(0, self.docker("pause", "web").returncode)
        self.assertEqual("paused", self.docker("inspect", "-f", "{{.State.Status}}", "web").stdout.strip())
        self.assertEqual(0, self.docker("unpause", "web").returncode)
        done = self.docker("update", "-m", "128m", "--memory-swap", "-1", "web")
        self.assertEqual(0, done.returncode, done.stderr)
        stats = self.docker("stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "web")
        self.assertTrue(re.search(r"128MiB", stats.stdout), stats.stdout + stats.stderr)
        self.assertEqual(0, self.docker("stop", "web").returncode)
        self.assertEqual("5", self.docker("inspect", "-f", "{{.State.ExitCode}}", "web").stdout.strip())
        self.assertEqual("up\nbye\n", self.docker("logs", "web").stdout)
        self.assertEqual(0, self.docker("rm", "web").returncode)

    def test_kill(self):
        done = self.docker("run", "-d", "--name", "web", "--network", "none", "box", "sleep", "1000")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual(0, self.docker("kill", "web").returncode)
        self.assertEqual("137", self.docker("wait", "web").stdout.strip())


if __name__ == "__main__":
    testing.main()
