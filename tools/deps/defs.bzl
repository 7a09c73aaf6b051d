"""A library that Debian installs: linker flags, and the order in which they must come."""

def system_library(name, linkopts, **kwargs):
    native.cc_library(
        name = name,
        linkopts = linkopts,
        linkstatic = True,
        **kwargs
    )
