#!/usr/bin/python3
"""Measures sandboxd beside native Linux and its peers: `tools/dev bench`.

All environments take turns within a round, so that what else the machine does hits all of them alike.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import environments  # noqa: E402
import processes  # noqa: E402
import report  # noqa: E402
from arithmetic import Results, parse  # noqa: E402

ROOT = os.environ.get("BUILD_WORKSPACE_DIRECTORY") or os.path.realpath(
    os.path.join(os.path.dirname(os.path.realpath(__file__)), "../.."))
PROGRAMS = {"sandboxd": "daemon/sandboxd", "sandboxctl": "client/cli/sandboxctl",
            "sandbox-kernel": "kernel/boot/sandbox-kernel", "sandbox-gofer": "gofer/server/sandbox-gofer"}

# Whole programs, in the Debian root file system of the program tests. Each leaves nothing behind.
SCRIPTS = [
    ("python_start", "python3 -c pass", "start python3 and end"),
    ("gcc_build", "cd /tmp && for i in 1 2 3 4; do printf '#include <stdio.h>\\nint f%d(int x){return printf(\"%%d\",x);}\\n'"
     " $i > b$i.c; done; gcc -O2 -c b1.c b2.c b3.c b4.c && rm -f b?.c b?.o", "compile four small C files"),
    ("tar_tree", "tar cf - /usr/lib/python3* /usr/include | cat > /dev/null", "tar of a tree of some thousand files"),
    ("sqlite", "rm -f /tmp/b.db; { echo 'create table t(a integer primary key, b text); begin;'; i=0; while [ $i -lt 3000 ];"
     " do echo \"insert into t(b) values('row $i');\"; i=$((i+1)); done; echo 'commit; select count(*), sum(length(b)) from"
     " t;'; } | sqlite3 /tmp/b.db > /dev/null; i=0; while [ $i -lt 40 ]; do echo \"insert into t(b) values('x');\";"
     " i=$((i+1)); done | sqlite3 /tmp/b.db; rm -f /tmp/b.db", "3000 rows in one transaction, 40 in their own"),
    ("sort", "seq 300000 | sort -k1.3 > /dev/null", "sort 300,000 lines"),
    ("shell_loop", "i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done", "a shell that runs true 100 times"),
]
LIFE = [("create_start_exit", "ms", "create, start and end a sandbox with /bin/true"),
        ("idle_private", "MiB", "private memory of an idle sandbox, all its host processes"),
        ("idle_pss", "MiB", "proportional memory of the same"),
        ("idle_cpu", "ms/s", "processor time of an idle sandbox with 20 sleeping threads"),
        ("idle_switches", "/s", "voluntary context switches of the same")]


def say(text):
    print("bench: " + text, file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(prog="tools/dev bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round with little time a benchmark: a first look")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (5)")
    parser.add_argument("--ms", type=int, help="milliseconds a micro-benchmark measures (60)")
    parser.add_argument("--only", default="", help="comma-separated names of micro-benchmarks, and no others")
    parser.add_argument("--on", default="", help="comma-separated environments, besides native (all there are)")
    parser.add_argument("--no-programs", action="store_true", help="without whole programs")
    parser.add_argument("--no-life", action="store_true", help="without start times, memory and idle processor time")
    parser.add_argument("--runsc", help="path of runsc (else PATH is searched)")
    parser.add_argument("--runc", help="path of runc (else PATH is searched)")
    parser.add_argument("--prefix", help="measure an installation instead of what Bazel has built")
    parser.add_argument("--out", default=".cache/bench", help="folder for results.json, results.svg and table.md")
    parser.add_argument("--from", dest="source", help="measure nothing: read this results.json")
    parser.add_argument("--write-docs", action="store_true", help="write docs/performance.md and its chart anew")
    args = parser.parse_args()
    args.rounds = args.rounds or (1 if args.quick else 5)
    args.ms = args.ms or (15 if args.quick else 60)
    return args


def programs_of(args):
    if args.prefix:
        return {n: os.path.join(args.prefix, "bin" if n in ("sandboxd", "sandboxctl") else "libexec/sandboxd", n)
                for n in PROGRAMS}
    return {n: os.path.abspath(p) for n, p in PROGRAMS.items()}


def rootfs_small(folder):
    path = os.path.join(folder, "small")
    subprocess.run(["tools/lib/busybox_rootfs", path], check=True)
    return path


def rootfs_debian(folder, cache):
    path = os.path.join(folder, "debian")
    sys.path.insert(0, os.path.join(ROOT, "test/util"))
    from harness import DEBIAN_PACKAGES  # the same tree as the program tests, so that it is built once
    done = subprocess.run(["test/util/debian_rootfs", "--include", ",".join(DEBIAN_PACKAGES), path], check=False,
                          env={"SANDBOXD_ROOTFS_CACHE": cache, **os.environ})
    return path if done.returncode == 0 else None


def prepare_rootfs(path):
    shutil.copy("tools/bench/micro", os.path.join(path, "bin/micro"))
    for name in ("tmp", "proc", "dev", "dev/shm"):
        os.makedirs(os.path.join(path, name), exist_ok=True)
    os.chmod(os.path.join(path, "tmp"), 0o1777)


def choose(args, daemon, folder, small):
    """(environments that measure programs, those that only measure life)"""
    wanted = [n for n in args.on.split(",") if n]
    found = []
    for name, reason in daemon.platforms().items():
        if reason:
            say("%s is left out: %s" % (name, reason))
        else:
            found.append(environments.Sandboxd(name, daemon, folder))
    runsc = environments.find("runsc", args.runsc)
    for platform in ("systrap", "ptrace", "kvm") if runsc else ():
        flags = ["--platform=" + platform, "--network=none", "--ignore-cgroups"]
        found.append(environments.Oci("runsc " + platform, runsc, flags, folder))
    runc = environments.find("runc", args.runc)
    if runc:
        found.append(environments.Oci("runc", runc, [], folder))
    usable = []
    for environment in found:
        if wanted and environment.name not in wanted:
            continue
        if environment.name == "runsc ptrace" and not wanted:
            continue  # slower than its systrap in everything
        reason = environments.works(environment, small)
        if reason:
            say("%s is left out: %s" % (environment.name, reason))
        else:
            usable.append(environment)
    return usable


def micro_round(results, environment, small, args):
    flags = ["--ms", str(args.ms)] + [n for n in args.only.split(",") if n]
    done = environment.run(small, "/bin/micro", *flags)
    values, failures = parse(done.stdout)
    for name, (unit, value) in values.items():
        results.add(environment.name, name, unit, value)
    for name, why in failures.items():
        results.fail(environment.name, name, why)
    if done.returncode != 0:
        say("%s: micro ended with status %d: %s" % (environment.name, done.returncode, done.stderr[-500:]))


def program_round(results, environment, debian, args):
    done = environment.run(debian, "/bin/micro", "--programs", "1" if args.quick else "2",
                           *("%s=%s" % (name, script) for name, script, _ in SCRIPTS))
    values, failures = parse(done.stdout)
    for name, (unit, value) in values.items():
        results.add(environment.name, name, unit, value)
    for name, why in failures.items():
        results.fail(environment.name, name, why)


def start_round(results, environment, small, count):
    for _ in range(count):
        before = time.monotonic()
        done = environment.run(small, "/bin/true")
        if done.returncode != 0:
            results.fail(environment.name, "create_start_exit", done.stderr.strip()[-200:])
            return
        results.add(environment.name, "create_start_exit", "ms", (time.monotonic() - before) * 1e3)


def idle(results, environment, small, seconds):
    """An idle sandbox: its memory with one thread, its processor time with 20 of them."""
    for threads in (1, 20):
        started = environment.start(small, "/bin/micro", "--sleepers", str(threads))
        try:
            if started.stdout.readline().strip() != "sleeping":
                results.fail(environment.name, "idle_private", "it did not start")
                return
            time.sleep(1.5)  # what follows a start is not idleness
            pids = environment.pids(started)
            if threads == 1:
                private, proportional = processes.memory_kib(pids)
                results.add(environment.name, "idle_private", "MiB", private / 1024)
                results.add(environment.name, "idle_pss", "MiB", proportional / 1024)
                continue
            cpu, (voluntary, _) = processes.cpu_ns(pids), processes.switches(pids)
            time.sleep(seconds)
            results.add(environment.name, "idle_cpu", "ms/s", (processes.cpu_ns(pids) - cpu) / 1e6 / seconds)
            results.add(environment.name, "idle_switches", "/s", (processes.switches(pids)[0] - voluntary) / seconds)
        finally:
            environment.stop(started)


def describe(results, args):
    listed = subprocess.run(["tools/bench/micro", "--list"], capture_output=True, text=True, check=True).stdout
    only = [n for n in args.only.split(",") if n]
    for line in listed.splitlines():
        name, unit, what = line.split("\t")
        if not only or name in only:
            results.describe(name, unit, what)
    for name, _, what in SCRIPTS:
        results.describe(name, "ms", what)
    for name, unit, what in LIFE:
        results.describe(name, unit, what)


def measure(args, folder):
    results = Results(processes.machine(), {"rounds": args.rounds, "ms": args.ms})
    describe(results, args)
    small = rootfs_small(folder)
    prepare_rootfs(small)
    debian = None if args.no_programs or args.only else rootfs_debian(folder, os.path.join(ROOT, ".cache/rootfs"))
    if debian:
        prepare_rootfs(debian)
    daemon = environments.Daemon(programs_of(args), folder)
    try:
        native = environments.Native("native", folder)
        results.environments.append("native")
        all_of_them = [native] + choose(args, daemon, folder, small)
        guests = [e for e in all_of_them if e.name != "runc"]  # runc's programs run on the host's kernel
        for number in range(args.rounds):
            for environment in guests:
                say("round %d of %d: %s" % (number + 1, args.rounds, environment.name))
                micro_round(results, environment, small, args)
                if debian:
                    program_round(results, environment, debian, args)
            if not args.no_life and not args.only:
                for environment in all_of_them[1:]:
                    start_round(results, environment, small, 3 if args.quick else 5)
        if not args.no_life and not args.only:
            for environment in guests[1:]:
                say("idle: " + environment.name)
                idle(results, environment, small, 3 if args.quick else 10)
    finally:
        daemon.close()
    return results


def write(args, results):
    out = os.path.join(ROOT, args.out)
    os.makedirs(out, exist_ok=True)
    files = {"results.json": json.dumps(results.to_json(), indent=1) + "\n", "results.svg": report.svg(results),
             "table.md": report.markdown_table(report.rows(results))}
    for name, text in files.items():
        with open(os.path.join(out, name), "w", encoding="utf-8") as file:
            file.write(text)
    say("results.json, results.svg and table.md are in " + out)
    if args.write_docs:
        page = os.path.join(ROOT, "docs/performance.md")
        with open(page, encoding="utf-8") as file:
            text = file.read()
        with open(page, "w", encoding="utf-8") as file:
            file.write(report.replace_section(text, report.measured_section(results, "systrap", "runsc systrap")))
        shutil.copy(os.path.join(out, "results.svg"), os.path.join(ROOT, "docs/performance.svg"))
        say("wrote docs/performance.md and docs/performance.svg")


def main():
    args = arguments()
    if args.source:
        with open(args.source, encoding="utf-8") as file:
            results = Results.from_json(json.load(file))
    else:
        if os.geteuid() != 0:
            sys.exit("bench: only root can run programs natively in the same root file system")
        folder = tempfile.mkdtemp(prefix="sbx-bench-", dir="/tmp")
        os.chmod(folder, 0o755)
        try:
            results = measure(args, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print(report.text_table(report.rows(results)))
    ours = [e for e in results.environments if e in ("systrap", "kvm", "ptrace")]
    if ours:
        print(report.text_table(report.goal_rows(results, ours[0])))
    write(args, results)


if __name__ == "__main__":
    main()
