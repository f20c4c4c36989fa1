#include "agents/host/nl.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "lib/base/err.h"

/* What one exchange is waiting for. */
struct exchange {
    uint32_t seq_first, seq_last;
    ha_nl_cb cb;
    void *data;
    int result;
    uint32_t result_seq;
    bool ended;
};

int ha_nl_open(int bus, struct ha_nl **ret)
{
    const struct timeval wait = {.tv_sec = 1};
    struct ha_nl *nl = calloc(1, sizeof(*nl));
    int result;

    if (nl == NULL)
        return -ENOMEM;
    nl->socket = mnl_socket_open2(bus, SOCK_CLOEXEC);
    if (nl->socket == NULL || mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) != 0 ||
        setsockopt(mnl_socket_get_fd(nl->socket), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) !=
            0) {
        result = -errno;
        ha_nl_close(nl);
        return result;
    }
    *ret = nl;
    return 0;
}

void ha_nl_close(struct ha_nl *nl)
{
    if (nl == NULL)
        return;
    if (nl->socket != NULL)
        (void)mnl_socket_close(nl->socket); /* nothing to be done about it */
    free(nl);
}

struct nlmsghdr *ha_nl_request(struct ha_nl *nl, void *buffer, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);

    message->nlmsg_type = type;
    message->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    if ((flags & NLM_F_DUMP) != NLM_F_DUMP)
        message->nlmsg_flags |= NLM_F_ACK;
    message->nlmsg_seq = ++nl->seq;
    return message;
}

static int error_of(const struct nlmsghdr *message)
{
    const struct nlmsgerr *error = mnl_nlmsg_get_payload(message);

    if (mnl_nlmsg_get_payload_len(message) < sizeof(*error))
        return -EBADMSG;
    return error->error;
}

static void take_message(struct exchange *ex, const struct nlmsghdr *message)
{
    int error;

    /* Left over from an exchange that was given up, or a number before ours. */
    if (message->nlmsg_seq - ex->seq_first > ex->seq_last - ex->seq_first)
        return;
    if ((message->nlmsg_flags & NLM_F_DUMP_INTR) != 0 && ex->result == 0)
        ex->result = -EINTR;
    if (message->nlmsg_type == NLMSG_DONE) {
        ex->ended = true;
    } else if (message->nlmsg_type == NLMSG_ERROR) {
        error = error_of(message);
        if (error != 0 && ex->result == 0) {
            ex->result = error;
            ex->result_seq = message->nlmsg_seq;
        }
        /* An error about the first message of a batch is about the whole of it. */
        ex->ended = message->nlmsg_seq == ex->seq_last ||
                    (error != 0 && message->nlmsg_seq == ex->seq_first);
    } else if (message->nlmsg_type >= NLMSG_MIN_TYPE && ex->cb != NULL) {
        ex->cb(message, ex->data);
    }
}

static int receive(struct ha_nl *nl, struct exchange *ex)
{
    while (!ex->ended) {
        const struct nlmsghdr *message = (const struct nlmsghdr *)(const void *)nl->buffer;
        ssize_t got = mnl_socket_recvfrom(nl->socket, nl->buffer, sizeof(nl->buffer));
        int left = (int)got;

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        while (!ex->ended && mnl_nlmsg_ok(message, left)) {
            take_message(ex, message);
            message = mnl_nlmsg_next(message, &left);
        }
    }
    return ex->result;
}

int ha_nl_talk(struct ha_nl *nl, const struct nlmsghdr *request, ha_nl_cb cb, void *data)
{
    struct exchange ex = {
        .seq_first = request->nlmsg_seq, .seq_last = request->nlmsg_seq, .cb = cb, .data = data};

    assert(request->nlmsg_seq == nl->seq);
    if (mnl_socket_sendto(nl->socket, request, request->nlmsg_len) < 0)
        return -errno;
    return receive(nl, &ex);
}

int ha_nl_batch(struct ha_nl *nl, const void *messages, size_t size, uint32_t seq_first,
                uint32_t seq_last, uint32_t *ret_seq)
{
    struct exchange ex = {.seq_first = seq_first, .seq_last = seq_last};
    int result;

    if (mnl_socket_sendto(nl->socket, messages, size) < 0)
        return -errno;
    result = receive(nl, &ex);
    if (ret_seq != NULL)
        *ret_seq = ex.result_seq;
    return result;
}

int ha_nl_code(int negative_errno)
{
    switch (-negative_errno) {
    case 0:
        return HA_OK;
    case EPERM:
    case EACCES:
        return HA_EDENIED;
    case ENOENT:
    case ENODEV:
    case EADDRNOTAVAIL:
        return HA_ENOENT;
    case EOPNOTSUPP:
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
        return HA_ENOTSUP;
    case ENOMEM:
    case ENOBUFS:
        return HA_ENOMEM;
    case EINVAL:
        return HA_EINVAL;
    default:
        return HA_EIO;
    }
}
