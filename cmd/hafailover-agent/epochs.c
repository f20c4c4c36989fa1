#include "cmd/hafailover-agent/epochs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cmd/hafailover-agent/daemon.h"
#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/file.h"
#include "lib/io/log.h"
#include "lib/io/loop.h"

/* One text file below the state directory: a first line "epochs VERSION", a second "memory MEMORY
 * INSTANCE", a line per service, "SERVICE_ID EPOCH_SEEN GIVEN_UP WHY SERVING_EPOCH SERVING_RUN
 * SEALED SYNC_EPOCH SYNC_INDEX HOLD_EPOCH HOLD_INDEX HOLD_LEASE HOLD_MEMBERS MEMORY_1..MEMORY_7
 * NAME", and a last line "end CRC32C" over everything before it. */
#define NOTE_FILE "epochs"
#define HEAD "epochs 2\n"
#define LOCK_FILE "lock" /* held while an agent runs: two would forget what each other gave up */
#define LINE_SIZE 640u
#define NOTE_SIZE_MAX ((HA_SERVICES_MAX + 3) * LINE_SIZE)
#define FIELDS (14u + HA_MEMBERS_MAX)
#define RETRY_MS 1000u
#define HUNG_MS 2000u /* a write that takes longer: nothing can be noted */

struct ha_epochs {
    struct ha_host *host;
    int lock;
    char path[HA_PATH_SIZE + 16];
    uint64_t memory;    /* by which other agents know what they were promised ... */
    uint64_t memory_of; /* ... by this instance */
    uint32_t count;
    struct ha_effect_epochs rows[HA_SERVICES_MAX];
    bool dirty[HA_SERVICES_MAX];   /* not yet in a write */
    bool writing[HA_SERVICES_MAX]; /* in the write under way */
    struct ha_effect_epochs written[HA_SERVICES_MAX];
    bool is_writing, has_thread;
    bool failing;        /* the last write did not reach the disk */
    uint64_t writing_ms; /* since when, boot clock */
    uv_thread_t thread;  /* its own: those of libuv may all wait for a database's disk that hangs */
    uv_async_t done;
    uv_timer_t retry;
    char *text; /* what the worker writes */
    size_t size;
    struct ha_err err; /* the worker's */
    unsigned open_parts;
    void (*close_cb)(struct ha_host *host);
};

/* Split @line at single spaces into exactly FIELDS words. */
static bool split(char *line, char *words[FIELDS])
{
    for (unsigned i = 0; i < FIELDS; i++) {
        char *space = strchr(line, ' ');

        words[i] = line;
        if ((space == NULL) != (i == FIELDS - 1))
            return false;
        if (space == NULL)
            return true;
        *space = '\0';
        line = space + 1;
    }
    return false;
}

static bool take_hold(struct ha_hold_terms *hold, char *const *words)
{
    uint64_t lease_ms, members;

    if (ha_text_u64(words[0], UINT64_MAX, &hold->epoch) != HA_OK ||
        ha_text_u64(words[1], UINT64_MAX, &hold->index) != HA_OK ||
        ha_text_u64(words[2], HA_LEASE_MAX_MS, &lease_ms) != HA_OK ||
        ha_text_u64(words[3], HA_MEMBER_BITS_MAX, &members) != HA_OK)
        return false;
    hold->set.lease_ms = (uint32_t)lease_ms;
    hold->set.members = (uint32_t)members;
    for (uint32_t id = 1; id <= HA_MEMBERS_MAX; id++)
        if (ha_text_u64(words[3 + id], UINT64_MAX, &hold->set.memory[id]) != HA_OK)
            return false;
    return true;
}

static bool take_memory(struct ha_epochs *epochs, const char *line)
{
    char copy[LINE_SIZE], *space;

    if (strncmp(line, "memory ", 7) != 0 || ha_text_copy(copy, sizeof(copy), line + 7) != HA_OK)
        return false;
    space = strchr(copy, ' ');
    if (space == NULL)
        return false;
    *space = '\0';
    return ha_text_u64(copy, UINT64_MAX, &epochs->memory) == HA_OK &&
           ha_text_u64(space + 1, UINT64_MAX, &epochs->memory_of) == HA_OK && epochs->memory != 0;
}

static bool take_line(struct ha_epochs *epochs, char *line)
{
    struct ha_effect_epochs *row = &epochs->rows[epochs->count];
    char *words[FIELDS];
    uint64_t service, why;

    if (epochs->count == HA_SERVICES_MAX || !split(line, words))
        return false;
    if (ha_text_u64(words[0], UINT32_MAX, &service) != HA_OK ||
        ha_text_u64(words[1], UINT64_MAX, &row->epoch_seen) != HA_OK ||
        ha_text_u64(words[2], UINT64_MAX, &row->given_up) != HA_OK ||
        ha_text_u64(words[3], UINT32_MAX, &why) != HA_OK ||
        ha_text_u64(words[4], UINT64_MAX, &row->serving_epoch) != HA_OK ||
        ha_text_u64(words[5], UINT64_MAX, &row->serving_run) != HA_OK ||
        ha_text_u64(words[6], UINT64_MAX, &row->sealed) != HA_OK ||
        ha_text_u64(words[7], UINT64_MAX, &row->sync_epoch) != HA_OK ||
        ha_text_u64(words[8], UINT64_MAX, &row->sync_index) != HA_OK ||
        ha_text_copy(row->service_name, sizeof(row->service_name), words[FIELDS - 1]) != HA_OK ||
        !ha_verdict_valid((uint32_t)why) || !take_hold(&row->hold, words + 9))
        return false;
    row->service = (uint32_t)service;
    row->given_up_why = (enum ha_verdict)why;
    epochs->count++;
    return true;
}

static bool is_of_this_version(const char *text)
{
    return strncmp(text, HEAD, strlen(HEAD)) == 0;
}

static bool take_text(struct ha_epochs *epochs, char *text, size_t size)
{
    uint32_t crc = ha_crc32c(0, HEAD, strlen(HEAD));
    char end[32];
    char *line = text + strlen(HEAD);

    if (strlen(text) != size || !is_of_this_version(text))
        return false;
    for (char *next; (next = strchr(line, '\n')) != NULL; line = next + 1) {
        *next = '\0';
        if (strncmp(line, "end ", 4) == 0) {
            (void)ha_text_format(end, sizeof(end), "end %08" PRIx32, crc);
            return next[1] == '\0' && strcmp(line, end) == 0 && epochs->memory != 0;
        }
        *next = '\n';
        crc = ha_crc32c(crc, line, (size_t)(next + 1 - line));
        *next = '\0';
        if (!(epochs->memory == 0 ? take_memory(epochs, line) : take_line(epochs, line)))
            return false;
    }
    return false; /* no last line */
}

static void put_hold(char *to, const struct ha_hold_terms *hold)
{
    (void)ha_text_append(to, LINE_SIZE, " %" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRIu32,
                         hold->epoch, hold->index, hold->set.lease_ms, hold->set.members);
    for (uint32_t id = 1; id <= HA_MEMBERS_MAX; id++)
        (void)ha_text_append(to, LINE_SIZE, " %" PRIu64, hold->set.memory[id]);
}

static void make_text(struct ha_epochs *epochs)
{
    uint32_t crc;

    (void)ha_text_copy(epochs->text, LINE_SIZE, HEAD);
    (void)ha_text_format(epochs->text + strlen(HEAD), LINE_SIZE, "memory %" PRIu64 " %" PRIu64 "\n",
                         epochs->memory, epochs->memory_of);
    epochs->size = strlen(epochs->text);
    for (uint32_t i = 0; i < epochs->count; i++) {
        const struct ha_effect_epochs *row = &epochs->rows[i];
        char *to = epochs->text + epochs->size;

        if (ha_agent_may_forget(epochs->host->core, row->service))
            continue;
        (void)ha_text_format(to, LINE_SIZE,
                             "%" PRIu32 " %" PRIu64 " %" PRIu64 " %u %" PRIu64 " %" PRIu64
                             " %" PRIu64 " %" PRIu64 " %" PRIu64,
                             row->service, row->epoch_seen, row->given_up,
                             (unsigned)row->given_up_why, row->serving_epoch, row->serving_run,
                             row->sealed, row->sync_epoch, row->sync_index);
        put_hold(to, &row->hold);
        (void)ha_text_append(to, LINE_SIZE, " %s\n",
                             row->service_name[0] != '\0' ? row->service_name : "-");
        epochs->size += strlen(to);
    }
    crc = ha_crc32c(0, epochs->text, epochs->size);
    (void)ha_text_format(epochs->text + epochs->size, LINE_SIZE, "end %08" PRIx32 "\n", crc);
    epochs->size += strlen(epochs->text + epochs->size);
}

/* What was promised is remembered by what is noted here. Where notes are missing, or those of
 * another instance (the host before a reboot, or the one this was cloned from), nobody shall take
 * this agent's word for that one's. Blocking: before anything is said. */
static int remember(struct ha_epochs *epochs, struct ha_err *err)
{
    struct ha_agent *core = epochs->host->core;
    int code = HA_OK;

    if (epochs->memory == 0 || epochs->memory_of != core->instance) {
        epochs->memory = ha_random_u64() | 1;
        epochs->memory_of = core->instance;
        make_text(epochs);
        code = ha_file_write(epochs->path, epochs->text, epochs->size, 0600, err);
    }
    core->memory = epochs->memory;
    return code;
}

static int read_note(struct ha_epochs *epochs, struct ha_err *err)
{
    uint8_t *data;
    size_t size;
    int code = ha_file_read(epochs->path, NOTE_SIZE_MAX, &data, &size, err);

    if (code == HA_ENOENT)
        return remember(epochs, err);
    if (code != HA_OK)
        return code;
    if (strncmp((char *)data, "epochs ", 7) == 0 && !is_of_this_version((char *)data))
        code = ha_err_set(err, HA_ENOTSUP,
                          "%s was written by another version of this program: go on with that one",
                          epochs->path);
    else if (!take_text(epochs, (char *)data, size))
        code = ha_err_set(err, HA_ECORRUPT,
                          "%s is damaged: make sure that no database of this host is primary, then "
                          "remove it",
                          epochs->path);
    free(data);
    for (uint32_t i = 0; code == HA_OK && i < epochs->count; i++)
        code = ha_agent_load(epochs->host->core, &epochs->rows[i]);
    return code == HA_OK ? remember(epochs, err) : code;
}

/* On a thread of its own: touches only path, text, size and err. */
static void do_write(void *arg)
{
    struct ha_epochs *epochs = arg;

    ha_loop_block_signals();
    (void)ha_file_write(epochs->path, epochs->text, epochs->size, 0600, &epochs->err);
    (void)uv_async_send(&epochs->done); /* fails only for a closed handle */
}

static void start(struct ha_epochs *epochs)
{
    bool any = false;

    if (epochs->is_writing || epochs->close_cb != NULL)
        return;
    for (uint32_t i = 0; i < epochs->count; i++) {
        any = any || epochs->dirty[i];
        epochs->writing[i] = epochs->dirty[i];
        epochs->written[i] = epochs->rows[i];
        epochs->dirty[i] = false;
    }
    if (!any)
        return;
    make_text(epochs);
    epochs->is_writing = true;
    epochs->writing_ms = ha_clock_boot_ms();
    epochs->err = (struct ha_err){0};
    epochs->has_thread = uv_thread_create(&epochs->thread, do_write, epochs) == 0;
    if (epochs->has_thread)
        return;
    (void)ha_err_set(&epochs->err, HA_ENOMEM, "no thread to write the note of epochs");
    (void)uv_async_send(&epochs->done);
}

static void on_retry(uv_timer_t *timer)
{
    start(timer->data);
}

static void part_closed(struct ha_epochs *epochs)
{
    void (*cb)(struct ha_host * host) = epochs->close_cb;
    struct ha_host *host = epochs->host;

    assert(epochs->open_parts > 0);
    if (--epochs->open_parts > 0)
        return;
    (void)close(epochs->lock);
    free(epochs->text);
    free(epochs);
    cb(host);
}

static void tell(struct ha_epochs *epochs, uint32_t at)
{
    struct ha_event event = {.kind = HA_EVENT_PERSISTED_EPOCHS};

    event.u.epochs = (struct ha_effect_epochs_done){
        .service = epochs->written[at].service,
        .epoch_seen = epochs->written[at].epoch_seen,
        .given_up = epochs->written[at].given_up,
        .sealed = epochs->written[at].sealed,
        .sync_index = epochs->written[at].sync_index,
        .hold_index = epochs->written[at].hold.index,
    };
    ha_host_step(epochs->host, &event);
}

/* A promotion that waits for the note fails at once, and another member is asked. */
static void tell_noteless(struct ha_epochs *epochs)
{
    struct ha_event event = {.kind = HA_EVENT_TICK};

    epochs->host->core->noteless = true;
    ha_host_step(epochs->host, &event);
}

static void on_handle_closed(uv_handle_t *handle)
{
    part_closed(handle->data);
}

static void on_written(uv_async_t *done)
{
    struct ha_epochs *epochs = done->data;

    epochs->is_writing = false;
    if (epochs->has_thread)
        (void)uv_thread_join(&epochs->thread); /* it is past its last word */
    if (epochs->close_cb != NULL) {
        uv_close((uv_handle_t *)done, on_handle_closed);
        return;
    }
    epochs->failing = epochs->err.code != HA_OK;
    if (epochs->failing) {
        HA_LOG(HA_LOG_ERROR, "epochs-not-written", "why=%s", HA_QUOTE(epochs->err.text));
        for (uint32_t i = 0; i < epochs->count; i++)
            epochs->dirty[i] = epochs->dirty[i] || epochs->writing[i];
        (void)uv_timer_start(&epochs->retry, on_retry, RETRY_MS, 0);
        tell_noteless(epochs);
        return;
    }
    for (uint32_t i = 0; i < epochs->count; i++) {
        if (epochs->writing[i])
            tell(epochs, i);
    }
    start(epochs);
}

bool ha_epochs_can_write(const struct ha_epochs *epochs)
{
    struct statvfs disk;

    if (epochs->failing ||
        (epochs->is_writing && ha_clock_boot_ms() - epochs->writing_ms >= HUNG_MS))
        return false;
    return statvfs(epochs->host->settings->state_dir, &disk) != 0 ||
           (disk.f_bavail > 0 && (disk.f_flag & ST_RDONLY) == 0);
}

void ha_epochs_write(struct ha_epochs *epochs, const struct ha_effect_epochs *what)
{
    uint32_t at = 0;

    while (at < epochs->count && epochs->rows[at].service != what->service)
        at++;
    if (at == HA_SERVICES_MAX)
        for (at = 0; at < HA_SERVICES_MAX; at++)
            if (ha_agent_may_forget(epochs->host->core, epochs->rows[at].service))
                break;
    if (at == HA_SERVICES_MAX)
        return; /* the core's table is as large as this one */
    if (at == epochs->count)
        epochs->count++;
    epochs->rows[at] = *what;
    epochs->dirty[at] = true;
    start(epochs);
}

void ha_epochs_close(struct ha_epochs *epochs, void (*cb)(struct ha_host *host))
{
    epochs->close_cb = cb;
    epochs->open_parts = 2;
    uv_close((uv_handle_t *)&epochs->retry, on_handle_closed);
    if (!epochs->is_writing)
        uv_close((uv_handle_t *)&epochs->done, on_handle_closed);
}

static int take_lock(struct ha_epochs *epochs, struct ha_err *err)
{
    const char *dir = epochs->host->settings->state_dir;
    char path[HA_PATH_SIZE + 16];

    (void)ha_text_format(path, sizeof(path), "%s/%s", dir, LOCK_FILE);
    epochs->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (epochs->lock < 0)
        return ha_err_set(err, HA_EIO, "open %s: %s", path, strerror(errno));
    if (flock(epochs->lock, LOCK_EX | LOCK_NB) != 0)
        return ha_err_set(err, HA_EBUSY, "%s is in use by another agent", dir);
    return HA_OK;
}

int ha_epochs_open(struct ha_host *host, struct ha_epochs **ret, struct ha_err *err)
{
    struct ha_epochs *epochs = calloc(1, sizeof(*epochs));
    int code = HA_ENOMEM;

    if (epochs == NULL)
        return ha_err_set(err, code, "no memory for the note of epochs");
    epochs->host = host;
    epochs->lock = -1;
    epochs->text = malloc(NOTE_SIZE_MAX + LINE_SIZE);
    if (epochs->text != NULL)
        code = ha_text_format(epochs->path, sizeof(epochs->path), "%s/%s",
                              host->settings->state_dir, NOTE_FILE);
    if (code == HA_OK)
        code = take_lock(epochs, err);
    if (code == HA_OK)
        code = read_note(epochs, err);
    if (code == HA_OK && uv_async_init(host->uv, &epochs->done, on_written) != 0)
        code = ha_err_set(err, HA_EIO, "no handle for the note of epochs");
    if (code != HA_OK) {
        if (epochs->lock >= 0)
            (void)close(epochs->lock);
        free(epochs->text);
        free(epochs);
        return code;
    }
    (void)uv_timer_init(host->uv, &epochs->retry); /* cannot fail */
    epochs->retry.data = epochs->done.data = epochs;
    *ret = epochs;
    return HA_OK;
}
