/* tests/support/switch/main.c - the switch of a lab, in user space: it delays, loses, doubles and
 * reorders frames by a seed, each ordered pair of hosts by settings of its own.
 *
 *   hafailover-switch --socket PATH [--seed N]      be the switch, until it is killed
 *   hafailover-switch --ask PATH COMMAND...         one command to it; "ok" or "error: ..."
 *
 * Commands:
 *   attach NAME NETNS         a TAP device eth0 in that namespace
 *   detach NAME
 *   up NAME | down NAME       the cable in or out
 *   link FROM TO KEY=N...     of what goes from one to the other ("*": each): loss, dup, reorder
 *                             (per million), delay, jitter (microseconds), cut (0 or 1)
 *   heal                      cables in, links perfect
 *   watch ADDRESS FILE        note each ARP frame in which a host claims this IPv4 address
 *   stats */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "tests/support/switch/fabric.h"

#define WORDS_MAX 12
#define LINE_MAX_SIZE 512
#define DELAY_MAX_US 10000000u
#define ASK_DEADLINE_S 5

static struct fabric fabric;

/* NULL or what is wrong. */
static const char *set_key(struct fabric_link *link, const char *word)
{
    const char *value = strchr(word, '=');
    size_t size = value != NULL ? (size_t)(value - word) : 0;
    uint64_t number;

    if (value == NULL || ha_text_u64(value + 1, DELAY_MAX_US, &number) != HA_OK)
        return "KEY=N is wanted";
    if (size == 4 && memcmp(word, "loss", size) == 0)
        link->loss = (uint32_t)number;
    else if (size == 3 && memcmp(word, "dup", size) == 0)
        link->dup = (uint32_t)number;
    else if (size == 7 && memcmp(word, "reorder", size) == 0)
        link->reorder = (uint32_t)number;
    else if (size == 5 && memcmp(word, "delay", size) == 0)
        link->delay_us = number;
    else if (size == 6 && memcmp(word, "jitter", size) == 0)
        link->jitter_us = number;
    else if (size == 3 && memcmp(word, "cut", size) == 0)
        link->cut = number != 0;
    else
        return "no such key";
    return NULL;
}

static const char *set_links(char **words, int count)
{
    bool any_from = strcmp(words[0], "*") == 0, any_to = strcmp(words[1], "*") == 0;
    int from = fabric_find(&fabric, words[0]), to = fabric_find(&fabric, words[1]);

    if ((!any_from && from < 0) || (!any_to && to < 0))
        return "no such host";
    for (int i = 0; i < FABRIC_PORTS_MAX; i++) {
        for (int j = 0; j < FABRIC_PORTS_MAX; j++) {
            if (i == j || (!any_from && i != from) || (!any_to && j != to))
                continue;
            for (int k = 2; k < count; k++) {
                const char *wrong = set_key(&fabric.ports[i].to[j], words[k]);

                if (wrong != NULL)
                    return wrong;
            }
        }
    }
    return NULL;
}

static const char *watch(const char *address, const char *path)
{
    if (inet_pton(AF_INET, address, fabric.watched4) != 1)
        return "not an IPv4 address";
    if (fabric.notes != NULL)
        (void)fclose(fabric.notes);
    fabric.notes = fopen(path, "ae");
    if (fabric.notes == NULL)
        return strerror(errno);
    (void)setvbuf(fabric.notes, NULL, _IOLBF, 1 << 12);
    return NULL;
}

static const char *stats(char *reply, size_t size)
{
    const struct fabric_stats *s = &fabric.stats;

    (void)ha_text_format(reply, size,
                         "in=%" PRIu64 " out=%" PRIu64 " lost=%" PRIu64 " doubled=%" PRIu64
                         " reordered=%" PRIu64 " cut=%" PRIu64 " full=%" PRIu64 " waiting=%u",
                         s->in, s->out, s->lost, s->doubled, s->reordered, s->cut, s->full,
                         fabric.heap_count);
    return NULL;
}

static const char *obey(char **words, int count, char *reply, size_t size)
{
    const char *verb = count > 0 ? words[0] : "";
    int port = count > 1 ? fabric_find(&fabric, words[1]) : -1;

    if (strcmp(verb, "attach") == 0 && count == 3)
        return fabric_attach(&fabric, words[1], words[2]);
    if (strcmp(verb, "link") == 0 && count > 3)
        return set_links(words + 1, count - 1);
    if (strcmp(verb, "watch") == 0 && count == 3)
        return watch(words[1], words[2]);
    if (strcmp(verb, "stats") == 0 && count == 1)
        return stats(reply, size);
    if (strcmp(verb, "heal") == 0 && count == 1)
        fabric_heal(&fabric);
    else if (count != 2 || port < 0)
        return "no such command, or no such host";
    else if (strcmp(verb, "detach") == 0)
        fabric_detach(&fabric, port);
    else if (strcmp(verb, "up") == 0 || strcmp(verb, "down") == 0)
        fabric_set_up(&fabric, port, verb[0] == 'u');
    else
        return "no such command";
    return NULL;
}

/* One command a datagram, and its answer. */
static void serve(int fd)
{
    char line[LINE_MAX_SIZE], reply[LINE_MAX_SIZE] = "ok", *words[WORDS_MAX], *rest = NULL;
    struct sockaddr_un from;
    socklen_t from_size = sizeof(from);
    ssize_t size = recvfrom(fd, line, sizeof(line) - 1, 0, (struct sockaddr *)&from, &from_size);
    const char *wrong;
    int count = 0;

    if (size < 0)
        return;
    line[size] = '\0';
    for (char *word = strtok_r(line, " \n", &rest); word != NULL && count < WORDS_MAX;
         word = strtok_r(NULL, " \n", &rest))
        words[count++] = word;
    wrong = obey(words, count, reply, sizeof(reply));
    if (wrong != NULL)
        (void)ha_text_format(reply, sizeof(reply), "error: %s", wrong);
    (void)sendto(fd, reply, strlen(reply), MSG_DONTWAIT, (struct sockaddr *)&from, from_size);
}

static int bind_to(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)unlink(path);
    if (fd < 0 || ha_text_copy(at.sun_path, sizeof(at.sun_path), path) != HA_OK ||
        bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    return fd;
}

static void wait_for_frames(struct pollfd *fds, uint64_t next_ns)
{
    uint64_t now_ns = fabric_now_ns();
    uint64_t wait_ns = next_ns > now_ns ? next_ns - now_ns : 0;
    struct timespec ts = {(time_t)(wait_ns / 1000000000u), (long)(wait_ns % 1000000000u)};

    for (int i = 0; i < FABRIC_PORTS_MAX; i++)
        fds[i] = (struct pollfd){.fd = fabric.ports[i].fd, .events = POLLIN};
    (void)ppoll(fds, FABRIC_PORTS_MAX + 1, next_ns == UINT64_MAX ? NULL : &ts, NULL);
    /* What a port sends from here on is later than this. */
    now_ns = fabric_now_ns();
    for (int i = 0; i < FABRIC_PORTS_MAX; i++)
        if ((fds[i].revents & POLLIN) == 0)
            fabric.ports[i].empty_ns = now_ns;
}

static void run(const char *path)
{
    struct pollfd fds[FABRIC_PORTS_MAX + 1];

    fds[FABRIC_PORTS_MAX] = (struct pollfd){.fd = bind_to(path), .events = POLLIN};
    for (;;) {
        wait_for_frames(fds, fabric_deliver(&fabric));
        for (int i = 0; i < FABRIC_PORTS_MAX; i++)
            if (fds[i].revents != 0 && !fabric_take(&fabric, i))
                fabric_detach(&fabric, i);
        if (fds[FABRIC_PORTS_MAX].revents != 0)
            serve(fds[FABRIC_PORTS_MAX].fd);
    }
}

static int ask(const char *path, char **words, int count)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX}, own = {.sun_family = AF_UNIX};
    const struct timeval deadline = {.tv_sec = ASK_DEADLINE_S};
    char line[LINE_MAX_SIZE] = "";
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ssize_t size = -1;

    for (int i = 0; i < count; i++)
        (void)ha_text_append(line, sizeof(line), "%s%s", i > 0 ? " " : "", words[i]);
    /* A path for the answer: addresses that the kernel chooses are of one network namespace. */
    if (fd >= 0 &&
        ha_text_format(own.sun_path, sizeof(own.sun_path), "%s.%d", path, (int)getpid()) == HA_OK &&
        ha_text_copy(at.sun_path, sizeof(at.sun_path), path) == HA_OK &&
        bind(fd, (struct sockaddr *)&own, sizeof(own)) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline)) == 0 &&
        sendto(fd, line, strlen(line), 0, (struct sockaddr *)&at, sizeof(at)) >= 0)
        size = recv(fd, line, sizeof(line) - 1, 0);
    if (size < 0)
        perror(path);
    (void)unlink(own.sun_path);
    if (size < 0)
        return EXIT_FAILURE;
    line[size] = '\0';
    puts(line);
    return strncmp(line, "error", 5) == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char *argv[])
{
    uint64_t seed = 1;

    if (argc >= 4 && strcmp(argv[1], "--ask") == 0)
        return ask(argv[2], argv + 3, argc - 3);
    if ((argc != 3 && argc != 5) || strcmp(argv[1], "--socket") != 0 ||
        (argc == 5 &&
         (strcmp(argv[3], "--seed") != 0 || ha_text_u64(argv[4], UINT64_MAX, &seed) != HA_OK))) {
        fprintf(stderr, "usage: hafailover-switch --socket PATH [--seed N] | --ask PATH COMMAND\n");
        return EXIT_FAILURE;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    fabric_init(&fabric, seed);
    run(argv[2]);
    return EXIT_SUCCESS;
}
