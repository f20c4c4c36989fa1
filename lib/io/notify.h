/* lib/io/notify.h - tell the service manager how we are (the sd_notify datagram protocol).
 *
 * Loop thread, never blocks; nothing happens when NOTIFY_SOCKET is not set. */
#ifndef HA_IO_NOTIFY_H
#define HA_IO_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* Send @state: "READY=1", "STOPPING=1", "WATCHDOG=1", "STATUS=text", or several lines.
 * HA_OK (also when nobody asked), HA_EIO, HA_EINVAL: NOTIFY_SOCKET is not usable. */
int ha_notify(const char *state);

/* The interval at which to send WATCHDOG=1, half of what was asked; 0: not asked. */
uint32_t ha_notify_watchdog_ms(void);

#endif /* HA_IO_NOTIFY_H */
