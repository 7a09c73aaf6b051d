#!/usr/bin/python3
"""Debian's own programs do in a sandbox what they do natively: same output, same exit status.

Each script runs twice from the same root file system: natively (chroot, with /proc), and in a sandbox.
"""

import os
import shutil
import subprocess
import tempfile
import textwrap
import unittest

import harness
import testing

# What makes output differ from run to run for reasons that are not the kernel's.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8",
    "TZ": "UTC", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0",
    "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
}


def run_natively(rootfs, argv):
    script = 'mount --make-rprivate / && mount -t proc proc "$1/proc" && r=$1 && shift && exec chroot "$r" "$@"'
    return subprocess.run(["unshare", "--mount", "--pid", "--fork", "--ipc", "--uts", "--net",
                           "/bin/sh", "-c", script, "sh", rootfs, *argv],
                          env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="replace", timeout=harness.PATIENCE * 3, check=False)


class ProgramsTest(harness.SandboxdTestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="sbx-programs-", dir="/tmp")
        os.chmod(cls.folder, 0o755)
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.native = harness.debian_rootfs(os.path.join(cls.folder, "native"))
        cls.sandboxed = harness.debian_rootfs(os.path.join(cls.folder, "sandboxed"))

    def same(self, script, shell=("/bin/bash", "-c")):
        """Runs a script both ways; the native run must succeed, and the other must equal it."""
        script = textwrap.dedent(script).strip()
        name = self.id().split(".")[-1]
        prepared = "set -e; mkdir /tmp/%s; cd /tmp/%s\n" % (name, name) if shell[0] == "/bin/bash" else ""
        argv = [*shell, prepared + script]
        native = run_natively(self.native, argv)
        self.assertEqual(0, native.returncode, "native run:\n" + native.stdout + native.stderr)
        done = self.run_program("/usr/bin/env", "-i", *("%s=%s" % kv for kv in ENVIRONMENT.items()), *argv,
                                rootfs=self.sandboxed, timeout=harness.PATIENCE * 3)
        self.assertEqual((native.stdout, native.returncode), (done.stdout, done.returncode), done.stderr)
        self.assertEqual(native.stderr, done.stderr)
        return done.stdout

    def python(self, script):
        return self.same(script, shell=("/usr/bin/python3", "-c"))

    def test_bash_pipelines(self):
        self.same("""
            seq 1000 | sort -rn | head -3
            printf 'b\\na\\nc\\n' | sort | tr a-z A-Z | paste -sd+
            set -o pipefail; (true | false | true) || echo "pipefail: $?"
            diff <(seq 3) <(seq 4) || echo "diff: $?"
            cat <<END
            here: $((6 * 7)) ${#PATH}
            END
            """)

    def test_bash_job_control(self):
        self.same("""
            exec 2>/dev/null  # bash names process ids there
            set -m
            sleep 1000 & job=$!
            kill -TERM $job; wait $job || echo "status $?"
            (exit 7) & wait $! || echo "status $?"
            sh -c 'kill -9 $$' || echo "status $?"
            trap 'echo usr1' USR1; kill -USR1 $$; echo after
            true | sleep 0 & wait; jobs; echo done
            """)

    def test_coreutils(self):
        self.same("""
            umask 022; mkdir -p d/e; echo hello > d/e/f; ln -s e/f d/s; ln d/e/f d/h
            stat -c '%n %F %s %h %a %U' d/e/f d/s d/h d
            cp -a d c; ls -lR c | awk '{ print $1, $2, $3, $5, $9 }'; readlink -f c/s
            mv c/e/f c/g; rm -r c; test ! -e c && echo gone
            head -c 100000 /dev/zero | sha256sum; seq 100000 | md5sum; seq 9 | shuf --random-source=/dev/zero | wc -l
            touch -d 2020-02-03T04:05:06Z d/e/f; date -u -r d/e/f; truncate -s 1M big; du --apparent-size -k big
            chmod 4751 d/e/f; chown 12:34 d/e/f; stat -c '%a %u %g' d/e/f; id -u; nproc > /dev/null; tty || true
            dd if=/dev/zero of=z bs=4096 count=16 status=none; cmp z <(head -c 65536 /dev/zero) && echo same
            timeout 0.1 sleep 100 || echo "timeout: $?"
            """)

    def test_find_sed_awk(self):
        self.same("""
            find /etc -xdev -type f -name '*.conf' | sort
            find /usr/include -name 'std*.h' -size -20k | sort | xargs wc -l
            sed -n 's/^\\([a-z]*\\):.*:\\([^:]*\\)$/\\1 uses \\2/p' /etc/passwd
            awk -F: '{ n[$NF]++ } END { for (s in n) print n[s], s }' /etc/passwd | sort
            sed -i s/a/b/g <(true) 2>/dev/null || echo "sed: not a file"
            """)

    def test_tar_and_xz(self):
        self.same("""
            tar -C /usr/include -cf a.tar linux; tar -tf a.tar | sort | sha256sum
            xz -T2 -k a.tar; xz -l --robot a.tar.xz | awk '$1 == "file" { print $3, $5 }'
            mkdir out; tar -C out -xJf a.tar.xz; diff -r out/linux /usr/include/linux && echo equal
            gzip -c a.tar | zcat | cmp - a.tar && echo equal
            """)

    def test_make_in_parallel(self):
        self.same("""
            printf 'all: $(shell seq -f out%%g 12)\\n\\tcat $^ | sort -n | tail -1\\nout%%:\\n\\t@echo $* > $@\\n' > Makefile
            make -j2 | tail -1
            make -j2 | tail -1
            printf 'x:\\n\\tfalse\\n' > Broken; make -f Broken 2>/dev/null || echo "make: $?"
            """)

    def test_gcc_compiles_and_the_program_runs(self):
        self.same("""
            cat > a.c <<'END'
            #include <pthread.h>
            #include <stdio.h>
            #include <math.h>
            static void *add(void *p) { for (int i = 0; i < 1000; i++) __atomic_add_fetch((int *)p, 1, __ATOMIC_SEQ_CST); return p; }
            int main(int argc, char **argv) {
              int n = 0; pthread_t t[4];
              for (int i = 0; i < 4; i++) pthread_create(&t[i], 0, add, &n);
              for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
              printf("%s %d %d %.3f\\n", argv[0], argc, n, sqrt(argc)); return 3;
            }
            END
            gcc -O2 -Wall -pthread -o a a.c -lm; ./a x y || echo "status $?"
            gcc -static -pthread -o s a.c -lm; ./s || echo "status $?"
            echo 'int main( {' > b.c; gcc b.c 2>/dev/null || echo "gcc: $?"
            """)

    def test_git(self):
        self.same("""
            git init -q -b main r; cd r; git config core.autocrlf false
            for i in 1 2 3; do echo $i > f$i; git add f$i; git commit -q -m "commit $i"; done
            git log --format='%H %s'; git status --short; echo x >> f1; git diff --stat; git stash -q; git stash list
            cd ..; git clone -q r c; git -C c log --oneline | wc -l; git -C c fsck 2>&1
            git -C c checkout -q -b side HEAD~1; git -C c merge -q --no-edit main; git -C c rev-parse HEAD; git -C c gc -q
            """)

    def test_sqlite3_inserts(self):
        self.same("""
            { echo 'create table t(a integer primary key, b text); begin;'
              seq 10000 | sed "s/.*/insert into t values(&, 'row &');/"; echo 'commit;'; } > in.sql
            sqlite3 t.db < in.sql
            sqlite3 t.db 'select count(*), sum(a), max(b) from t; pragma integrity_check'
            sqlite3 t.db 'pragma journal_mode=wal; create index i on t(b); select a from t where b = "row 77"'
            """)

    def test_perl(self):
        self.same("""
            perl -e 'my %h; $h{length $_}++ for split /\\W+/, join "", <>; print "$_ $h{$_}\\n" for sort { $a <=> $b } keys %h' /etc/services /etc/passwd
            perl -e 'pipe(R, W); if (!fork) { print W "from $_\\n" for 1..3; exit 4 } close W; print <R>; wait; print $? >> 8, "\\n"'
            perl -MPOSIX -e 'print +(uname())[0], " ", strftime("%Y", gmtime 0), "\\n"; $SIG{ALRM} = sub { print "alarm\\n"; exit }; alarm 1; sleep 100'
            """)

    def test_python_threads(self):
        self.python("""
            import threading, queue
            q, total, lock = queue.Queue(), [0], threading.Lock()
            def work():
                while (n := q.get()) is not None:
                    with lock: total[0] += n
            threads = [threading.Thread(target=work) for _ in range(8)]
            [t.start() for t in threads]
            [q.put(n) for n in range(5000)]
            [q.put(None) for _ in threads]
            [t.join() for t in threads]
            event = threading.Event(); threading.Timer(0.01, event.set).start()
            print(total[0], event.wait(60))
            """)

    def test_python_subprocess(self):
        self.python("""
            import subprocess, signal, os
            print(subprocess.run(["sh", "-c", "cat; exit 5"], input=b"x" * 200000, capture_output=True).stdout.count(b"x"))
            p = subprocess.Popen(["sleep", "1000"]); p.send_signal(signal.SIGTERM); print(p.wait())
            try: subprocess.run(["sleep", "1000"], timeout=0.05)
            except subprocess.TimeoutExpired: print("timeout")
            try: subprocess.run(["/no/such"])
            except FileNotFoundError as e: print(e)
            print(subprocess.check_output("ls / | wc -l; echo $0", shell=True, text=True))
            pid = os.fork()
            if pid == 0: os._exit(9)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            """)

    def test_python_sqlite3(self):
        self.python("""
            import sqlite3, os
            path = "/tmp/py.db"
            os.path.exists(path) and os.unlink(path)
            db = sqlite3.connect(path)
            db.execute("create table t(a, b)")
            with db: db.executemany("insert into t values(?, ?)", ((i, str(i) * 3) for i in range(10000)))
            print(db.execute("select count(*), sum(a), max(length(b)) from t").fetchone())
            other = sqlite3.connect(path, timeout=0)
            db.execute("begin exclusive")
            try: other.execute("insert into t values(1, 2)")
            except sqlite3.OperationalError as e: print(e)
            """)

    def test_python_asyncio(self):
        self.python("""
            import asyncio, os
            path = "/tmp/py.sock"
            os.path.exists(path) and os.unlink(path)
            async def serve(reader, writer):
                while line := await reader.readline(): writer.write(line.upper())
                writer.close()
            async def ask(n):
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(b"line %d\\n" % n); writer.write_eof()
                return (await reader.read()).decode().strip()
            async def main():
                async with await asyncio.start_unix_server(serve, path):
                    print(await asyncio.gather(*(ask(n) for n in range(20))))
                child = await asyncio.create_subprocess_exec("echo", "child", stdout=asyncio.subprocess.PIPE)
                print((await child.communicate())[0], child.returncode)
                try: await asyncio.wait_for(asyncio.sleep(100), 0.01)
                except asyncio.TimeoutError: print("timeout")
            asyncio.run(main())
            """)


if __name__ == "__main__":
    testing.main()
