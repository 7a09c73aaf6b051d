"""Tests of the system call ABI: one static program for native Linux and for every platform."""

load("//tools/bazel:defs.bzl", "sbx_cc_test")

def syscall_test(name, srcs = None, deps = None, **kwargs):
    """A GoogleTest of system calls.

    As a Bazel test it runs natively: real Linux is the oracle. The same binary, which is static, is run in sandboxes by
    test/integration.

    Args:
      name: the test, and its source `name.cc`.
      srcs: other sources than that.
      deps: libraries.
      **kwargs: passed to sbx_cc_test.
    """
    sbx_cc_test(
        name = name,
        srcs = srcs or [name + ".cc"],
        linkopts = ["-static"],
        visibility = ["//test:__subpackages__"],
        deps = [":testing"] + (deps or []),
        **kwargs
    )
