/* lib/base/check.h - compile-time and control-flow helpers every room may use.
 *
 * Pure. Assertions are the standard assert(); they stay on in release builds. */
#ifndef HA_BASE_CHECK_H
#define HA_BASE_CHECK_H

#include <stdlib.h>

#define HA_ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

/* Stands after a switch that lists every enumerator: -Wswitch-enum keeps the list whole. */
#define HA_UNREACHABLE() abort()

#define HA_FALLTHROUGH __attribute__((fallthrough))

#define HA_PRINTF(at, first) __attribute__((format(printf, at, first)))

#endif /* HA_BASE_CHECK_H */
