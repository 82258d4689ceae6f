// Ahead of all that computes on the CPU: a floating-point exception is nobody's concern, so that GCC may compute both
// sides of a selection and make vectors of the loops around it. Values stay what they are, NaN and Inf too.
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-trapping-math")  // candidates are compiled with the same flags everywhere
#endif

// A function whose loop shall become vectors stays apart from its callers: of an index that it is given GCC knows that
// it does not wrap around in a loop up to another, of one that it sees computed from others it often does not.
#define TUNER_APART __attribute__((noinline))
