// What the vector sources ask of the compiler: instruction sets beyond the build's own, and loops unrolled in full.
#pragma once

// Compiles the functions between the two macros for more features, without per-file flags (which would also change inline
// functions of the standard library that other files share).
#define DGEMMA_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define DGEMMA_BEGIN_TARGET(features) \
  DGEMMA_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define DGEMMA_END_TARGET _Pragma("clang attribute pop")
#else
#define DGEMMA_BEGIN_TARGET(features) _Pragma("GCC push_options") DGEMMA_PRAGMA(GCC target(features))
#define DGEMMA_END_TARGET _Pragma("GCC pop_options")
#endif

// The value is complete here, and no load moves across: schedulers hoist the loads of an unrolled tile until its sums no longer
// fit the registers.
#if defined(__x86_64__)
#define DGEMMA_PIN(vector) asm volatile("" : "+v"(vector)::"memory")
#elif defined(__aarch64__)
#define DGEMMA_PIN(vector) asm volatile("" : "+w"(vector)::"memory")
#endif

// Sums live in registers only if every loop over rows and vectors of a tile disappears; compilers stop short of that for large
// tiles unless told.
#if defined(__clang__)
#define DGEMMA_UNROLL _Pragma("clang loop unroll(full)")
#else
#define DGEMMA_UNROLL _Pragma("GCC unroll 32")
#endif
