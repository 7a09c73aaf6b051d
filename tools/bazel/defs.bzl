"""The build rules of this repository: native cc_* with our flags, and protobuf by the system's protoc.

Code of the kernel, the platforms and the gofer is compiled without exceptions and without RTTI
(STYLE.md, rule 11); which folders these are is decided here, once. A target elsewhere can ask for it
with `no_rtti_exceptions = True`.
"""

_COPTS = [
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-missing-field-initializers",  # designated initializers leave the rest zero on purpose
    "-fno-strict-aliasing",  # ABI structs are read from and written to byte buffers
]

_SMALL_PROCESS_COPTS = [
    "-fno-exceptions",
    "-fno-rtti",
]

_SMALL_PROCESS_FOLDERS = ["kernel", "platform", "gofer"]

# Of the processes that every sandbox has: without a dynamic linker they start milliseconds sooner and have less
# memory to themselves. Optimised only, since sanitizers need the dynamic linker. Debian's gold can't make them.
SMALL_PROCESS_LINKOPTS = select({
    "//tools/bazel:optimised": [
        "-static-pie",
        "-fuse-ld=bfd",
    ],
    "//conditions:default": [],
})

# bfd knows no --start-lib.
SMALL_PROCESS_FEATURES = ["-supports_start_end_lib"]

def _copts(copts, no_rtti_exceptions):
    if no_rtti_exceptions == None:
        no_rtti_exceptions = native.package_name().split("/")[0] in _SMALL_PROCESS_FOLDERS
    return _COPTS + (_SMALL_PROCESS_COPTS if no_rtti_exceptions else []) + (copts or [])

def sbx_cc_library(name, copts = None, no_rtti_exceptions = None, linkstatic = True, **kwargs):
    native.cc_library(
        name = name,
        copts = _copts(copts, no_rtti_exceptions),
        linkstatic = linkstatic,
        **kwargs
    )

def sbx_cc_binary(name, copts = None, no_rtti_exceptions = None, **kwargs):
    native.cc_binary(
        name = name,
        copts = _copts(copts, no_rtti_exceptions),
        **kwargs
    )

def sbx_cc_test(name, deps = None, copts = None, no_rtti_exceptions = None, gtest_main = True, size = "small", **kwargs):
    """A GoogleTest. `gtest_main = False` when the test has a main of its own."""
    gtest = ["//tools/deps:gtest"] + (["//tools/deps:gtest_main"] if gtest_main else [])
    deps = deps or []
    native.cc_test(
        name = name,
        copts = _copts(copts, no_rtti_exceptions),
        linkstatic = True,
        size = size,
        deps = deps + [d for d in gtest if d not in deps],
        **kwargs
    )

def _protos_of(label):
    if ":" not in label:
        label = label + ":" + label.split("/")[-1]
    return label + "__protos"

def sbx_proto_library(name, srcs, deps = None, lite = False, grpc = False, visibility = None, **kwargs):
    """C++ from .proto files, through the system's protoc.

    Import paths and include paths start at the repository root: "proto/control/control.proto" gives
    "proto/control/control.pb.h" and, with grpc, "proto/control/control.grpc.pb.h".

    Args:
      name: the cc_library; `name__protos` is the filegroup of this and all imported .proto files.
      srcs: .proto files of this package.
      deps: sbx_proto_library targets that these import. Well-known types need none.
      lite: generate for the lite runtime (sandbox-kernel), whatever the file says.
      grpc: generate services too.
      visibility: of the library and of `name__protos`.
      **kwargs: passed to cc_library.
    """
    deps = deps or []
    stems = [s[:-len(".proto")] for s in srcs]
    headers = [s + ".pb.h" for s in stems]
    sources = [s + ".pb.cc" for s in stems]
    flags = ["--cpp_out=%s$(GENDIR)" % ("lite:" if lite else "")]
    if grpc:
        headers += [s + ".grpc.pb.h" for s in stems]
        sources += [s + ".grpc.pb.cc" for s in stems]
        flags += [
            "--grpc_out=$(GENDIR)",
            "--plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin",
        ]
    native.filegroup(
        name = name + "__protos",
        srcs = srcs + [_protos_of(d) for d in deps],
        visibility = visibility,
    )
    prefix = native.package_name() + "/" if native.package_name() else ""
    native.genrule(
        name = name + "__gen",
        srcs = [":" + name + "__protos"],
        outs = headers + sources,
        cmd = "/usr/bin/protoc -I. -I/usr/include %s %s" % (" ".join(flags), " ".join([prefix + s for s in srcs])),
        visibility = ["//visibility:private"],
    )
    native.cc_library(
        name = name,
        srcs = sources,
        hdrs = headers,
        copts = ["-w"],
        linkstatic = True,
        visibility = visibility,
        deps = deps + ["//tools/deps:protobuf_lite" if lite else "//tools/deps:protobuf"] +
               (["//tools/deps:grpc"] if grpc else []),
        **kwargs
    )

def sbx_py_test(name, main, data = None, env = None, size = "small", **kwargs):
    """A Python test: an executable file with #!/usr/bin/python3 that ends in `testing.main()`.

    It needs no rules_python and runs under Debian's Python, whatever `python3` is first on PATH. The
    modules of test/util can be imported by their names.
    """
    python_path = {
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": "test/util:" + native.package_name(),
    }
    python_path.update(env or {})
    native.sh_test(
        name = name,
        srcs = [main],
        data = (data or []) + ["//test/util:py"],
        env = python_path,
        size = size,
        **kwargs
    )

# The programs that an installation consists of; test/util/harness.py finds them by their names.
_PROGRAMS = [
    "//client/cli:sandboxctl",
    "//daemon:sandboxd",
    "//gofer/server:sandbox-gofer",
    "//kernel/boot:sandbox-kernel",
]

# What every platform has to pass; a test skips on a platform that doesn't work on the host, and says why.
ALL_PLATFORMS = ["systrap", "ptrace", "kvm"]

def sbx_integration_test(name, main, data = None, env = None, tags = None, size = "medium", platforms = None, **kwargs):
    """A Python test that runs sandboxes through a sandboxd of its own (test/util/harness.py).

    Args:
      name: the test; with `platforms` a suite of `name_PLATFORM`.
      main: the Python file.
      data: other files that it reads.
      env: its environment.
      tags: as ever.
      size: as ever.
      platforms: run it once on each of these; without them it runs on what `auto` picks.
      **kwargs: passed to sbx_py_test.
    """
    programs = {"SANDBOXD_PROGRAMS": " ".join(["$(rootpath %s)" % p for p in _PROGRAMS])}
    programs.update(env or {})
    for platform in platforms or [None]:
        on_platform = dict(programs)
        if platform:
            on_platform["SANDBOXD_TEST_PLATFORM"] = platform
        sbx_py_test(
            name = name + "_" + platform if platform else name,
            main = main,
            data = (data or []) + _PROGRAMS,
            env = on_platform,
            size = size,
            tags = (tags or []) + ["integration"],
            **kwargs
        )
    if platforms:
        native.test_suite(
            name = name,
            tests = [":" + name + "_" + platform for platform in platforms],
        )
