/* cmd/hafailover-agent/daemon.h - owns every long-lived object of an agent, and the one way into
 * its core.
 *
 * Shell. One loop thread. Facts become events through ha_host_step, stamped with CLOCK_BOOTTIME,
 * the clock that the gate compares with; effects are executed by dispatch.c once per loop turn. The
 * struct is open to the files of this folder and to nobody else. */
#ifndef HA_CMD_HAFAILOVER_AGENT_DAEMON_H
#define HA_CMD_HAFAILOVER_AGENT_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "cmd/common/backlog.h"
#include "cmd/hafailover-agent/settings.h"
#include "lib/core/agent.h"

struct ha_addresses;
struct ha_agent_serve;
struct ha_databases;
struct ha_epochs;
struct ha_gates;
struct ha_known;
struct ha_links;
struct ha_loop;
struct ha_peer_links;
struct ha_prepares;
struct ha_tls;

struct ha_host {
    const struct ha_agent_settings *settings; /* borrowed from main */
    struct ha_loop *loop;                     /* borrowed from run */
    uv_loop_t *uv;                            /* of `loop` */
    struct ha_tls *tls;                       /* NULL with mode plain */

    struct ha_agent *core;
    struct ha_backlog backlog; /* effects, filled by steps, emptied by dispatch */

    struct ha_gates *gates;
    struct ha_epochs *epochs;
    struct ha_databases *databases;
    struct ha_addresses *addresses;
    struct ha_links *links;
    struct ha_peer_links *peers;
    struct ha_known *known;
    struct ha_prepares *prepares;
    struct ha_agent_serve *serve; /* NULL: nothing is served */

    uv_timer_t tick;
    uv_timer_t second; /* what the kernel really has */
    bool timers_open;
    bool stopping;
    int exit_code;
    unsigned open_parts;
};

/* Take one event in; the clocks are stamped here. */
void ha_host_step(struct ha_host *host, struct ha_event *event);

/* Run until a signal; the exit code of the program. */
int ha_host_run(const struct ha_agent_settings *settings);

#endif /* HA_CMD_HAFAILOVER_AGENT_DAEMON_H */
