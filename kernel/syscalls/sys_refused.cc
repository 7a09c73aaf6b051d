// Calls that are refused with the errno of a Linux 6.1 built without the feature.
#include "kernel/syscalls/families.h"

namespace sandboxd::syscalls {
namespace {

constexpr Row kRows[] = {
    Refused(SYS_uselib, "uselib", Errno::kENOSYS, "as without CONFIG_USELIB"),
    Refused(SYS_create_module, "create_module", Errno::kENOSYS, "removed from Linux 2.6"),
    Refused(SYS_get_kernel_syms, "get_kernel_syms", Errno::kENOSYS, "removed from Linux 2.6"),
    Refused(SYS_query_module, "query_module", Errno::kENOSYS, "removed from Linux 2.6"),
    Refused(SYS_nfsservctl, "nfsservctl", Errno::kENOSYS, "removed from Linux 3.1"),
    Refused(SYS_getpmsg, "getpmsg", Errno::kENOSYS, "never implemented in Linux"),
    Refused(SYS_putpmsg, "putpmsg", Errno::kENOSYS, "never implemented in Linux"),
    Refused(SYS_afs_syscall, "afs_syscall", Errno::kENOSYS, "never implemented in Linux"),
    Refused(SYS_tuxcall, "tuxcall", Errno::kENOSYS, "never implemented in Linux"),
    Refused(SYS_security, "security", Errno::kENOSYS, "never implemented in Linux"),
    Refused(SYS_vserver, "vserver", Errno::kENOSYS, "never implemented in Linux"),
    Refused(SYS_epoll_ctl_old, "epoll_ctl_old", Errno::kENOSYS, "never implemented on x86-64"),
    Refused(SYS_epoll_wait_old, "epoll_wait_old", Errno::kENOSYS, "never implemented on x86-64"),
    Refused(SYS__sysctl, "_sysctl", Errno::kENOSYS, "removed from Linux 5.5"),
    Refused(SYS_sysfs, "sysfs", Errno::kENOSYS, "as without CONFIG_SYSFS_SYSCALL"),
    Refused(SYS_lookup_dcookie, "lookup_dcookie", Errno::kENOSYS, "as without CONFIG_PROFILING"),
    Refused(SYS_init_module, "init_module", Errno::kENOSYS, "as without CONFIG_MODULES"),
    Refused(SYS_finit_module, "finit_module", Errno::kENOSYS, "as without CONFIG_MODULES"),
    Refused(SYS_delete_module, "delete_module", Errno::kENOSYS, "as without CONFIG_MODULES"),
    Refused(SYS_kexec_load, "kexec_load", Errno::kENOSYS, "as without CONFIG_KEXEC"),
    Refused(SYS_kexec_file_load, "kexec_file_load", Errno::kENOSYS, "as without CONFIG_KEXEC_FILE"),
    Refused(SYS_bpf, "bpf", Errno::kENOSYS, "as without CONFIG_BPF_SYSCALL"),
    Refused(SYS_perf_event_open, "perf_event_open", Errno::kENOSYS,
            "as without CONFIG_PERF_EVENTS"),
    Refused(SYS_modify_ldt, "modify_ldt", Errno::kENOSYS, "as without CONFIG_MODIFY_LDT_SYSCALL"),
    Refused(SYS_quotactl, "quotactl", Errno::kENOSYS, "as without CONFIG_QUOTACTL"),
    Refused(SYS_quotactl_fd, "quotactl_fd", Errno::kENOSYS, "as without CONFIG_QUOTACTL"),
    Refused(SYS_memfd_secret, "memfd_secret", Errno::kENOSYS, "as without CONFIG_SECRETMEM"),
    Refused(SYS_userfaultfd, "userfaultfd", Errno::kENOSYS, "as without CONFIG_USERFAULTFD"),
    Refused(SYS_io_uring_setup, "io_uring_setup", Errno::kENOSYS, "as without CONFIG_IO_URING"),
    Refused(SYS_io_uring_enter, "io_uring_enter", Errno::kENOSYS, "as without CONFIG_IO_URING"),
    Refused(SYS_io_uring_register, "io_uring_register", Errno::kENOSYS,
            "as without CONFIG_IO_URING"),
    Refused(SYS_io_setup, "io_setup", Errno::kENOSYS, "as without CONFIG_AIO"),
    Refused(SYS_io_destroy, "io_destroy", Errno::kENOSYS, "as without CONFIG_AIO"),
    Refused(SYS_io_submit, "io_submit", Errno::kENOSYS, "as without CONFIG_AIO"),
    Refused(SYS_io_cancel, "io_cancel", Errno::kENOSYS, "as without CONFIG_AIO"),
    Refused(SYS_io_getevents, "io_getevents", Errno::kENOSYS, "as without CONFIG_AIO"),
    Refused(SYS_io_pgetevents, "io_pgetevents", Errno::kENOSYS, "as without CONFIG_AIO"),
    Refused(SYS_add_key, "add_key", Errno::kENOSYS, "as without CONFIG_KEYS"),
    Refused(SYS_request_key, "request_key", Errno::kENOSYS, "as without CONFIG_KEYS"),
    Refused(SYS_keyctl, "keyctl", Errno::kENOSYS, "as without CONFIG_KEYS"),
    Refused(SYS_fanotify_init, "fanotify_init", Errno::kENOSYS, "as without CONFIG_FANOTIFY"),
    Refused(SYS_fanotify_mark, "fanotify_mark", Errno::kENOSYS, "as without CONFIG_FANOTIFY"),
    Refused(SYS_landlock_create_ruleset, "landlock_create_ruleset", Errno::kENOSYS,
            "as without CONFIG_SECURITY_LANDLOCK"),
    Refused(SYS_landlock_add_rule, "landlock_add_rule", Errno::kENOSYS,
            "as without CONFIG_SECURITY_LANDLOCK"),
    Refused(SYS_landlock_restrict_self, "landlock_restrict_self", Errno::kENOSYS,
            "as without CONFIG_SECURITY_LANDLOCK"),
    Refused(SYS_rseq, "rseq", Errno::kENOSYS, "as without CONFIG_RSEQ"),
    Refused(SYS_name_to_handle_at, "name_to_handle_at", Errno::kENOSYS,
            "as without CONFIG_FHANDLE"),
    Refused(SYS_open_by_handle_at, "open_by_handle_at", Errno::kENOSYS,
            "as without CONFIG_FHANDLE"),
    Refused(SYS_swapon, "swapon", Errno::kENOSYS, "as without CONFIG_SWAP"),
    Refused(SYS_swapoff, "swapoff", Errno::kENOSYS, "as without CONFIG_SWAP"),
    Refused(SYS_iopl, "iopl", Errno::kENOSYS, "as without CONFIG_X86_IOPL_IOPERM"),
    Refused(SYS_ioperm, "ioperm", Errno::kENOSYS, "as without CONFIG_X86_IOPL_IOPERM"),
    Refused(SYS_ustat, "ustat", Errno::kENOSYS, "not built yet"),
};

}  // namespace

std::span<const Row> RefusedRows() { return kRows; }

}  // namespace sandboxd::syscalls
