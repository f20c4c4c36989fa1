#include "agents/host/sock.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>

#include "agents/host/nl.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"

#define REQUEST_SIZE 128
#define ROUND_MAX 512 /* sockets collected before they are killed */
#define OWN_MAX 2048
#define WAIT_MS 200u
/* Listening sockets stay; those in TIME_WAIT have no program behind them. */
#define STATES (0xfffu & ~(1u << TCP_LISTEN) & ~(1u << TCP_TIME_WAIT) & ~(1u << TCP_CLOSE))

struct end {          /* of a connection */
    uint8_t addr[16]; /* as IPv6 */
    uint16_t port;
};

struct collection {
    const struct ha_sock_match *match;
    uint8_t local[16]; /* as IPv6 */
    size_t own_count;
    struct end own[OWN_MAX]; /* our ends of connections */
    size_t count;
    struct {
        uint8_t family;
        struct inet_diag_sockid id;
    } sockets[ROUND_MAX];
};

static struct end end_of(uint8_t family, const void *addr, uint16_t port_be)
{
    struct ha_ip ip = {.family = family};
    struct end end = {.port = ntohs(port_be)};

    memcpy(ip.bytes, addr, ha_ip_size(&ip));
    ha_ip_mapped(&ip, end.addr);
    return end;
}

static bool is_same(const struct end *a, const struct end *b)
{
    return a->port == b->port && memcmp(a->addr, b->addr, sizeof(a->addr)) == 0;
}

static void note_own(struct collection *found, int fd)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof(name);
    const struct sockaddr_in *in = (const void *)&name;
    const struct sockaddr_in6 *in6 = (const void *)&name;

    if (found->own_count == OWN_MAX || getsockname(fd, (struct sockaddr *)&name, &size) != 0)
        return; /* no socket */
    if (name.ss_family == AF_INET)
        found->own[found->own_count++] = end_of(AF_INET, &in->sin_addr, in->sin_port);
    else if (name.ss_family == AF_INET6)
        found->own[found->own_count++] = end_of(AF_INET6, &in6->sin6_addr, in6->sin6_port);
}

/* Where they cannot be listed they are reset with the rest, and connect anew. */
static void note_all_own(struct collection *found)
{
    const struct dirent *entry;
    DIR *dir = opendir("/proc/self/fd");
    uint64_t fd;

    if (dir == NULL)
        return;
    while ((entry = readdir(dir)) != NULL)
        if (ha_text_u64(entry->d_name, INT_MAX, &fd) == HA_OK)
            note_own(found, (int)fd);
    (void)closedir(dir); /* read only */
}

static bool is_own(const struct collection *found, const struct inet_diag_msg *socket)
{
    const struct end other =
        end_of(socket->idiag_family, socket->id.idiag_dst, socket->id.idiag_dport);

    for (size_t i = 0; i < found->own_count; i++)
        if (is_same(&found->own[i], &other))
            return true;
    return false;
}

static void collect(const struct nlmsghdr *message, void *data)
{
    const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(message);
    struct collection *found = data;
    struct end end;

    if (mnl_nlmsg_get_payload_len(message) < sizeof(*socket) || found->count == ROUND_MAX)
        return;
    end = end_of(socket->idiag_family, socket->id.idiag_src, socket->id.idiag_sport);
    if (found->match->local != NULL && memcmp(end.addr, found->local, sizeof(end.addr)) != 0)
        return;
    if (found->match->port != 0 && end.port != found->match->port)
        return;
    if (found->match->ports != NULL &&
        (found->match->ports[end.port / 64] >> end.port % 64 & 1) == 0)
        return;
    if (is_own(found, socket))
        return;
    found->sockets[found->count].family = socket->idiag_family;
    found->sockets[found->count].id = socket->id;
    found->count++;
}

/* Both families in one walk, which only the older of the two requests can ask for. */
static int list_all(struct ha_nl *nl, struct collection *found)
{
    uint8_t buffer[REQUEST_SIZE] __attribute__((aligned(8)));
    struct nlmsghdr *message = ha_nl_request(nl, buffer, TCPDIAG_GETSOCK, NLM_F_DUMP);
    struct inet_diag_req *request = mnl_nlmsg_put_extra_header(message, sizeof(*request));
    int result;

    request->idiag_states = STATES;
    request->id.idiag_sport = htons(found->match->port); /* the kernel narrows by it */
    result = ha_nl_talk(nl, message, collect, found);
    /* A list that changed under way is as good: it is asked for again until nothing is left. */
    return result == -EINTR ? 0 : result;
}

static int kill_all(struct ha_nl *nl, const struct collection *found, uint32_t *count)
{
    uint8_t buffer[REQUEST_SIZE] __attribute__((aligned(8)));

    for (size_t i = 0; i < found->count; i++) {
        struct nlmsghdr *message = ha_nl_request(nl, buffer, SOCK_DESTROY, 0);
        struct inet_diag_req_v2 *request = mnl_nlmsg_put_extra_header(message, sizeof(*request));
        int result;

        request->sdiag_family = found->sockets[i].family;
        request->sdiag_protocol = IPPROTO_TCP;
        request->idiag_states = STATES;
        request->id = found->sockets[i].id;
        result = ha_nl_talk(nl, message, NULL, NULL);
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
        result = list_all(nl, found);
        if (result == 0)
            result = kill_all(nl, found, count);
        if (result != 0 || found->count == 0 || (found->match->once && found->count < ROUND_MAX))
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
    if (match->spare_own)
        note_all_own(found);
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
