#include "lib/io/dns.h"

#include <assert.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"
#include "lib/io/loop.h"

/* One lookup. Its thread owns it until it is in shared->done. */
struct job {
    struct job *next;
    struct shared *shared;
    char host[HA_DNS_HOST_SIZE];
    struct ha_addr addrs[HA_DNS_ADDRS_MAX];
    unsigned count;
    int gai;
};

/* All that threads and loop both touch, under the lock. Lives until the last of them lets go. */
struct shared {
    pthread_mutex_t lock;
    unsigned refs;
    struct job *done;
    uv_async_t *wake; /* NULL: the resolver was closed */
};

struct ha_dns_entry {
    char host[HA_DNS_HOST_SIZE];
    struct ha_addr addrs[HA_DNS_ADDRS_MAX]; /* the last good answer */
    unsigned count;                         /* 0: there was none */
    uint64_t good_ms;
    uint64_t used_ms;
    bool running; /* a thread is at it */
    bool wanted;  /* waits for a thread */
    struct ha_dns_request *requests;
};

struct ha_dns {
    uv_loop_t *loop;
    uv_async_t wake;
    struct shared *shared;
    struct ha_dns_entry *entries[HA_DNS_CACHE_MAX];
    unsigned entry_count;
    unsigned threads;
    unsigned open_requests; /* started, callback not yet called */
    bool closing;
    ha_dns_close_cb close_cb;
    void *close_ctx;
};

static void unref(struct shared *shared)
{
    bool last;

    (void)pthread_mutex_lock(&shared->lock);
    shared->refs--;
    last = shared->refs == 0;
    (void)pthread_mutex_unlock(&shared->lock);
    if (!last)
        return;
    (void)pthread_mutex_destroy(&shared->lock);
    free(shared);
}

static void look_up(struct job *job)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;

    job->gai = getaddrinfo(job->host, NULL, &hints, &found);
    if (job->gai != 0)
        return;
    for (struct addrinfo *at = found; at != NULL && job->count < HA_DNS_ADDRS_MAX;
         at = at->ai_next) {
        struct ha_addr *addr = &job->addrs[job->count];

        if ((at->ai_family != AF_INET && at->ai_family != AF_INET6) ||
            at->ai_addrlen > sizeof(struct sockaddr_in6))
            continue;
        memcpy(&addr->sa, at->ai_addr, at->ai_addrlen);
        addr->size = at->ai_addrlen;
        job->count++;
    }
    freeaddrinfo(found);
}

static void *thread_main(void *arg)
{
    struct job *job = arg;
    struct shared *shared = job->shared;
    bool told = false;

    ha_loop_block_signals();
    look_up(job);
    (void)pthread_mutex_lock(&shared->lock);
    if (shared->wake != NULL) {
        job->next = shared->done;
        shared->done = job;
        (void)uv_async_send(shared->wake);
        told = true;
    }
    (void)pthread_mutex_unlock(&shared->lock);
    if (!told)
        free(job);
    unref(shared);
    return NULL;
}

static int start_thread(struct job *job)
{
    pthread_attr_t attr;
    pthread_t thread;
    int rv = pthread_attr_init(&attr);

    if (rv != 0)
        return HA_ENOMEM;
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    rv = pthread_create(&thread, &attr, thread_main, job);
    (void)pthread_attr_destroy(&attr);
    return rv == 0 ? HA_OK : HA_ENOMEM;
}

static void on_wake_closed(uv_handle_t *handle)
{
    struct ha_dns *dns = handle->data;
    ha_dns_close_cb cb = dns->close_cb;
    void *ctx = dns->close_ctx;

    for (unsigned i = 0; i < dns->entry_count; i++)
        free(dns->entries[i]);
    free(dns);
    if (cb != NULL)
        cb(ctx);
}

static void close_if_idle(struct ha_dns *dns)
{
    if (dns->closing && dns->open_requests == 0 && !uv_is_closing((uv_handle_t *)&dns->wake))
        uv_close((uv_handle_t *)&dns->wake, on_wake_closed);
}

static void on_request_closed(uv_handle_t *handle)
{
    struct ha_dns_request *request = handle->data;
    struct ha_dns *dns = request->dns;

    assert(dns->open_requests > 0);
    dns->open_requests--;
    request->cb(request, request->code);
    close_if_idle(dns);
}

/* The only way out of a request; the first result wins. */
static void finish(struct ha_dns_request *request, int code)
{
    struct ha_dns_request **at;

    if (request->closing)
        return;
    request->closing = true;
    request->code = code;
    if (request->entry != NULL) {
        for (at = &request->entry->requests; *at != request; at = &(*at)->next)
            assert(*at != NULL);
        *at = request->next;
        request->entry = NULL;
    }
    uv_close((uv_handle_t *)&request->timer, on_request_closed);
}

static void set_port(struct ha_addr *addr, uint16_t port)
{
    if (addr->sa.sa_family == AF_INET)
        addr->in.sin_port = htons(port);
    else
        addr->in6.sin6_port = htons(port);
}

static void answer(struct ha_dns_request *request, const struct ha_dns_entry *entry)
{
    request->addr_count = entry->count;
    for (unsigned i = 0; i < entry->count; i++) {
        request->addrs[i] = entry->addrs[i];
        set_port(&request->addrs[i], request->port);
    }
    finish(request, HA_OK);
}

/* No fresh answer: an old one is better than none, since addresses change rarely. */
static void answer_failed(struct ha_dns_request *request, int code, const char *why)
{
    const struct ha_dns_entry *entry = request->entry;

    (void)ha_err_set(&request->err, code, "%s", why);
    if (entry == NULL || entry->count == 0) {
        finish(request, code);
        return;
    }
    request->stale = true;
    answer(request, entry);
}

static void fail_entry(struct ha_dns_entry *entry, int code, const char *why)
{
    HA_LOG(HA_LOG_WARN, "resolve-failed", "host=%s reason=%s remembered=%u", entry->host,
           HA_QUOTE(why), entry->count);
    while (entry->requests != NULL)
        answer_failed(entry->requests, code, why);
}

static void start_job(struct ha_dns *dns, struct ha_dns_entry *entry)
{
    struct job *job = calloc(1, sizeof(*job));

    entry->wanted = false;
    if (job == NULL) {
        fail_entry(entry, HA_ENOMEM, "out of memory");
        return;
    }
    job->shared = dns->shared;
    (void)ha_text_copy(job->host, sizeof(job->host), entry->host);
    (void)pthread_mutex_lock(&dns->shared->lock);
    dns->shared->refs++;
    (void)pthread_mutex_unlock(&dns->shared->lock);
    if (start_thread(job) != HA_OK) {
        free(job);
        unref(dns->shared);
        fail_entry(entry, HA_ENOMEM, "no thread");
        return;
    }
    entry->running = true;
    dns->threads++;
}

static struct ha_dns_entry *find(struct ha_dns *dns, const char *host)
{
    for (unsigned i = 0; i < dns->entry_count; i++) {
        if (strcmp(dns->entries[i]->host, host) == 0)
            return dns->entries[i];
    }
    return NULL;
}

static void take_job(struct ha_dns *dns, struct job *job)
{
    struct ha_dns_entry *entry = find(dns, job->host);

    dns->threads--;
    assert(entry != NULL); /* running ones are never evicted */
    entry->running = false;
    if (job->gai != 0) {
        fail_entry(entry, HA_ENOENT, gai_strerror(job->gai));
    } else if (job->count == 0) {
        fail_entry(entry, HA_ENOENT, "no usable address");
    } else {
        memcpy(entry->addrs, job->addrs, sizeof(entry->addrs));
        entry->count = job->count;
        entry->good_ms = ha_clock_mono_ms();
        while (entry->requests != NULL)
            answer(entry->requests, entry);
    }
    free(job);
}

static void on_wake(uv_async_t *wake)
{
    struct ha_dns *dns = wake->data;
    struct job *job;

    if (dns->closing)
        return; /* woken before the close, which has dropped what there was to take */
    (void)pthread_mutex_lock(&dns->shared->lock);
    job = dns->shared->done;
    dns->shared->done = NULL;
    (void)pthread_mutex_unlock(&dns->shared->lock);
    while (job != NULL) {
        struct job *next = job->next;

        take_job(dns, job);
        job = next;
    }
    for (unsigned i = 0; i < dns->entry_count && dns->threads < HA_DNS_THREADS_MAX; i++) {
        if (dns->entries[i]->wanted)
            start_job(dns, dns->entries[i]);
    }
}

int ha_dns_open(struct ha_dns **ret, uv_loop_t *loop)
{
    struct ha_dns *dns = calloc(1, sizeof(*dns));
    struct shared *shared = calloc(1, sizeof(*shared));

    if (dns == NULL || shared == NULL || pthread_mutex_init(&shared->lock, NULL) != 0) {
        free(dns);
        free(shared);
        return HA_ENOMEM;
    }
    if (uv_async_init(loop, &dns->wake, on_wake) != 0) {
        (void)pthread_mutex_destroy(&shared->lock);
        free(dns);
        free(shared);
        return HA_EIO;
    }
    dns->wake.data = dns;
    dns->loop = loop;
    dns->shared = shared;
    shared->refs = 1;
    shared->wake = &dns->wake;
    *ret = dns;
    return HA_OK;
}

static void drop_shared(struct shared *shared)
{
    struct job *job;

    (void)pthread_mutex_lock(&shared->lock);
    shared->wake = NULL;
    job = shared->done;
    shared->done = NULL;
    (void)pthread_mutex_unlock(&shared->lock);
    while (job != NULL) {
        struct job *next = job->next;

        free(job);
        job = next;
    }
    unref(shared);
}

void ha_dns_close(struct ha_dns *dns, ha_dns_close_cb cb, void *ctx)
{
    assert(!dns->closing);
    dns->closing = true;
    dns->close_cb = cb;
    dns->close_ctx = ctx;
    drop_shared(dns->shared);
    for (unsigned i = 0; i < dns->entry_count; i++) {
        while (dns->entries[i]->requests != NULL)
            finish(dns->entries[i]->requests, HA_ECANCELED);
    }
    close_if_idle(dns);
}

static void on_deadline(uv_timer_t *timer)
{
    answer_failed(timer->data, HA_ETIMEDOUT, "the resolver did not answer in time");
}

static bool is_host(const char *host)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t length = strnlen(host, HA_DNS_HOST_SIZE);

    return length > 0 && length < HA_DNS_HOST_SIZE && strspn(host, allowed) == length;
}

/* A free place, else that of the name that was not asked for longest. NULL: all are busy. */
static struct ha_dns_entry *make_entry(struct ha_dns *dns, const char *host)
{
    struct ha_dns_entry *entry = NULL;

    if (dns->entry_count < HA_DNS_CACHE_MAX) {
        entry = malloc(sizeof(*entry));
        if (entry == NULL)
            return NULL;
        dns->entries[dns->entry_count++] = entry;
    } else {
        for (unsigned i = 0; i < dns->entry_count; i++) {
            struct ha_dns_entry *at = dns->entries[i];

            if (at->running || at->requests != NULL)
                continue;
            if (entry == NULL || at->used_ms < entry->used_ms)
                entry = at;
        }
        if (entry == NULL)
            return NULL;
    }
    *entry = (struct ha_dns_entry){.count = 0};
    (void)ha_text_copy(entry->host, sizeof(entry->host), host);
    return entry;
}

static void ask(struct ha_dns *dns, struct ha_dns_request *request, const char *host)
{
    uint64_t now_ms = ha_clock_mono_ms();
    struct ha_dns_entry *entry = find(dns, host);

    if (entry == NULL)
        entry = make_entry(dns, host);
    if (entry == NULL) {
        (void)ha_err_set(&request->err, HA_EFULL, "too many names are being resolved");
        finish(request, HA_EFULL);
        return;
    }
    entry->used_ms = now_ms;
    request->entry = entry;
    request->next = entry->requests;
    entry->requests = request;
    if (entry->count > 0 && now_ms - entry->good_ms < HA_DNS_FRESH_MS) {
        answer(request, entry);
        return;
    }
    if (entry->running)
        return;
    if (dns->threads < HA_DNS_THREADS_MAX)
        start_job(dns, entry);
    else
        entry->wanted = true;
}

void ha_dns_start(struct ha_dns *dns, struct ha_dns_request *request, const char *host,
                  uint16_t port, uint32_t deadline_ms, ha_dns_cb cb)
{
    struct ha_addr addr;

    assert(!dns->closing && cb != NULL && deadline_ms > 0);
    *request = (struct ha_dns_request){
        .data = request->data, .dns = dns, .cb = cb, .port = port, .code = HA_OK};
    dns->open_requests++;
    (void)uv_timer_init(dns->loop, &request->timer);
    request->timer.data = request;
    (void)uv_timer_start(&request->timer, on_deadline, deadline_ms, 0);
    if (ha_addr_from_ip(host, port, &addr) == HA_OK) {
        request->addrs[0] = addr;
        request->addr_count = 1;
        finish(request, HA_OK);
    } else if (!is_host(host)) {
        (void)ha_err_set(&request->err, HA_EINVAL, "not a host name or address");
        finish(request, HA_EINVAL);
    } else {
        ask(dns, request, host);
    }
}

void ha_dns_cancel(struct ha_dns_request *request)
{
    if (!request->closing)
        (void)ha_err_set(&request->err, HA_ECANCELED, "canceled");
    finish(request, HA_ECANCELED);
}
