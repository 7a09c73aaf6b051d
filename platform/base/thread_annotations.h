// Clang's thread-safety attributes (https://clang.llvm.org/docs/ThreadSafetyAnalysis.html); nothing
// under g++.
#pragma once

#if defined(__clang__)
#define SANDBOXD_TSA(x) __attribute__((x))
#else
#define SANDBOXD_TSA(x)
#endif

// Abseil, which gRPC's headers include, defines these three with the same meaning.
#undef GUARDED_BY
#undef PT_GUARDED_BY
#undef NO_THREAD_SAFETY_ANALYSIS

#define CAPABILITY(x) SANDBOXD_TSA(capability(x))
#define SCOPED_CAPABILITY SANDBOXD_TSA(scoped_lockable)
#define GUARDED_BY(x) SANDBOXD_TSA(guarded_by(x))
#define PT_GUARDED_BY(x) SANDBOXD_TSA(pt_guarded_by(x))
#define REQUIRES(...) SANDBOXD_TSA(requires_capability(__VA_ARGS__))
#define ACQUIRE(...) SANDBOXD_TSA(acquire_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) SANDBOXD_TSA(try_acquire_capability(__VA_ARGS__))
#define RELEASE(...) SANDBOXD_TSA(release_capability(__VA_ARGS__))
#define EXCLUDES(...) SANDBOXD_TSA(locks_excluded(__VA_ARGS__))
#define ASSERT_CAPABILITY(x) SANDBOXD_TSA(assert_capability(x))
#define RETURN_CAPABILITY(x) SANDBOXD_TSA(lock_returned(x))
#define NO_THREAD_SAFETY_ANALYSIS SANDBOXD_TSA(no_thread_safety_analysis)
