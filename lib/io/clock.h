/* lib/io/clock.h - the only reader of clocks and of the kernel's randomness.
 *
 * Any thread, never blocks. Monotonic time measures and never crosses a host; wall time only
 * labels. Boot time is monotonic time that also counts suspend. */
#ifndef HA_IO_CLOCK_H
#define HA_IO_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t ha_clock_mono_ms(void);
uint64_t ha_clock_mono_ns(void);
uint64_t ha_clock_boot_ms(void);
uint64_t ha_clock_boot_ns(void);
uint64_t ha_clock_wall_ms(void); /* since 1970-01-01 UTC; may jump */

#define HA_CLOCK_TEXT_SIZE 32
/* @wall_ms as "2026-01-02T03:04:05.678Z"; @text holds HA_CLOCK_TEXT_SIZE. Returns @text. */
const char *ha_clock_text(uint64_t wall_ms, char *text);

/* Fill @data from getrandom(2), good enough for keys. Ends the process when the kernel cannot,
 * because no caller has a safe way on. Waits only in early boot. */
void ha_random_bytes(void *data, size_t size);
uint64_t ha_random_u64(void);

#endif /* HA_IO_CLOCK_H */
