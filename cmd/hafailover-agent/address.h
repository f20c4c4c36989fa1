/* cmd/hafailover-agent/address.h - the virtual IPs: claimed, announced, watched, released.
 *
 * Shell, loop thread. The kernel is asked each second what is true; the lifetime of an address in
 * the kernel is that of the lease, rounded up to seconds. */
#ifndef HA_CMD_HAFAILOVER_AGENT_ADDRESS_H
#define HA_CMD_HAFAILOVER_AGENT_ADDRESS_H

#include <stdint.h>

struct ha_addresses; /* opaque */
struct ha_effect_vip;
struct ha_err;
struct ha_host;
struct ha_settings;

int ha_addresses_open(struct ha_host *host, struct ha_addresses **ret, struct ha_err *err);

/* Which address the service has, on which interface; none is fine. */
void ha_addresses_settings(struct ha_addresses *addresses, const struct ha_settings *settings);

/* The effects VIP_LOOK, VIP_CLAIM and VIP_RELEASE; HA_EVENT_VIP tells the outcome of the last two.
 * A look that found nobody spares the claim that follows within half a second its own. */
void ha_addresses_look(struct ha_addresses *addresses, uint32_t service);
void ha_addresses_claim(struct ha_addresses *addresses, const struct ha_effect_vip *vip);
void ha_addresses_release(struct ha_addresses *addresses, uint32_t service);

/* Each second: compare with the kernel. */
void ha_addresses_check(struct ha_addresses *addresses);

/* Addresses stay until their lifetime ends. @cb is the last touch. */
void ha_addresses_close(struct ha_addresses *addresses, void (*cb)(struct ha_host *host));

#endif /* HA_CMD_HAFAILOVER_AGENT_ADDRESS_H */
