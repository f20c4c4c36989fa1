#include "cmd/hafailoverctl/care.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/limits.h"
#include "lib/io/file.h"

#define BACKUP_MAGIC 0x4b424148u /* "HABK", as raft/care.c writes it */

struct backup {
    const char *path;
    enum ha_exit result;
};

/* Whole, as its checksum says; then where it stands, for whoever keeps it. */
static bool look(const void *data, size_t size, uint64_t *ret_index, uint64_t *ret_staleness_ms)
{
    struct ha_reader r, end;
    const uint8_t *bytes = data;
    bool is_good;

    if (size < 16)
        return false;
    ha_reader_init(&end, bytes + size - 4, 4);
    ha_reader_init(&r, data, size);
    is_good = ha_get_u32(&r) == BACKUP_MAGIC;
    (void)ha_get_u32(&r); /* version: for the reader of the file */
    *ret_index = ha_get_u64(&r);
    (void)ha_get_u64(&r);
    (void)ha_get_u64(&r);
    *ret_staleness_ms = ha_get_u64(&r);
    return is_good && !r.failed && ha_get_u32(&end) == ha_crc32c(0, bytes, size - 4);
}

static void on_bytes(void *ctx, const void *data, size_t size)
{
    struct backup *backup = ctx;
    uint64_t index, staleness_ms;
    struct ha_err err = {0};

    if (!look(data, size, &index, &staleness_ms)) {
        fprintf(stderr, "hafailoverctl: the answer is no whole backup: try again\n");
        return;
    }
    if (ha_file_write(backup->path, data, size, 0600, &err) != HA_OK) {
        fprintf(stderr, "hafailoverctl: %s\n", err.text);
        backup->result = HA_EXIT_USAGE;
        return;
    }
    backup->result = HA_EXIT_OK;
    printf("%s: everything up to index %" PRIu64, backup->path, index);
    if (staleness_ms == UINT64_MAX)
        printf("; no leader is known, so others may know more\n");
    else
        printf(", as of %" PRIu64 " ms ago\n", staleness_ms);
}

enum ha_exit ha_care_backup(const struct ha_ctl *ctl)
{
    struct backup backup = {.path = ctl->words[0], .result = HA_EXIT_REFUSED};
    struct ha_ask ask = {
        .method = "GET", .path = "/v1/backup", .on_bytes = on_bytes, .bytes_ctx = &backup};
    json_t *json;
    enum ha_exit result = ha_call(&ctl->target, &ask, &json);

    json_decref(json);
    return result == HA_EXIT_OK ? backup.result : result;
}

static enum ha_exit replace(const struct ha_ctl *ctl, const char *old_name, const char *new_name,
                            const char *address)
{
    json_t *body = json_pack("{s:s,s:s,s:s}", "old", old_name, "new", new_name, "address", address);
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    struct ha_ask ask = {.method = "POST", .path = "/v1/watchers/replace", .body = text};
    enum ha_exit result;
    json_t *json;

    json_decref(body);
    if (text == NULL)
        return HA_EXIT_USAGE;
    ask.body_size = strlen(text);
    result = ha_call(&ctl->target, &ask, &json);
    free(text);
    json_decref(json);
    if (result == HA_EXIT_OK)
        printf("%s has the place of %s. Now: hafailoverctl backup FILE; with FILE on the new "
               "machine:\nhafailoverd join FILE, and start it. Then name %s in [peers] of the "
               "other watchers\nand in [watchers] of each agent, and restart the agents one at a "
               "time.\n",
               new_name, old_name, new_name);
    return result;
}

enum ha_exit ha_care_replace(const struct ha_ctl *ctl)
{
    char name[HA_NAME_SIZE];
    const char *equals = ctl->with != NULL ? strchr(ctl->with, '=') : NULL;
    size_t size = equals != NULL ? (size_t)(equals - ctl->with) : 0;

    if (ctl->word_count != 2 || strcmp(ctl->words[0], "replace") != 0 || equals == NULL ||
        size >= sizeof(name)) {
        fprintf(stderr, "Usage: hafailoverctl watchers replace OLD --with NEW=HOST:PORT\n");
        return HA_EXIT_USAGE;
    }
    memcpy(name, ctl->with, size);
    name[size] = '\0';
    return replace(ctl, ctl->words[1], name, equals + 1);
}
