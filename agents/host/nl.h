/* agents/host/nl.h - one netlink socket and its round trips; private to this room.
 *
 * Shell, synchronous, one thread. Built on libmnl. Every receive ends after a second. Results are 0
 * or a negative errno, because callers branch on what the kernel says. */
#ifndef HA_AGENTS_HOST_NL_H
#define HA_AGENTS_HOST_NL_H

#include <stddef.h>
#include <stdint.h>

#include <libmnl/libmnl.h>

struct ha_err;

#define HA_NL_SIZE 65536 /* received at once; the kernel fills dumps up to 32 KiB */

struct ha_nl {
    struct mnl_socket *socket;
    uint32_t seq;
    uint8_t buffer[HA_NL_SIZE];
};

/* libmnl's macros with the conversions that our warnings want spelled out. */
#define HA_NL_ALIGN(size) (((size_t)(size) + 3u) & ~(size_t)3u)
#define HA_NL_FOR_EACH(attr, message, offset)                                          \
    for ((attr) = mnl_nlmsg_get_payload_offset((message), (offset));                   \
         mnl_attr_ok((attr), (int)((const char *)mnl_nlmsg_get_payload_tail(message) - \
                                   (const char *)(attr)));                             \
         (attr) = mnl_attr_next(attr))
#define HA_NL_FOR_EACH_IN(attr, nest)                                                       \
    for ((attr) = mnl_attr_get_payload(nest);                                               \
         mnl_attr_ok((attr), (int)((const char *)mnl_attr_get_payload(nest) +               \
                                   mnl_attr_get_payload_len(nest) - (const char *)(attr))); \
         (attr) = mnl_attr_next(attr))

/* Called for each answer; not called for errors and acknowledgements. */
typedef void (*ha_nl_cb)(const struct nlmsghdr *message, void *data);

/* Gives *ret. @bus: NETLINK_ROUTE and so on. -ENOMEM or what socket() says. */
int ha_nl_open(int bus, struct ha_nl **ret);
void ha_nl_close(struct ha_nl *nl); /* NULL is fine */

/* A fresh request in @buffer with an acknowledgement asked for, unless @flags has NLM_F_DUMP. */
struct nlmsghdr *ha_nl_request(struct ha_nl *nl, void *buffer, uint16_t type, uint16_t flags);

/* Send @request and hand every answer to @cb (may be NULL) until its end. -EINTR: a dump changed
 * under way; -ETIMEDOUT: no answer. */
int ha_nl_talk(struct ha_nl *nl, const struct nlmsghdr *request, ha_nl_cb cb, void *data);

/* Send @size bytes of messages numbered @seq_first to @seq_last, the last of which asks for an
 * acknowledgement. The first error wins; *ret_seq (may be NULL) is the message it is about. */
int ha_nl_batch(struct ha_nl *nl, const void *messages, size_t size, uint32_t seq_first,
                uint32_t seq_last, uint32_t *ret_seq);

/* An errno as a code of ours: HA_EDENIED, HA_ENOENT, HA_ENOTSUP, HA_ENOMEM, HA_EINVAL or HA_EIO. */
int ha_nl_code(int negative_errno);

#endif /* HA_AGENTS_HOST_NL_H */
