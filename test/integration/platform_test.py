#!/usr/bin/python3
"""The choice of a platform: what is listed, what a sandbox gets, and what a wrong choice gets."""

import json
import os

import harness
import testing


class PlatformTest(harness.SandboxdTestCase):
    def bundle(self, annotations):
        folder = os.path.join(self.daemon.folder, "bundle")
        os.makedirs(folder, exist_ok=True)
        config = {"ociVersion": "1.0.2", "root": {"path": self.rootfs}, "annotations": annotations,
                  "process": {"cwd": "/", "args": ["/bin/true"], "user": {"uid": 0, "gid": 0}}}
        with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file)
        return folder

    def chosen(self, name):
        return [s["platform"] for s in self.daemon.list() if s["id"] == name][0]

    def test_every_platform_is_listed_with_a_reason_if_it_does_not_work(self):
        listed = self.daemon.platforms()
        names = [p["name"] for p in listed["platforms"]]
        self.assertIn("ptrace", names)
        self.assertIn("systrap", names)
        for platform in listed["platforms"]:
            self.assertTrue(platform.get("available") or platform.get("detail"), platform)
        self.assertIn(listed["auto_platform"], names)
        text = self.daemon.ctl("platforms", check=True).stdout
        self.assertIn("auto picks %s: " % listed["auto_platform"], text)

    def test_a_program_runs_on_every_one_that_works(self):
        for platform in self.daemon.platforms()["platforms"]:
            if not platform.get("available"):
                continue
            done = self.daemon.ctl("run", "--platform", platform["name"], "--rootfs", self.rootfs, "--", "echo", "hi")
            self.assertEqual(("hi\n", 0), (done.stdout, done.returncode), platform["name"] + ": " + done.stderr)

    def test_an_unknown_one_is_refused_with_the_names_there_are(self):
        done = self.daemon.ctl("run", "--platform", "xen", "--rootfs", self.rootfs, "--", "true")
        self.assertNotEqual(0, done.returncode)
        self.assertIn("unknown platform \"xen\"; it can be auto, ", done.stderr)

    def test_one_that_does_not_work_is_refused_with_the_alternative(self):
        broken = [p for p in self.daemon.platforms()["platforms"] if not p.get("available")]
        if not broken:
            self.skipTest("every platform works on this host")
        done = self.daemon.ctl("run", "--platform", broken[0]["name"], "--rootfs", self.rootfs, "--", "true")
        self.assertNotEqual(0, done.returncode)
        self.assertIn(broken[0]["detail"], done.stderr)
        self.assertIn("; use ", done.stderr)

    def test_the_annotation_of_a_bundle_chooses(self):
        self.daemon.ctl("create", "--id", "a", "--bundle", self.bundle({"dev.sandboxd.platform": "ptrace"}), check=True)
        self.assertEqual("ptrace", self.chosen("a")["name"])
        self.assertIn("annotation", self.chosen("a")["reason"])
        self.daemon.ctl("create", "--id", "b", "--platform", "auto", "--bundle", self.bundle({"dev.sandboxd.platform": "x"}),
                        check=True)
        self.assertEqual(self.daemon.platforms()["auto_platform"], self.chosen("b")["name"])
        done = self.daemon.ctl("create", "--id", "c", "--bundle", self.bundle({"dev.sandboxd.platform": "x"}))
        self.assertIn("config.json:annotations[\"dev.sandboxd.platform\"]: unknown platform", done.stderr)
        self.daemon.ctl("delete", "--force", "a", "b", check=True)


class DefaultPlatformTest(harness.SandboxdTestCase):
    daemon_flags = ("--default-platform", "ptrace")

    def test_the_daemon_s_default_is_used_and_shown(self):
        self.assertEqual(["ptrace"], [p["name"] for p in self.daemon.platforms()["platforms"] if p.get("is_default")])
        self.daemon.ctl("create", "--id", "a", "--rootfs", self.rootfs, "--", "true", check=True)
        chosen = self.daemon.list()[0]["platform"]
        self.assertEqual(("ptrace", "the daemon's default"), (chosen["name"], chosen["reason"]))
        self.daemon.ctl("delete", "--force", "a", check=True)


if __name__ == "__main__":
    testing.main()
