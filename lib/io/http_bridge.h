/* lib/io/http_bridge.h - bytes both ways between a stream and a socket that a library reads.
 *
 * Loop thread only; for http_server only. Each side's slowness holds back the other. */
#ifndef HA_IO_HTTP_BRIDGE_H
#define HA_IO_HTTP_BRIDGE_H

#include "lib/io/stream.h"

struct ha_http_bridge; /* opaque */

struct ha_http_bridge_hooks {
    /* Either side ended; ha_http_bridge_close was called already. Once, from the loop. */
    void (*on_down)(void *ctx);
    /* After that: the bridge's memory is gone. The last touch. */
    void (*on_closed)(void *ctx);
};

/* Take @stream and our end @fd of a socket pair. HA_ENOMEM, HA_EIO: both are still the caller's. */
int ha_http_bridge_open(struct ha_http_bridge **ret, struct ha_stream *stream, int fd,
                        const struct ha_http_bridge_hooks *hooks, void *ctx);
struct ha_stream *ha_http_bridge_stream(struct ha_http_bridge *bridge);
/* The stream is given @linger_ms to send what it has; on_down is not called any more. */
void ha_http_bridge_close(struct ha_http_bridge *bridge, uint32_t linger_ms);

#endif /* HA_IO_HTTP_BRIDGE_H */
