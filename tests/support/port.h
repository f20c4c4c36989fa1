/* tests/support/port.h - a TCP port of loopback that stays free until somebody listens on it. */
#ifndef HA_TESTS_SUPPORT_PORT_H
#define HA_TESTS_SUPPORT_PORT_H

#include <stdint.h>

/* Nobody listens there, no connection is given it as its own, and no other test of this host gets
 * it while this process lives. */
uint16_t free_port(void);

#endif /* HA_TESTS_SUPPORT_PORT_H */
