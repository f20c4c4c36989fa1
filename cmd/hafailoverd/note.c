#include "cmd/hafailoverd/note.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/hafailoverd/daemon.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/file.h"
#include "lib/io/log.h"

#define NOTE_FILE "promise" /* below the data directory: one line, "MILLISECONDS\n" */
#define NOTE_SIZE_MAX 64u
#define RETRY_MS 1000u

struct ha_promise_note {
    struct ha_daemon *daemon;
    char path[HA_PATH_SIZE + 16];
    uv_work_t work;
    uv_timer_t retry;
    bool writing;
    uint32_t writing_ms; /* what the worker writes; not touched while it does */
    uint32_t asked_ms;   /* newest ask; 0: none waits */
    struct ha_err err;   /* the worker's */
    unsigned open_parts; /* of closing */
    void (*close_cb)(struct ha_daemon *daemon);
};

static int write_note(const char *path, uint32_t ms, struct ha_err *err)
{
    char text[NOTE_SIZE_MAX];

    (void)ha_text_format(text, sizeof(text), "%" PRIu32 "\n", ms);
    return ha_file_write(path, text, strlen(text), 0640, err);
}

int ha_promise_note_make(const char *data_dir, struct ha_err *err)
{
    char path[HA_PATH_SIZE + 16];
    int code = ha_text_format(path, sizeof(path), "%s/%s", data_dir, NOTE_FILE);

    return code == HA_OK ? write_note(path, 0, err)
                         : ha_err_set(err, code, "%s is too long", data_dir);
}

static int read_note(struct ha_promise_note *note, bool is_new, uint32_t *ret_ms,
                     struct ha_err *err)
{
    uint8_t *data;
    size_t size;
    uint64_t ms;
    int code = ha_file_read(note->path, NOTE_SIZE_MAX, &data, &size, err);

    if (code == HA_ENOENT) {
        *ret_ms = is_new ? 0 : HA_LEASE_MAX_MS;
        return is_new ? write_note(note->path, 0, err) : HA_OK;
    }
    if (code != HA_OK)
        return code;
    data[strcspn((const char *)data, "\n")] = '\0';
    code = ha_text_u64((const char *)data, HA_DURATION_MAX_MS, &ms);
    free(data);
    if (code != HA_OK)
        return ha_err_set(err, HA_ECORRUPT,
                          "%s is damaged; remove it, and the longest possible promise is assumed",
                          note->path);
    *ret_ms = (uint32_t)ms;
    return HA_OK;
}

int ha_promise_note_open(struct ha_daemon *daemon, bool is_new, struct ha_promise_note **ret,
                         uint32_t *ret_ms, struct ha_err *err)
{
    struct ha_promise_note *note = calloc(1, sizeof(*note));
    int code;

    if (note == NULL)
        return ha_err_set(err, HA_ENOMEM, "no memory for the promise note");
    note->daemon = daemon;
    note->work.data = note;
    code = ha_text_format(note->path, sizeof(note->path), "%s/%s", daemon->settings->data_dir,
                          NOTE_FILE);
    if (code == HA_OK)
        code = read_note(note, is_new, ret_ms, err);
    if (code != HA_OK) {
        free(note);
        return code;
    }
    (void)uv_timer_init(daemon->uv, &note->retry); /* cannot fail */
    note->retry.data = note;
    *ret = note;
    return HA_OK;
}

/* On a worker thread: touches only the path, writing_ms and err. */
static void do_write(uv_work_t *work)
{
    struct ha_promise_note *note = work->data;

    note->err = (struct ha_err){0};
    (void)write_note(note->path, note->writing_ms, &note->err);
}

static void start(struct ha_promise_note *note);

static void part_closed(struct ha_promise_note *note)
{
    void (*cb)(struct ha_daemon * daemon) = note->close_cb;
    struct ha_daemon *daemon = note->daemon;

    assert(note->open_parts > 0);
    if (--note->open_parts > 0)
        return;
    free(note);
    cb(daemon);
}

static void on_retry(uv_timer_t *timer)
{
    struct ha_promise_note *note = timer->data;

    if (!note->writing && note->asked_ms != 0)
        start(note);
}

static void on_written(uv_work_t *work, int status)
{
    struct ha_promise_note *note = work->data;
    struct ha_event event = {.kind = HA_EVENT_PERSISTED_PROMISE};

    note->writing = false;
    if (note->close_cb != NULL) {
        part_closed(note);
        return;
    }
    if (status != 0 || note->err.code != HA_OK) {
        HA_LOG(HA_LOG_ERROR, "promise-note-failed", "why=%s", HA_QUOTE(note->err.text));
        if (note->asked_ms == 0)
            note->asked_ms = note->writing_ms;
        (void)uv_timer_start(&note->retry, on_retry, RETRY_MS, 0);
        return;
    }
    event.u.persisted_ms = note->writing_ms;
    (void)ha_daemon_step(note->daemon, &event, NULL); /* HA_OK for this kind */
    if (note->asked_ms != 0)
        start(note);
}

static void start(struct ha_promise_note *note)
{
    note->writing = true;
    note->writing_ms = note->asked_ms;
    note->asked_ms = 0;
    (void)uv_queue_work(note->daemon->uv, &note->work, do_write, on_written); /* cannot fail */
}

void ha_promise_note_write(struct ha_promise_note *note, uint32_t longest_ms)
{
    assert(longest_ms > 0);
    note->asked_ms = longest_ms;
    if (!note->writing)
        start(note);
}

static void on_retry_closed(uv_handle_t *handle)
{
    part_closed(handle->data);
}

void ha_promise_note_close(struct ha_promise_note *note, void (*cb)(struct ha_daemon *daemon))
{
    note->close_cb = cb;
    note->open_parts = 1 + (note->writing ? 1u : 0u);
    uv_close((uv_handle_t *)&note->retry, on_retry_closed);
}
