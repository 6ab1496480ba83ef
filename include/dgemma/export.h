// DGEMMA_API marks what libdgemma.so shows to programs that link it; everything unmarked stays inside.
// Used by the public headers only. Types without code of their own (plain structs, enums) need no mark.
#pragma once

#define DGEMMA_API __attribute__((visibility("default")))
