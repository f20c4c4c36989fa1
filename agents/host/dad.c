#include "agents/host/dad.h"

#include <assert.h>
#include <errno.h>
#include <net/ethernet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/if_packet.h>

#include "agents/host/arp.h"
#include "lib/base/err.h"
#include "lib/io/clock.h"

#define PROBES_MAX 10u
#define SPAN_MAX_MS 60000u
#define FRAMES_PER_TURN 64 /* read before the loop gets its turn */

/* ARP, or neighbour solicitation or advertisement without extension headers; at the Ethernet
 * header. */
static struct sock_filter filter_code[] = {
    BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_ARP, 6, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_IPV6, 0, 6),
    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 20), /* next header */
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 58, 0, 4),
    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 54), /* ICMPv6 type */
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 135, 1, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 136, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, 256),
    BPF_STMT(BPF_RET | BPF_K, 0),
};

struct ha_neigh {
    void *data;
    ha_neigh_conflict_cb conflict_cb;
    ha_neigh_close_cb close_cb;
    uv_loop_t *loop;
    uv_poll_t poll;
    struct ha_dad *dads; /* under way or ending */
    struct ha_nic nic;
    int fd;
    bool closing, poll_closed;
    size_t watched_count;
    struct ha_ip watched[HA_NEIGH_WATCHED_MAX];
};

static int failed(struct ha_err *err, const char *what)
{
    const int error = errno;

    return ha_err_set(err, error == EPERM || error == EACCES ? HA_EDENIED : HA_EIO, "%s: %s", what,
                      strerror(error));
}

/* ---- frames ---- */

static int send_frame(struct ha_neigh *neigh, enum ha_arp_kind kind, const struct ha_ip *addr)
{
    uint8_t frame[HA_ARP_FRAME_SIZE];
    const size_t size = ha_arp_build(kind, neigh->nic.mac, addr, frame);

    return send(neigh->fd, frame, size, MSG_DONTWAIT) == (ssize_t)size ? HA_OK : HA_EIO;
}

/* Solicitations for @addr go to a multicast group of its own. */
static int join(struct ha_neigh *neigh, const struct ha_ip *addr, bool on)
{
    struct packet_mreq request = {
        .mr_ifindex = neigh->nic.index, .mr_type = PACKET_MR_MULTICAST, .mr_alen = 6};
    const uint8_t group[6] = {0x33, 0x33, 0xff, addr->bytes[13], addr->bytes[14], addr->bytes[15]};

    if (addr->family != AF_INET6)
        return HA_OK;
    memcpy(request.mr_address, group, sizeof(group));
    return setsockopt(neigh->fd, SOL_PACKET, on ? PACKET_ADD_MEMBERSHIP : PACKET_DROP_MEMBERSHIP,
                      &request, sizeof(request)) == 0
               ? HA_OK
               : HA_EIO;
}

/* ---- duplicate detection ---- */

static void close_if_done(struct ha_neigh *neigh);

static void unlink_dad(struct ha_dad *dad)
{
    for (struct ha_dad **at = &dad->neigh->dads; *at != NULL; at = &(*at)->next) {
        if (*at == dad) {
            *at = dad->next;
            return;
        }
    }
    HA_UNREACHABLE();
}

static void on_dad_closed(uv_handle_t *handle)
{
    struct ha_dad *dad = handle->data;
    struct ha_neigh *neigh = dad->neigh;

    unlink_dad(dad);
    dad->cb(dad, dad->result);
    close_if_done(neigh);
}

/* The only way out; the first result wins. */
static void finish(struct ha_dad *dad, int result)
{
    if (dad->closing)
        return;
    dad->closing = true;
    dad->result = result;
    (void)join(dad->neigh, &dad->spec.addr, false); /* at worst a group is heard for longer */
    uv_close((uv_handle_t *)&dad->timer, on_dad_closed);
}

static void on_dad_timer(uv_timer_t *timer)
{
    struct ha_dad *dad = timer->data;
    const bool is4 = dad->spec.addr.family == AF_INET;
    int error;

    if (dad->tried == dad->spec.probes) {
        finish(dad, dad->sent > 0 ? HA_OK : HA_EIO);
        return;
    }
    dad->tried++;
    if (send_frame(dad->neigh, is4 ? HA_ARP_PROBE : HA_ND_PROBE, &dad->spec.addr) == HA_OK)
        dad->sent++;
    error = uv_timer_start(
        timer, on_dad_timer,
        dad->tried == dad->spec.probes ? dad->spec.wait_ms : dad->spec.interval_ms, 0);
    if (error != 0)
        finish(dad, HA_EIO);
}

int ha_dad_start(struct ha_dad *dad, struct ha_neigh *neigh, const struct ha_dad_spec *spec,
                 ha_dad_cb cb)
{
    void *const data = dad->data;

    if (spec->probes < 1 || spec->probes > PROBES_MAX || spec->interval_ms > SPAN_MAX_MS ||
        spec->wait_ms > SPAN_MAX_MS ||
        (spec->addr.family != AF_INET && spec->addr.family != AF_INET6))
        return HA_EINVAL;
    if (neigh->closing)
        return HA_ECLOSED;
    *dad = (struct ha_dad){.data = data, .cb = cb, .neigh = neigh, .spec = *spec};
    (void)uv_timer_init(neigh->loop, &dad->timer); /* cannot fail */
    dad->timer.data = dad;
    dad->next = neigh->dads;
    neigh->dads = dad;
    if (join(neigh, &spec->addr, true) != HA_OK) {
        finish(dad, HA_EIO);
        return HA_OK;
    }
    if (uv_timer_start(&dad->timer, on_dad_timer, 0, 0) != 0)
        finish(dad, HA_EIO);
    return HA_OK;
}

void ha_dad_cancel(struct ha_dad *dad)
{
    finish(dad, HA_ECANCELED);
}

/* ---- receiving ---- */

static void take_frame(struct ha_neigh *neigh, const uint8_t *frame, size_t size)
{
    uint8_t mac[6];

    for (struct ha_dad *dad = neigh->dads; dad != NULL; dad = dad->next) {
        if (ha_arp_parse(frame, size, &dad->spec.addr, mac) == HA_ARP_NO_CLAIM ||
            memcmp(mac, neigh->nic.mac, sizeof(mac)) == 0 || dad->closing)
            continue;
        memcpy(dad->mac, mac, sizeof(mac));
        finish(dad, HA_EEXIST);
    }
    for (size_t i = 0; i < neigh->watched_count && !neigh->closing; i++) {
        const struct ha_ip addr = neigh->watched[i];

        if (ha_arp_parse(frame, size, &addr, mac) == HA_ARP_USES &&
            memcmp(mac, neigh->nic.mac, sizeof(mac)) != 0 && neigh->conflict_cb != NULL)
            neigh->conflict_cb(neigh->data, &addr, mac);
    }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct ha_neigh *neigh = poll->data;

    (void)status; /* an interface that is down shows as a failed read */
    (void)events;
    for (int i = 0; i < FRAMES_PER_TURN && !neigh->closing; i++) {
        uint8_t frame[256];
        const ssize_t size = recv(neigh->fd, frame, sizeof(frame), MSG_DONTWAIT);

        if (size < 0)
            return;
        take_frame(neigh, frame, (size_t)size);
    }
}

/* ---- the handle ---- */

static int open_socket(struct ha_neigh *neigh, struct ha_err *err)
{
    const struct sock_fprog filter = {.len = HA_ARRAY_LEN(filter_code), .filter = filter_code};
    const struct sockaddr_ll where = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = neigh->nic.index};

    const int on = 1;

    /* Bound to no protocol at first: nothing is queued before the filter is there. */
    neigh->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (neigh->fd < 0)
        return failed(err, "packet socket");
    if (setsockopt(neigh->fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) != 0 ||
        setsockopt(neigh->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) != 0 ||
        bind(neigh->fd, (const struct sockaddr *)(const void *)&where, sizeof(where)) != 0)
        return failed(err, neigh->nic.name);
    return HA_OK;
}

int ha_neigh_open(const struct ha_neigh_options *options, struct ha_neigh **ret, struct ha_err *err)
{
    struct ha_neigh *neigh;
    int code;

    if (!options->nic->has_mac)
        return ha_err_set(err, HA_EINVAL, "%s is no Ethernet interface", options->nic->name);
    neigh = calloc(1, sizeof(*neigh));
    if (neigh == NULL)
        return ha_err_set(err, HA_ENOMEM, "neighbours: out of memory");
    neigh->data = options->data;
    neigh->conflict_cb = options->conflict_cb;
    neigh->loop = options->loop;
    neigh->nic = *options->nic;
    code = open_socket(neigh, err);
    if (code == HA_OK && uv_poll_init(neigh->loop, &neigh->poll, neigh->fd) != 0)
        code = ha_err_set(err, HA_EIO, "neighbours: cannot poll");
    if (code != HA_OK) {
        if (neigh->fd >= 0)
            (void)close(neigh->fd); /* nothing was sent */
        free(neigh);
        return code;
    }
    neigh->poll.data = neigh;
    *ret = neigh;
    if (uv_poll_start(&neigh->poll, UV_READABLE, on_readable) == 0)
        return HA_OK;
    ha_neigh_close(neigh, NULL);
    *ret = NULL;
    return ha_err_set(err, HA_EIO, "neighbours: cannot poll");
}

static void close_if_done(struct ha_neigh *neigh)
{
    const ha_neigh_close_cb cb = neigh->close_cb;
    void *const data = neigh->data;

    if (!neigh->poll_closed || neigh->dads != NULL)
        return;
    (void)close(neigh->fd); /* nothing is buffered */
    free(neigh);
    if (cb != NULL)
        cb(data);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct ha_neigh *neigh = handle->data;

    neigh->poll_closed = true;
    close_if_done(neigh);
}

void ha_neigh_close(struct ha_neigh *neigh, ha_neigh_close_cb cb)
{
    assert(!neigh->closing);
    neigh->closing = true;
    neigh->close_cb = cb;
    for (struct ha_dad *dad = neigh->dads; dad != NULL; dad = dad->next)
        finish(dad, HA_ECANCELED);
    uv_close((uv_handle_t *)&neigh->poll, on_poll_closed);
}

int ha_neigh_announce(struct ha_neigh *neigh, const struct ha_ip *addr, uint64_t until_boot_ns,
                      struct ha_err *err)
{
    int code;

    assert(!neigh->closing);
    if (ha_clock_boot_ns() >= until_boot_ns)
        return ha_err_set(err, HA_ETIMEDOUT, "the right to the address has ended");
    if (addr->family == AF_INET6) {
        code = send_frame(neigh, HA_ND_ANNOUNCE, addr);
    } else {
        code = send_frame(neigh, HA_ARP_ANNOUNCE_REQUEST, addr);
        if (code == HA_OK)
            code = send_frame(neigh, HA_ARP_ANNOUNCE_REPLY, addr);
    }
    return code == HA_OK ? HA_OK : failed(err, "announce");
}

int ha_neigh_watch(struct ha_neigh *neigh, const struct ha_ip *addr, bool on)
{
    size_t at = 0;
    int code;

    while (at < neigh->watched_count && !ha_ip_equal(&neigh->watched[at], addr))
        at++;
    if (on == (at < neigh->watched_count))
        return HA_OK;
    if (on && at == HA_NEIGH_WATCHED_MAX)
        return HA_EFULL;
    code = join(neigh, addr, on);
    if (code != HA_OK && on)
        return code;
    if (on)
        neigh->watched[neigh->watched_count++] = *addr;
    else
        neigh->watched[at] = neigh->watched[--neigh->watched_count];
    return HA_OK;
}
