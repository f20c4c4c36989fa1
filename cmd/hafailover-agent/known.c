#include "cmd/hafailover-agent/known.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/hafailover-agent/daemon.h"
#include "cmd/hafailover-agent/database.h"
#include "cmd/hafailover-agent/peers.h"
#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/agent.h"
#include "lib/io/file.h"
#include "lib/io/log.h"
#include "lib/wire/message.h"

/* Messages as they came, each behind its size (u32, little-endian), then a CRC32C over all. */
#define KNOWN_FILE "known"
#define ITEMS_MAX (HA_DATABASES_MAX + 1u)
#define ITEM_SIZE_MAX 16384u
#define FILE_SIZE_MAX (ITEMS_MAX * (ITEM_SIZE_MAX + 4u))

struct item {
    uint32_t service; /* 0: the peers */
    uint64_t version; /* of the configuration it was said by */
    char name[HA_NAME_SIZE];
    uint32_t size;
    uint8_t *data;
};

struct ha_known {
    struct ha_host *host;
    char path[HA_PATH_SIZE + 16];
    uint32_t count;
    struct item items[ITEMS_MAX];
    bool loading, dirty, is_writing;
    bool failing; /* the last write did not reach the disk */
    uv_work_t work;
    uint8_t *text; /* what the worker writes */
    size_t size;
    struct ha_err err; /* the worker's */
    void (*close_cb)(struct ha_host *host);
};

static void wipe(void *data, size_t size)
{
    if (data != NULL)
        ha_file_wipe(data, size);
    free(data);
}

static void finish(struct ha_known *known)
{
    void (*cb)(struct ha_host * host) = known->close_cb;
    struct ha_host *host = known->host;

    for (uint32_t i = 0; i < known->count; i++)
        wipe(known->items[i].data, known->items[i].size);
    free(known);
    cb(host);
}

/* On a worker thread: touches only path, text, size and err. */
static void do_write(uv_work_t *work)
{
    struct ha_known *known = work->data;

    known->err = (struct ha_err){0};
    (void)ha_file_write(known->path, known->text, known->size, 0600, &known->err);
}

static bool make_text(struct ha_known *known)
{
    struct ha_writer w;
    size_t size = 4;

    for (uint32_t i = 0; i < known->count; i++)
        size += 4 + known->items[i].size;
    known->text = malloc(size);
    if (known->text == NULL)
        return false;
    ha_writer_init(&w, known->text, size);
    for (uint32_t i = 0; i < known->count; i++) {
        ha_put_u32(&w, known->items[i].size);
        ha_put_bytes(&w, known->items[i].data, known->items[i].size);
    }
    ha_put_u32(&w, ha_crc32c(0, known->text, w.size));
    assert(!w.failed);
    known->size = w.size;
    return true;
}

static void on_written(uv_work_t *work, int status);

static void start(struct ha_known *known)
{
    if (!known->dirty || known->is_writing || known->close_cb != NULL || !make_text(known))
        return;
    known->dirty = false;
    known->is_writing = true;
    (void)uv_queue_work(known->host->uv, &known->work, do_write, on_written); /* cannot fail */
}

static void on_written(uv_work_t *work, int status)
{
    struct ha_known *known = work->data;

    bool failed = status != 0 || known->err.code != HA_OK;

    known->is_writing = false;
    wipe(known->text, known->size);
    known->text = NULL;
    if (failed && !known->failing)
        HA_LOG(HA_LOG_WARN, "settings-not-kept", "why=%s", HA_QUOTE(known->err.text));
    known->failing = failed;
    known->dirty = known->dirty || failed;
    if (known->close_cb != NULL)
        finish(known);
    else if (!failed)
        start(known);
}

void ha_known_poll(struct ha_known *known)
{
    start(known);
}

static struct item *item_of(struct ha_known *known, uint32_t service)
{
    for (uint32_t i = 0; i < known->count; i++)
        if (known->items[i].service == service)
            return &known->items[i];
    if (known->count == ITEMS_MAX)
        return NULL;
    known->items[known->count] = (struct item){.service = service};
    return &known->items[known->count++];
}

static void forget(struct ha_known *known, uint32_t service)
{
    for (uint32_t i = 0; i < known->count; i++) {
        if (known->items[i].service != service)
            continue;
        wipe(known->items[i].data, known->items[i].size);
        known->items[i] = known->items[--known->count];
        known->dirty = true;
        return;
    }
}

/* A service that was removed and made anew has another number. */
static void forget_older(struct ha_known *known, uint32_t service, const char *name)
{
    for (uint32_t i = 0; i < known->count; i++)
        if (known->items[i].service != service && strcmp(known->items[i].name, name) == 0) {
            forget(known, known->items[i].service);
            return;
        }
}

static void keep(struct ha_known *known, const struct ha_message *message, const uint8_t *data,
                 size_t size)
{
    bool is_service = message->type == HA_MESSAGE_SETTINGS;
    uint32_t service = is_service ? message->u.settings.service : 0;
    struct item *item = item_of(known, service);
    uint8_t *copy;

    if (item == NULL || (item->size == size && memcmp(item->data, data, size) == 0))
        return;
    copy = malloc(size);
    if (copy == NULL)
        return; /* the old one stays: it is told from a newer one */
    memcpy(copy, data, size);
    item->version = is_service ? message->u.settings.config_version : 0;
    if (is_service)
        (void)ha_text_copy(item->name, sizeof(item->name), message->u.settings.service_name);
    wipe(item->data, item->size);
    item->data = copy;
    item->size = (uint32_t)size;
    known->dirty = true;
}

void ha_known_put(struct ha_known *known, const struct ha_message *message)
{
    const struct ha_settings *settings = &message->u.settings;
    uint8_t data[ITEM_SIZE_MAX];
    size_t size;

    if (known->loading || known->close_cb != NULL)
        return;
    if (message->type == HA_MESSAGE_SETTINGS && !settings->gone)
        forget_older(known, settings->service, settings->service_name);
    if (message->type == HA_MESSAGE_SETTINGS &&
        (settings->gone || settings->on_quorum_loss != HA_QUORUM_LOSS_HOLD))
        forget(known, settings->service);
    else if (ha_message_encode(message, data, sizeof(data), &size, NULL) == HA_OK)
        keep(known, message, data, size);
    ha_file_wipe(data, sizeof(data));
    start(known);
}

static void end_removed(const struct ha_host *host, const struct ha_all *all)
{
    for (uint32_t i = 0; i < host->core->held_count; i++) {
        const struct ha_held *held = &host->core->held[i];
        const struct ha_settings gone = {.config_version = all->config_version,
                                         .service = held->settings.service,
                                         .member = held->settings.member,
                                         .gone = true};

        if (!held->used || held->settings.port == 0 || held->settings.gone ||
            !ha_all_lacks(all, gone.service, held->settings.config_version))
            continue;
        HA_LOG(HA_LOG_WARN, "service-gone", "service=%s why=%s", held->settings.service_name,
               HA_QUOTE("it was removed while this agent was away"));
        ha_databases_settings(host->databases, &gone);
    }
}

void ha_known_all(struct ha_known *known, const struct ha_all *all)
{
    end_removed(known->host, all);
    for (uint32_t i = 0; i < known->count;) {
        const struct item *item = &known->items[i];

        if (item->service != 0 && ha_all_lacks(all, item->service, item->version))
            forget(known, item->service); /* the last one is in its place now */
        else
            i++;
    }
    start(known);
}

static void say(struct ha_known *known, const uint8_t *data, size_t size)
{
    struct ha_message message;

    if (ha_message_decode(data, size, &message, NULL) != HA_OK)
        return; /* of another version: the watchers will say it in this one */
    if (message.type == HA_MESSAGE_PEERS) {
        keep(known, &message, data, size);
        (void)ha_peers_take(known->host->peers, &message.u.peers);
        ha_file_wipe(&message, sizeof(message));
    } else if (message.type == HA_MESSAGE_SETTINGS && !message.u.settings.gone) {
        keep(known, &message, data, size);
        ha_databases_settings(known->host->databases, &message.u.settings);
    }
}

static bool say_all(struct ha_known *known, const uint8_t *data, size_t size)
{
    struct ha_reader r;

    if (size < 4 || size > FILE_SIZE_MAX)
        return false;
    ha_reader_init(&r, data + size - 4, 4);
    if (ha_get_u32(&r) != ha_crc32c(0, data, size - 4))
        return false;
    ha_reader_init(&r, data, size - 4);
    while (ha_reader_left(&r) > 0) {
        uint32_t item_size = ha_get_u32(&r);
        size_t at = size - 4 - ha_reader_left(&r);

        if (r.failed || item_size > ha_reader_left(&r))
            return false;
        say(known, data + at, item_size);
        ha_reader_init(&r, data + at + item_size, size - 4 - at - item_size);
    }
    return true;
}

int ha_known_open(struct ha_host *host, struct ha_known **ret)
{
    struct ha_known *known = calloc(1, sizeof(*known));
    struct ha_err err = {0};
    uint8_t *data;
    size_t size;
    int code;

    if (known == NULL)
        return HA_ENOMEM;
    known->host = host;
    known->work.data = known;
    (void)ha_text_format(known->path, sizeof(known->path), "%s/%s", host->settings->state_dir,
                         KNOWN_FILE); /* checked with that of the epochs */
    code = ha_file_read_secret(known->path, FILE_SIZE_MAX, &data, &size, &err);
    if (code == HA_OK) {
        known->loading = true;
        if (!say_all(known, data, size))
            HA_LOG(HA_LOG_WARN, "settings-not-known", "why=\"%s is damaged\"", known->path);
        known->loading = false;
        known->dirty = false;
        wipe(data, size);
    } else if (code != HA_ENOENT) {
        HA_LOG(HA_LOG_WARN, "settings-not-known", "why=%s", HA_QUOTE(err.text));
    }
    *ret = known;
    return HA_OK;
}

void ha_known_close(struct ha_known *known, void (*cb)(struct ha_host *host))
{
    assert(cb != NULL && known->close_cb == NULL);
    known->close_cb = cb;
    if (!known->is_writing)
        finish(known);
}
