#include "agents/postgresql/lineage.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agents/postgresql/parse.h"
#include "lib/base/text.h"

#define FNV_OFFSET 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

static uint64_t mix(uint64_t hash, uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        hash ^= value & 0xff;
        hash *= FNV_PRIME;
        value >>= 8;
    }
    return hash;
}

static uint64_t step_id(uint64_t system, uint32_t timeline, uint64_t fork)
{
    uint64_t id = mix(mix(mix(FNV_OFFSET, system), timeline), fork);

    return id != 0 ? id : 1;
}

/* One line "parent<TAB>X/X<TAB>reason": false at the end or at what is none. */
static bool next_line(const char **at, uint32_t *timeline, uint64_t *end)
{
    while (**at != '\0') {
        const char *line = *at;
        size_t size = strcspn(line, "\n"), digits = strspn(line, "0123456789");
        uint64_t number = ha_pg_number(line);
        const char *lsn = line + digits + strspn(line + digits, " \t");

        *at = line + size + (line[size] == '\n' ? 1 : 0);
        /* A line that is no entry is a comment or empty. */
        if (digits == 0 || number == 0 || number > UINT32_MAX || !ha_pg_lsn(lsn, end))
            continue;
        *timeline = (uint32_t)number;
        return true;
    }
    return false;
}

int ha_pg_lineage_parse(uint64_t system, uint32_t timeline, const char *text,
                        struct ha_lineage *ret)
{
    struct ha_lineage lineage = {.count = 0};
    uint64_t fork = 0, end = 0;
    uint32_t parent = 0, last = 0;

    while (next_line(&text, &parent, &end)) {
        if (parent <= last || parent >= timeline)
            return HA_EPROTO;
        last = parent;
        memmove(lineage.steps + 1, lineage.steps, (HA_LINEAGE_MAX - 1) * sizeof(lineage.steps[0]));
        lineage.steps[0] =
            (struct ha_lineage_step){.id = step_id(system, parent, fork), .end = end};
        if (lineage.count < HA_LINEAGE_MAX)
            lineage.count++;
        fork = end;
    }
    memmove(lineage.steps + 1, lineage.steps, (HA_LINEAGE_MAX - 1) * sizeof(lineage.steps[0]));
    lineage.steps[0] =
        (struct ha_lineage_step){.id = step_id(system, timeline, fork), .end = UINT64_MAX};
    if (lineage.count < HA_LINEAGE_MAX)
        lineage.count++;
    *ret = lineage;
    return HA_OK;
}

int ha_pg_history_fork(uint32_t newest, const char *text, uint32_t timeline, uint64_t *ret)
{
    uint32_t parent;
    uint64_t end;

    if (timeline == newest) {
        *ret = UINT64_MAX;
        return HA_OK;
    }
    while (next_line(&text, &parent, &end)) {
        if (parent == timeline) {
            *ret = end;
            return HA_OK;
        }
    }
    return HA_ENOENT;
}

/* The next timeline of a history, its own one last. */
static bool next_timeline(const char **at, uint32_t newest, uint32_t *timeline, uint64_t *end)
{
    if (*timeline == newest)
        return false;
    if (!next_line(at, timeline, end)) {
        *timeline = newest;
        *end = UINT64_MAX;
    }
    return true;
}

int ha_pg_history_common(uint32_t a, const char *a_text, uint32_t b, const char *b_text,
                         uint32_t *ret_timeline, uint64_t *ret_fork)
{
    uint32_t a_timeline = 0, b_timeline = 0;
    uint64_t a_end = 0, b_end = 0, a_begin = 0, b_begin = 0;

    *ret_timeline = 0;
    while (next_timeline(&a_text, a, &a_timeline, &a_end) &&
           next_timeline(&b_text, b, &b_timeline, &b_end) && a_timeline == b_timeline &&
           a_begin == b_begin) {
        *ret_timeline = a_timeline;
        *ret_fork = a_end < b_end ? a_end : b_end;
        if (a_end != b_end)
            break;
        a_begin = a_end;
        b_begin = b_end;
    }
    return *ret_timeline != 0 ? HA_OK : HA_ENOENT;
}

int ha_pg_history_parent(const char *text, uint32_t *ret_timeline, uint64_t *ret_fork)
{
    *ret_timeline = 0;
    while (next_line(&text, ret_timeline, ret_fork))
        continue;
    return *ret_timeline != 0 ? HA_OK : HA_ENOENT;
}

static bool is_left_at(const char *text, uint32_t timeline, uint64_t end)
{
    uint32_t left;
    uint64_t at;

    while (next_line(&text, &left, &at))
        if (left == timeline)
            return at == end;
    return false;
}

int ha_pg_history_set_apart(const char *text, uint32_t parent, const char *theirs, char *to,
                            size_t size)
{
    uint32_t timeline;
    uint64_t end;
    int rc = HA_OK;

    to[0] = '\0';
    while (rc == HA_OK && next_line(&text, &timeline, &end)) {
        if (timeline == parent && is_left_at(theirs, parent, end))
            end += 8; /* records begin at multiples of it */
        rc = ha_text_append(to, size, "%" PRIu32 "\t%" PRIX64 "/%" PRIX64 "\tset apart\n", timeline,
                            end >> 32, end & UINT32_MAX);
    }
    return rc;
}

/* --- files ------------------------------------------------------------------------------------ */

bool ha_pg_wal_page_read(int fd, uint64_t address, uint64_t segment_size,
                         struct ha_pg_wal_page *ret)
{
    return pread(fd, ret, sizeof(*ret), (off_t)(address % segment_size)) == sizeof(*ret) &&
           ret->address == address && ret->timeline != 0;
}

/* True where the page that ends at or holds @lsn - 1 is in this segment file; then its timeline. */
static bool page_timeline(int dir, const char *name, uint64_t lsn, uint32_t segment_size,
                          uint32_t *ret)
{
    struct ha_pg_wal_page header;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    bool found;

    if (fd < 0)
        return false;
    found =
        ha_pg_wal_page_read(fd, (lsn - 1) / HA_PG_WAL_PAGE * HA_PG_WAL_PAGE, segment_size, &header);
    (void)close(fd); /* only read */
    if (found)
        *ret = header.timeline;
    return found;
}

static bool has_history(int wal, uint32_t timeline)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "%08X.history", (unsigned)timeline);
    return timeline == 1 || faccessat(wal, name, F_OK, 0) == 0;
}

/* Of all files for the segment, those of the highest timeline hold what was received last. One that
 * has no history was left over, and recovery does not look at it. */
static uint32_t timeline_at(int wal, uint64_t lsn, uint32_t segment_size, uint32_t *ret_file)
{
    int fd = openat(wal, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    uint64_t number = (lsn - 1) / segment_size;
    uint64_t per_id = (UINT64_C(1) << 32) / segment_size;
    const struct dirent *entry;
    uint32_t best = 0, best_file = 0;
    char suffix[17];

    if (dir == NULL) {
        if (fd >= 0)
            (void)close(fd); /* only read */
        return 0;
    }
    (void)snprintf(suffix, sizeof(suffix), "%08X%08X", (unsigned)(number / per_id),
                   (unsigned)(number % per_id));
    while ((entry = readdir(dir)) != NULL) {
        uint32_t file = (uint32_t)ha_pg_hex(entry->d_name, 8, NULL), timeline;

        if (strlen(entry->d_name) != 24 || strcmp(entry->d_name + 8, suffix) != 0)
            continue;
        if (file > best_file && has_history(wal, file) &&
            page_timeline(wal, entry->d_name, lsn, segment_size, &timeline)) {
            best_file = file;
            best = timeline;
        }
    }
    (void)closedir(dir); /* only read */
    *ret_file = best_file;
    return best;
}

static bool read_history(int wal, uint32_t timeline, char *text)
{
    char name[32];
    int fd;
    ssize_t size;

    text[0] = '\0';
    if (timeline == 1)
        return true;
    (void)snprintf(name, sizeof(name), "%08X.history", (unsigned)timeline);
    fd = openat(wal, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size = read(fd, text, HA_PG_HISTORY_SIZE - 1);
    (void)close(fd); /* only read */
    if (size <= 0 || size == HA_PG_HISTORY_SIZE - 1)
        return false;
    text[size] = '\0';
    return true;
}

bool ha_pg_history_read(const char *data_dir, uint32_t timeline, char *text)
{
    char path[HA_PG_PATH_SIZE + 8];
    bool found;
    int wal;

    (void)snprintf(path, sizeof(path), "%s/pg_wal", data_dir);
    wal = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (wal < 0)
        return false;
    found = read_history(wal, timeline, text);
    (void)close(wal); /* only read */
    return found;
}

void ha_pg_lineage_read(const struct ha_pg_lineage_ask *ask, struct ha_lineage *ret,
                        uint32_t *ret_timeline)
{
    uint32_t timeline = ask->timeline, file = 0;
    uint64_t fork;
    char path[HA_PG_PATH_SIZE + 8];
    char *text = malloc(HA_PG_HISTORY_SIZE);
    int wal;

    ret->count = 0;
    *ret_timeline = 0;
    (void)snprintf(path, sizeof(path), "%s/pg_wal", ask->data_dir);
    wal = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (wal >= 0 && text != NULL) {
        if (timeline == 0 && ask->lsn > 0 && ask->segment_size >= (1u << 20))
            timeline = timeline_at(wal, ask->lsn, ask->segment_size, &file);
        /* The page with the fork has the header it had before; what follows the fork in the new
         * timeline's file is of that one. */
        if (timeline != 0 && file > timeline && read_history(wal, file, text) &&
            ha_pg_history_fork(file, text, timeline, &fork) == HA_OK && ask->lsn > fork)
            timeline = file;
        if (timeline != 0 && read_history(wal, timeline, text) &&
            ha_pg_lineage_parse(ask->system, timeline, text, ret) == HA_OK)
            *ret_timeline = timeline;
    }
    if (wal >= 0)
        (void)close(wal); /* only read */
    free(text);
}

bool ha_pg_lineage_find(const struct ha_pg_lineage_cache *cache, uint64_t run_id,
                        const struct ha_pg_lineage_ask *ask, struct ha_lineage *ret)
{
    if (cache->lineage.count == 0 || cache->run_id != run_id || cache->system != ask->system)
        return false;
    if (ask->timeline != 0 ? ask->timeline != cache->timeline : ask->lsn != cache->lsn)
        return false;
    *ret = cache->lineage;
    return true;
}
