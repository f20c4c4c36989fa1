#include "tests/support/switch/fabric.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <linux/if_tun.h>

#include "lib/base/err.h"
#include "lib/base/text.h"

#define FRAME_MAX 2048u
#define WAITING_MAX (64u << 20)
#define BURST 64 /* of one port before another has its turn */

struct fabric_frame {
    uint64_t due_ns, order;
    int to;
    uint32_t size;
    uint8_t data[];
};

uint64_t fabric_now_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_BOOTTIME, &ts); /* cannot fail for this clock */
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void fabric_init(struct fabric *fabric, uint64_t seed)
{
    memset(fabric, 0, sizeof(*fabric));
    ha_prng_seed(&fabric->chance, seed);
    for (int i = 0; i < FABRIC_PORTS_MAX; i++)
        fabric->ports[i].fd = -1;
}

int fabric_find(const struct fabric *fabric, const char *name)
{
    for (int i = 0; i < FABRIC_PORTS_MAX; i++)
        if (fabric->ports[i].fd >= 0 && strcmp(fabric->ports[i].name, name) == 0)
            return i;
    return -1;
}

static int tap_open(void)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

    memcpy(request.ifr_name, "eth0", 5);
    if (fd >= 0 && ioctl(fd, TUNSETIFF, &request) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* The device belongs to the namespace in which /dev/net/tun was opened. */
static int tap_open_in(const char *netns)
{
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int there = open(netns, O_RDONLY | O_CLOEXEC);
    int fd = -1;

    if (home >= 0 && there >= 0 && setns(there, CLONE_NEWNET) == 0) {
        fd = tap_open();
        if (setns(home, CLONE_NEWNET) != 0)
            abort(); /* whatever came next would be in the wrong place */
    }
    if (home >= 0)
        (void)close(home);
    if (there >= 0)
        (void)close(there);
    return fd;
}

/* A host that comes back has its old place, and finds its links as they were. */
static int free_place(const struct fabric *fabric, const char *name)
{
    int empty = -1;

    for (int i = FABRIC_PORTS_MAX - 1; i >= 0; i--) {
        if (fabric->ports[i].fd >= 0)
            continue;
        if (strcmp(fabric->ports[i].name, name) == 0)
            return i;
        if (fabric->ports[i].name[0] == '\0')
            empty = i;
    }
    return empty;
}

const char *fabric_attach(struct fabric *fabric, const char *name, const char *netns)
{
    int at = fabric_find(fabric, name);
    struct fabric_port *port;

    if (at >= 0)
        return "there already";
    at = free_place(fabric, name);
    if (at < 0)
        return "no port is free";
    port = &fabric->ports[at];
    if (ha_text_copy(port->name, sizeof(port->name), name) != HA_OK)
        return "the name is too long";
    port->fd = tap_open_in(netns);
    port->up = true;
    port->empty_ns = fabric_now_ns();
    return port->fd >= 0 ? NULL : strerror(errno);
}

void fabric_detach(struct fabric *fabric, int port)
{
    (void)close(fabric->ports[port].fd);
    fabric->ports[port].fd = -1;
}

void fabric_set_up(struct fabric *fabric, int port, bool up)
{
    int carrier = up ? 1 : 0;

    (void)ioctl(fabric->ports[port].fd, TUNSETCARRIER, &carrier);
    fabric->ports[port].up = up;
}

void fabric_heal(struct fabric *fabric)
{
    for (int i = 0; i < FABRIC_PORTS_MAX; i++) {
        memset(fabric->ports[i].to, 0, sizeof(fabric->ports[i].to));
        if (fabric->ports[i].fd >= 0 && !fabric->ports[i].up)
            fabric_set_up(fabric, i, true);
    }
}

/* --- frames that wait ---------------------------------------------------------------------- */

static bool before(const struct fabric_frame *a, const struct fabric_frame *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static void swap(struct fabric_frame **a, struct fabric_frame **b)
{
    struct fabric_frame *other = *a;

    *a = *b;
    *b = other;
}

static void push(struct fabric *fabric, struct fabric_frame *frame)
{
    struct fabric_frame **heap;
    uint32_t at = fabric->heap_count;

    if (at == fabric->heap_size) {
        fabric->heap_size = at == 0 ? 256 : 2 * at;
        fabric->heap = realloc(fabric->heap, fabric->heap_size * sizeof(struct fabric_frame *));
        if (fabric->heap == NULL)
            abort();
    }
    heap = fabric->heap;
    heap[at] = frame;
    fabric->heap_count++;
    fabric->waiting_bytes += frame->size;
    for (; at > 0 && before(heap[at], heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(&heap[at], &heap[(at - 1) / 2]);
}

static struct fabric_frame *pop(struct fabric *fabric)
{
    struct fabric_frame **heap = fabric->heap, *first = heap[0];
    uint32_t at = 0, next;

    heap[0] = heap[--fabric->heap_count];
    fabric->waiting_bytes -= first->size;
    while ((next = 2 * at + 1) < fabric->heap_count) {
        if (next + 1 < fabric->heap_count && before(heap[next + 1], heap[next]))
            next++;
        if (!before(heap[next], heap[at]))
            break;
        swap(&heap[next], &heap[at]);
        at = next;
    }
    return first;
}

static void put(struct fabric *fabric, int to, const void *data, uint32_t size)
{
    const struct fabric_port *port = &fabric->ports[to];

    if (port->fd < 0 || !port->up) {
        fabric->stats.cut++;
        return;
    }
    /* A host that cannot take it loses it, as a card would. */
    if (write(port->fd, data, size) == (ssize_t)size)
        fabric->stats.out++;
    else
        fabric->stats.full++;
}

static void wait_until(struct fabric *fabric, uint64_t due_ns, int to, const void *data,
                       uint32_t size)
{
    struct fabric_frame *frame = NULL;

    if (fabric->waiting_bytes + size <= WAITING_MAX)
        frame = malloc(sizeof(*frame) + size);
    if (frame == NULL) {
        fabric->stats.full++;
        return;
    }
    frame->due_ns = due_ns;
    frame->order = fabric->order++;
    frame->to = to;
    frame->size = size;
    memcpy(frame->data, data, size);
    push(fabric, frame);
}

/* When a frame that came now is due at the other end. */
static uint64_t due_of(struct fabric *fabric, struct fabric_link *link, uint64_t now_ns)
{
    uint64_t due_ns = now_ns + 1000 * link->delay_us;
    uint64_t jitter_ns = 1000 * link->jitter_us;

    if (jitter_ns > 0)
        due_ns += ha_prng_below(&fabric->chance, jitter_ns);
    if (link->reorder > 0 && ha_prng_chance(&fabric->chance, link->reorder)) {
        fabric->stats.reordered++;
        return due_ns + jitter_ns;
    }
    if (due_ns < link->last_due_ns)
        due_ns = link->last_due_ns;
    link->last_due_ns = due_ns;
    return due_ns;
}

static void carry(struct fabric *fabric, int from, int to, const void *data, uint32_t size,
                  uint64_t now_ns)
{
    struct fabric_link *link = &fabric->ports[from].to[to];
    int copies = 1;

    if (link->cut) {
        fabric->stats.cut++;
        return;
    }
    if (link->loss > 0 && ha_prng_chance(&fabric->chance, link->loss)) {
        fabric->stats.lost++;
        return;
    }
    if (link->dup > 0 && ha_prng_chance(&fabric->chance, link->dup)) {
        fabric->stats.doubled++;
        copies = 2;
    }
    for (; copies > 0; copies--) {
        uint64_t due_ns = due_of(fabric, link, now_ns);

        if (due_ns <= now_ns)
            put(fabric, to, data, size);
        else
            wait_until(fabric, due_ns, to, data, size);
    }
}

/* --- where addresses are ------------------------------------------------------------------- */

static void learn(struct fabric *fabric, const uint8_t *mac, int port)
{
    const uint32_t max = sizeof(fabric->table) / sizeof(fabric->table[0]);
    uint32_t i = 0;

    while (i < fabric->table_count && memcmp(fabric->table[i].mac, mac, 6) != 0)
        i++;
    if (i == max)
        i = (uint32_t)ha_prng_below(&fabric->chance, max);
    else if (i == fabric->table_count)
        fabric->table_count++;
    memcpy(fabric->table[i].mac, mac, 6);
    fabric->table[i].port = (uint8_t)port;
}

static int where(const struct fabric *fabric, const uint8_t *mac)
{
    for (uint32_t i = 0; i < fabric->table_count; i++)
        if (memcmp(fabric->table[i].mac, mac, 6) == 0)
            return fabric->table[i].port;
    return -1;
}

/* ARP in which the sender names the watched address as its own. */
static void note_claim(struct fabric *fabric, int from, const uint8_t *data, uint32_t size,
                       uint64_t now_ns)
{
    if (fabric->notes == NULL || size < 42 || data[12] != 0x08 || data[13] != 0x06 ||
        memcmp(data + 28, fabric->watched4, 4) != 0)
        return;
    fprintf(fabric->notes, "R %llu %llu %s %s\n", (unsigned long long)fabric->ports[from].empty_ns,
            (unsigned long long)now_ns, fabric->ports[from].name,
            data[21] == 2 ? "answer" : "announcement");
}

static void forward(struct fabric *fabric, int from, const uint8_t *data, uint32_t size,
                    uint64_t now_ns)
{
    int to = (data[0] & 1) != 0 ? -1 : where(fabric, data);

    learn(fabric, data + 6, from);
    for (int i = 0; i < FABRIC_PORTS_MAX; i++)
        if (i != from && (to < 0 || i == to) && fabric->ports[i].fd >= 0)
            carry(fabric, from, i, data, size, now_ns);
}

bool fabric_take(struct fabric *fabric, int port)
{
    struct fabric_port *from = &fabric->ports[port];
    uint8_t data[FRAME_MAX];

    for (int i = 0; i < BURST; i++) {
        uint64_t asked_ns = fabric_now_ns(), now_ns;
        ssize_t size = read(from->fd, data, sizeof(data));

        if (size < 0 && errno == EAGAIN) {
            from->empty_ns = asked_ns;
            return true;
        }
        if (size < 0 && errno != EINTR)
            return false;
        if (size < 14)
            continue;
        now_ns = fabric_now_ns();
        fabric->stats.in++;
        note_claim(fabric, port, data, (uint32_t)size, now_ns);
        if (from->up)
            forward(fabric, port, data, (uint32_t)size, now_ns);
        else
            fabric->stats.cut++;
    }
    return true;
}

uint64_t fabric_deliver(struct fabric *fabric)
{
    while (fabric->heap_count > 0) {
        struct fabric_frame *frame;

        if (fabric->heap[0]->due_ns > fabric_now_ns())
            return fabric->heap[0]->due_ns;
        frame = pop(fabric);
        put(fabric, frame->to, frame->data, frame->size);
        free(frame);
    }
    return UINT64_MAX;
}
