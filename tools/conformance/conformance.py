#!/usr/bin/python3
"""Runs a folder of static GoogleTest programs natively and in a sandbox, and prints where they differ."""

import argparse
import concurrent.futures
import fnmatch
import os
import sys
import threading
import time

_HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [_HERE, os.path.join(_HERE, "../../test/util")]

import gtest_run  # noqa: E402  (found by the line above)
import harness  # noqa: E402
import places  # noqa: E402
import report  # noqa: E402


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tools/dev conformance", description=__doc__)
    parser.add_argument("folder", metavar="DIR", help="every executable file in it is a program; subfolders are the programs' data")
    parser.add_argument("--platform", default=harness.PLATFORM, help="of the sandboxes (%(default)s)")
    parser.add_argument("--filter", default="*", help="names of programs, or PROGRAM:CASE, with * and ?; several with commas")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="programs at once (%(default)s)")
    parser.add_argument("--time-limit", type=float, default=30, help="seconds that a case may take (%(default)s)")
    parser.add_argument("--retries", type=int, default=1, help="runs of a failed case by itself (%(default)s)")
    parser.add_argument("--rootfs", help="root file system of the sandboxes (a busybox one)")
    parser.add_argument("--sandbox-flag", action="append", default=[], help="passed to `sandboxctl run`; may be repeated")
    parser.add_argument("--native-from", metavar="FILE", help="take native results from what --json wrote earlier")
    parser.add_argument("--json", metavar="FILE", help="write every result, with the output of what did not pass")
    parser.add_argument("--native-only", action="store_true", help="run natively, and nothing else")
    return parser.parse_args(arguments)


def chosen(patterns, binary, cases):
    """The cases of a program that the patterns want."""
    wanted = []
    for pattern in patterns.split(","):
        program, _, case = pattern.partition(":")
        if fnmatch.fnmatch(binary, program):
            wanted += [c for c in cases if fnmatch.fnmatch(c, case or "*") and c not in wanted]
    return wanted


class Run:
    def __init__(self, options):
        self.options = options
        self.folder = os.path.abspath(options.folder)
        self.native = places.Native(self.folder)
        self.earlier = report.load(options.native_from).get("native", {}) if options.native_from else {}
        self._print_lock = threading.Lock()

    def say(self, text):
        with self._print_lock:
            print(text, file=sys.stderr, flush=True)

    def binaries(self):
        patterns = [p.partition(":")[0] for p in self.options.filter.split(",")]
        return [n for n in sorted(os.listdir(self.folder))
                if os.path.isfile(os.path.join(self.folder, n)) and os.access(os.path.join(self.folder, n), os.X_OK)
                and any(fnmatch.fnmatch(n, p) for p in patterns)]

    def one(self, binary, sandbox):
        """(native results, sandbox results) of a program."""
        options = self.options
        native = self.earlier.get(binary)
        if native is None:
            cases = chosen(options.filter, binary, gtest_run.cases_of(self.native.list(binary, options.time_limit)))
            native = gtest_run.run_binary(self.native, binary, cases, options.time_limit, options.retries) if cases else {}
        else:
            native = {c: native[c] for c in chosen(options.filter, binary, list(native))}
        # What does not pass natively says nothing about the sandbox.
        cases = [c for c, r in native.items() if r.outcome == gtest_run.PASS]
        if not cases or sandbox is None:
            self.say("%-48s %4d of %4d natively" % (binary, len(cases), len(native)))
            return native, {}
        started = time.monotonic()
        inside = gtest_run.run_binary(sandbox, binary, cases, options.time_limit, options.retries)
        passes, same, _, _ = report.row(native, inside)
        self.say("%-48s %4d of %4d  %6.1f s" % (binary, same, passes, time.monotonic() - started))
        return native, inside

    def all(self, sandbox):
        results = {"native": {}, self.options.platform: {}}
        with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
            futures = {binary: pool.submit(self.one, binary, sandbox) for binary in self.binaries()}
            for binary, future in futures.items():
                results["native"][binary], results[self.options.platform][binary] = future.result()
        return results


def main(arguments):
    options = parse(arguments)
    run = Run(options)
    if not run.binaries():
        sys.exit("conformance: no executable file in %s matches %s" % (options.folder, options.filter))
    if options.native_only:
        results = run.all(None)
    else:
        daemon = harness.Daemon()
        try:
            daemon.start()
            rootfs = options.rootfs or harness.busybox_rootfs(os.path.join(daemon.folder, "rootfs"))
            os.makedirs(os.path.join(rootfs, "mnt"), exist_ok=True)
            results = run.all(places.Sandbox(daemon, options.platform, rootfs, run.folder, options.sandbox_flag))
        finally:
            try:
                daemon.stop()
            except harness.Left as left:
                run.say("conformance: %s" % left)
    if options.json:
        report.save(options.json, results)
    if options.native_only:
        print("%d cases pass natively" % sum(report.row(r, {})[0] for r in results["native"].values()))
        return 0
    native, inside = results["native"], results[options.platform]
    print(report.differences(native, inside))
    print(report.table(native, inside, "native Linux and a sandbox on %s" % options.platform))
    return 0 if all(report.row(native[b], inside.get(b, {}))[2] == 0 for b in native) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
