#include "agents/host/sock.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>

#include "agents/host/nl.h"
#include "lib/base/err.h"
#include "lib/io/clock.h"

#define REQUEST_SIZE 128
#define ROUND_MAX 512 /* sockets collected before they are killed */
#define WAIT_MS 200u
/* Listening sockets stay; those in TIME_WAIT have no program behind them. */
#define STATES (0xfffu & ~(1u << TCP_LISTEN) & ~(1u << TCP_TIME_WAIT) & ~(1u << TCP_CLOSE))

struct collection {
    const struct ha_sock_match *match;
    uint8_t local[16]; /* as IPv6 */
    size_t count;
    struct {
        uint8_t family;
        struct inet_diag_sockid id;
    } sockets[ROUND_MAX];
};

static void collect(const struct nlmsghdr *message, void *data)
{
    const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(message);
    struct collection *found = data;
    struct ha_ip local = {.family = socket->idiag_family};
    uint8_t mapped[16];
    uint16_t port;

    if (mnl_nlmsg_get_payload_len(message) < sizeof(*socket) || found->count == ROUND_MAX)
        return;
    port = ntohs(socket->id.idiag_sport);
    memcpy(local.bytes, socket->id.idiag_src, ha_ip_size(&local));
    ha_ip_mapped(&local, mapped);
    if (found->match->local != NULL && memcmp(mapped, found->local, sizeof(mapped)) != 0)
        return;
    if (found->match->port != 0 && port != found->match->port)
        return;
    if (found->match->ports != NULL && (found->match->ports[port / 64] >> port % 64 & 1) == 0)
        return;
    found->sockets[found->count].family = socket->idiag_family;
    found->sockets[found->count].id = socket->id;
    found->count++;
}

static struct inet_diag_req_v2 *diag_request(struct ha_nl *nl, void *buffer, uint16_t type,
                                             uint16_t flags, uint8_t family)
{
    struct nlmsghdr *message = ha_nl_request(nl, buffer, type, flags);
    struct inet_diag_req_v2 *request = mnl_nlmsg_put_extra_header(message, sizeof(*request));

    request->sdiag_family = family;
    request->sdiag_protocol = IPPROTO_TCP;
    request->idiag_states = STATES;
    return request;
}

static int list_family(struct ha_nl *nl, uint8_t family, struct collection *found)
{
    uint8_t buffer[REQUEST_SIZE] __attribute__((aligned(8)));
    struct inet_diag_req_v2 *request =
        diag_request(nl, buffer, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family);
    int result;

    request->id.idiag_sport = htons(found->match->port); /* the kernel narrows by it */
    result = ha_nl_talk(nl, (const struct nlmsghdr *)(const void *)buffer, collect, found);
    /* A list that changed under way is as good: it is asked for again until nothing is left. */
    return result == -EINTR ? 0 : result;
}

static int kill_all(struct ha_nl *nl, const struct collection *found, uint32_t *count)
{
    uint8_t buffer[REQUEST_SIZE] __attribute__((aligned(8)));

    for (size_t i = 0; i < found->count; i++) {
        struct inet_diag_req_v2 *request =
            diag_request(nl, buffer, SOCK_DESTROY, 0, found->sockets[i].family);
        int result;

        request->id = found->sockets[i].id;
        result = ha_nl_talk(nl, (const struct nlmsghdr *)(const void *)buffer, NULL, NULL);
        if (result == 0)
            (*count)++;
        else if (result != -ENOENT)
            return result;
    }
    return 0;
}

static int kill_rounds(struct ha_nl *nl, struct collection *found, uint32_t *count)
{
    const uint64_t end_ms = ha_clock_boot_ms() + WAIT_MS;
    int result;

    for (;;) {
        const uint32_t before = *count;

        found->count = 0;
        result = list_family(nl, AF_INET, found);
        if (result == 0)
            result = list_family(nl, AF_INET6, found);
        if (result == 0)
            result = kill_all(nl, found, count);
        if (result != 0 || found->count == 0)
            return result;
        /* What was listed and could not be found is on its way out by itself. */
        if (*count == before && found->count < ROUND_MAX)
            return 0;
        if (ha_clock_boot_ms() >= end_ms)
            return -ETIMEDOUT;
    }
}

int ha_sock_kill(const struct ha_sock_match *match, uint32_t *ret_count, struct ha_err *err)
{
    struct collection *found;
    struct ha_nl *nl = NULL;
    uint32_t count = 0;
    int result;

    if (match->local == NULL && match->port == 0 && match->ports == NULL)
        return ha_err_set(err, HA_EINVAL, "reset of every connection asked for");
    found = calloc(1, sizeof(*found));
    if (found == NULL)
        return ha_err_set(err, HA_ENOMEM, "reset connections: out of memory");
    found->match = match;
    if (match->local != NULL)
        ha_ip_mapped(match->local, found->local);
    result = ha_nl_open(NETLINK_SOCK_DIAG, &nl);
    if (result == 0)
        result = kill_rounds(nl, found, &count);
    ha_nl_close(nl);
    free(found);
    if (ret_count != NULL)
        *ret_count = count;
    if (result == -ETIMEDOUT)
        return ha_err_set(err, HA_ETIMEDOUT, "connections are left after %u ms", WAIT_MS);
    if (result != 0)
        return ha_err_set(err, result == -ENOENT ? HA_ENOTSUP : ha_nl_code(result),
                          "reset connections: %s", strerror(-result));
    return HA_OK;
}
