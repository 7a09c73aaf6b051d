#!/usr/bin/python3
"""Builds the wheel: the sandboxd package and what protoc makes of proto/sandboxd/v1. Standard library only.

As a PEP 517 backend (`pip install client/python` in a checkout) it needs `protoc` and `grpc_python_plugin` (Debian:
protobuf-compiler, protobuf-compiler-grpc) or the Python package grpcio-tools. From the command line, for Bazel:

usage: build_backend.py --root FOLDER_WITH_PROTO_AND_CLIENT --out WHEEL
"""

import argparse
import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
NAME = "sandboxd"
_SAME_TIME = (1980, 1, 1, 0, 0, 0)  # two builds of the same source are the same bytes

# Where a .proto of the repository goes in the package. Renamed: `proto` is another project's module, and google.rpc
# may be registered already by the program's own copy of these messages.
_STAGED = {"proto/sandboxd/v1": "sandboxd/v1", "proto/google/rpc": "sandboxd/rpc"}


def version(root):
    with open(os.path.join(root, "client/python/sandboxd/__init__.py"), encoding="utf-8") as file:
        return re.search(r'__version__ = "(.*)"', file.read()).group(1)


def _protoc(stage, out, files):
    arguments = ["-I" + stage, "--python_out=" + out, "--pyi_out=" + out]
    plugin, protoc = shutil.which("grpc_python_plugin"), shutil.which("protoc")
    grpc = ["--grpc_out=" + out, "--plugin=protoc-gen-grpc=%s" % plugin]
    if protoc and plugin:
        command = [protoc, "-I/usr/include"] + grpc
    else:
        try:
            import grpc_tools
        except ImportError:
            sys.exit("building this package needs protoc and grpc_python_plugin (Debian: protobuf-compiler, "
                     "protobuf-compiler-grpc) or the Python package grpcio-tools")
        command = [sys.executable, "-m", "grpc_tools.protoc", "--grpc_python_out=" + out,
                   "-I" + os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")]
    subprocess.run(command + arguments + files, check=True)


def generate(root, out):
    """Writes sandboxd/v1/*_pb2.py, *_pb2_grpc.py, *_pb2.pyi and sandboxd/rpc/* under `out`."""
    with tempfile.TemporaryDirectory() as stage:
        files = []
        for source, target in _STAGED.items():
            os.makedirs(os.path.join(stage, target))
            for name in sorted(os.listdir(os.path.join(root, source))):
                if not name.endswith(".proto"):
                    continue
                with open(os.path.join(root, source, name), encoding="utf-8") as file:
                    text = file.read()
                for old, new in _STAGED.items():
                    text = text.replace('import "%s/' % old, 'import "%s/' % new)
                text = text.replace("package google.rpc;", "package sandboxd.rpc;")
                files.append(os.path.join(stage, target, name))
                with open(files[-1], "w", encoding="utf-8") as file:
                    file.write(text)
        _protoc(stage, out, files)
    for target in _STAGED.values():
        for name in os.listdir(os.path.join(out, target)):
            path = os.path.join(out, target, name)
            # Files without a service get an empty _pb2_grpc.py from the plugin.
            if name.endswith("_grpc.py") and os.path.getsize(path) < 250:
                os.unlink(path)
        with open(os.path.join(out, target, "__init__.py"), "w", encoding="utf-8"):
            pass


def _metadata(root):
    with open(os.path.join(root, "client/python/README.md"), encoding="utf-8") as file:
        readme = file.read()
    return ("Metadata-Version: 2.1\nName: %s\nVersion: %s\nSummary: Client of the sandboxd daemon, which runs untrusted "
            "programs in sandboxes\nLicense: Apache-2.0\nRequires-Python: >=3.9\nRequires-Dist: grpcio>=1.51\n"
            "Requires-Dist: protobuf>=3.20.2\nClassifier: Typing :: Typed\nDescription-Content-Type: text/markdown\n\n%s"
            % (NAME, version(root), readme))


def wheel_name(root):
    return "%s-%s-py3-none-any.whl" % (NAME, version(root))


def make_wheel(root, path):
    info = "%s-%s.dist-info" % (NAME, version(root))
    package = os.path.join(root, "client/python/sandboxd")
    with tempfile.TemporaryDirectory() as made:
        generate(root, made)
        entries = {}
        for name in os.listdir(package):
            if name.endswith(".py") or name == "py.typed":
                with open(os.path.join(package, name), "rb") as file:
                    entries["sandboxd/" + name] = file.read()
        for folder, _, names in os.walk(made):
            for name in names:
                full = os.path.join(folder, name)
                with open(full, "rb") as file:
                    entries[os.path.relpath(full, made)] = file.read()
    entries[info + "/METADATA"] = _metadata(root).encode()
    entries[info + "/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: sandboxd\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name in sorted(entries):
            digest = base64.urlsafe_b64encode(hashlib.sha256(entries[name]).digest()).rstrip(b"=").decode()
            record.append("%s,sha256=%s,%d" % (name, digest, len(entries[name])))
            _write(wheel, name, entries[name])
        record.append(info + "/RECORD,,")
        _write(wheel, info + "/RECORD", "\n".join(record).encode() + b"\n")


def _write(wheel, name, data):
    entry = zipfile.ZipInfo(name, _SAME_TIME)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    wheel.writestr(entry, data)


# PEP 517.

def _checkout():
    root = os.path.dirname(os.path.dirname(HERE))
    if not os.path.isdir(os.path.join(root, "proto/sandboxd/v1")):
        sys.exit("this package is built in a checkout of sandboxd, or take a wheel that was built there")
    return root


def get_requires_for_build_wheel(config_settings=None):
    return [] if shutil.which("grpc_python_plugin") else ["grpcio-tools"]


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    root = _checkout()
    make_wheel(root, os.path.join(wheel_directory, wheel_name(root)))
    return wheel_name(root)


def build_sdist(sdist_directory, config_settings=None):
    raise NotImplementedError("sandboxd's Python client has wheels only: `pip wheel client/python`")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", required=True)
    parser.add_argument("--out", required=True)
    given = parser.parse_args()
    make_wheel(given.root, given.out)
