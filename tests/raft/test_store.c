/* What was written comes back; what is damaged, foreign, gapped, cut or missing
 * does not vote. */
#include "raft/store.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "tests/support/cmocka_ha.h"

static char dir[64];
static const uint32_t ids[3] = {1, 2, 3};

static struct ha_store_options options(bool bootstrap)
{
    return (struct ha_store_options){.dir = dir,
                                     .cluster_id = 5,
                                     .own_id = 2,
                                     .set_id = 77,
                                     .ids = ids,
                                     .id_count = 3,
                                     .free_min_bytes = 1,
                                     .bootstrap = bootstrap};
}

static struct ha_store *must_open(bool bootstrap)
{
    const struct ha_store_options how = options(bootstrap);
    struct ha_store *store = NULL;
    struct ha_err err = {0};

    if (ha_store_open(&store, &how, &err) != HA_OK)
        fail_msg("open: %s", err.text);
    return store;
}

static void append(struct ha_store *store, raft_index first, raft_index last, raft_term term)
{
    struct ha_err err = {0};

    assert_int_equal(ha_store_begin(store, &err), HA_OK);
    for (raft_index i = first; i <= last; i++) {
        uint64_t data[4] = {i, term, i, term};
        struct raft_entry entry = {
            .term = term, .type = RAFT_COMMAND, .buf = {.base = data, .len = 8 + 8 * (i % 4)}};

        assert_int_equal(ha_store_append(store, i, &entry, 1, &err), HA_OK);
    }
    assert_int_equal(ha_store_commit(store, &err), HA_OK);
}

static void put(struct ha_store *store, raft_index index, unsigned trailing)
{
    char data[600];
    struct raft_buffer buf = {.base = data, .len = sizeof(data)};
    struct raft_snapshot snapshot = {
        .index = index, .term = 2, .configuration_index = 1, .bufs = &buf, .n_bufs = 1};
    struct ha_err err = {0};

    memset(data, (int)index, sizeof(data));
    assert_int_equal(ha_store_begin(store, &err), HA_OK);
    assert_int_equal(ha_store_put(store, &snapshot, trailing, &err), HA_OK);
    assert_int_equal(ha_store_commit(store, &err), HA_OK);
}

static struct ha_store_state must_load(struct ha_store *store)
{
    struct ha_store_state state;
    struct ha_err err = {0};

    if (ha_store_load(store, &state, &err) != HA_OK)
        fail_msg("load: %s", err.text);
    return state;
}

/* Terms 1..2, entries 1..100, snapshots at 40 and 80, watermark 90. */
static void make_log(void)
{
    struct ha_store *store = must_open(true);
    struct ha_err err = {0};

    assert_int_equal(ha_store_set_term(store, 2, &err), HA_OK);
    assert_int_equal(ha_store_set_vote(store, 3, &err), HA_OK);
    append(store, 2, 50, 2);
    put(store, 40, 10);
    append(store, 51, 100, 2);
    put(store, 80, 10);
    assert_int_equal(ha_store_mark(store, 90, &err), HA_OK);
    ha_store_close(store);
}

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/ha-store-XXXXXX");
    return mkdtemp(dir) == NULL;
}

static int tear_down(void **state)
{
    char command[100];

    (void)state;
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command);
}

static void test_what_was_written_comes_back(void **state)
{
    struct ha_store *store;
    struct ha_store_state loaded;
    struct ha_err err = {0};

    (void)state;
    make_log();
    store = must_open(false);
    loaded = must_load(store);
    assert_int_equal(loaded.term, 2);
    assert_int_equal(loaded.vote, 3);
    assert_int_equal(loaded.snapshot->index, 80);
    assert_int_equal(loaded.snapshot->configuration.n, 3);
    assert_int_equal(loaded.start, 41); /* behind the older of two snapshots */
    assert_int_equal(loaded.count, 60);
    for (size_t i = 0; i < loaded.count; i++) {
        assert_int_equal(*(uint64_t *)loaded.entries[i].buf.base, 41 + i);
        assert_ptr_equal(loaded.entries[i].batch, loaded.entries[i].buf.base);
    }
    ha_store_state_fini(&loaded);
    /* Cut the tail, go on under another term: the chain holds. */
    assert_int_equal(ha_store_begin(store, &err), HA_OK);
    assert_int_equal(ha_store_truncate(store, 95, &err), HA_OK);
    assert_int_equal(ha_store_commit(store, &err), HA_OK);
    assert_int_equal(ha_store_set_term(store, 3, &err), HA_OK);
    append(store, 95, 97, 3);
    ha_store_close(store);
    store = must_open(false);
    loaded = must_load(store);
    assert_int_equal(loaded.count, 57);
    assert_int_equal(loaded.entries[56].term, 3);
    assert_int_equal(loaded.vote, 0); /* of a new term */
    ha_store_state_fini(&loaded);
    /* A snapshot from the leader replaces everything. */
    put(store, 500, 0);
    append(store, 501, 503, 3);
    ha_store_close(store);
    store = must_open(false);
    loaded = must_load(store);
    assert_int_equal(loaded.snapshot->index, 500);
    assert_int_equal(loaded.start, 501);
    assert_int_equal(loaded.count, 3);
    ha_store_state_fini(&loaded);
    /* An entry that does not follow is not written. */
    {
        uint64_t data = 1;
        struct raft_entry entry = {
            .term = 3, .type = RAFT_COMMAND, .buf = {.base = &data, .len = sizeof(data)}};

        assert_int_equal(ha_store_begin(store, &err), HA_OK);
        assert_int_equal(ha_store_append(store, 510, &entry, 1, &err), HA_ECORRUPT);
    }
    ha_store_close(store);
}

struct damage {
    const char *name;
    const char *sql;  /* run on log.db, or NULL */
    const char *file; /* removed, or with `flip` one bit of it turned, or NULL */
    int flip;         /* offset from the start, -1: remove */
    int want;
};

static const struct damage damages[] = {
    {"a bit of an entry", "UPDATE entries SET data=x'01' || substr(data,2) WHERE idx=60", NULL, 0,
     HA_ECORRUPT},
    {"the term of an entry", "UPDATE entries SET term=1 WHERE idx=60", NULL, 0, HA_ECORRUPT},
    {"a gap", "DELETE FROM entries WHERE idx=60", NULL, 0, HA_ECORRUPT},
    {"the tail cut below the watermark", "DELETE FROM entries WHERE idx>85", NULL, 0, HA_ECORRUPT},
    {"the tail and the head cut",
     "DELETE FROM entries WHERE idx>85;"
     "UPDATE head SET last=85, chain=(SELECT chain FROM entries WHERE idx=85)",
     NULL, 0, HA_ECORRUPT},
    {"the tail cut above the watermark", "DELETE FROM entries WHERE idx>95", NULL, 0, HA_ECORRUPT},
    {"the front cut beyond the snapshots", "DELETE FROM entries WHERE idx<90", NULL, 0,
     HA_ECORRUPT},
    {"all entries gone", "DELETE FROM entries", NULL, 0, HA_ECORRUPT},
    {"both snapshots gone", "DELETE FROM snapshots", NULL, 0, HA_ECORRUPT},
    {"both snapshots damaged", "UPDATE snapshots SET data=zeroblob(600)", NULL, 0, HA_ECORRUPT},
    {"the newer snapshot damaged", "UPDATE snapshots SET data=zeroblob(600) WHERE idx=80", NULL, 0,
     HA_OK},
    {"the newer snapshot gone", "DELETE FROM snapshots WHERE idx=80", NULL, 0, HA_OK},
    {"the older snapshot gone", "DELETE FROM snapshots WHERE idx=40", NULL, 0, HA_OK},
    {"the term turned", "UPDATE meta SET term=term+1024", NULL, 0, HA_ECORRUPT},
    {"the vote turned", "UPDATE meta SET vote=1", NULL, 0, HA_ECORRUPT},
    {"term and vote gone", "DELETE FROM meta", NULL, 0, HA_ECORRUPT},
    {"the head gone", "DELETE FROM head", NULL, 0, HA_ECORRUPT},
    {"a later format", "UPDATE meta SET format=9", NULL, 0, HA_ECORRUPT},
    {"a table gone", "DROP TABLE entries", NULL, 0, HA_EIO},
    {"the database gone", NULL, "log.db", -1, HA_ENOENT},
    {"the identity gone", NULL, "identity", -1, HA_ENOENT},
    {"the watermark gone", NULL, "watermark", -1, HA_ENOENT},
    {"a bit of the identity", NULL, "identity", 5, HA_ECORRUPT},
    {"a bit of the watermark", NULL, "watermark", 0, HA_ECORRUPT},
    {"the database's header", NULL, "log.db", 3, HA_ECORRUPT},
    {"the database's schema page", NULL, "log.db", 105, HA_ECORRUPT},
};

static void do_sql(const char *sql)
{
    char path[128];
    sqlite3 *db;

    (void)snprintf(path, sizeof(path), "%s/log.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void flip(const char *name, int offset)
{
    char path[128];
    uint8_t byte;
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (offset < 0) {
        assert_int_equal(unlink(path), 0);
        return;
    }
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte ^= 0x20;
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    (void)close(fd);
}

static int open_and_load(struct ha_err *err)
{
    const struct ha_store_options how = options(false);
    struct ha_store *store = NULL;
    struct ha_store_state loaded = {0};
    int code = ha_store_open(&store, &how, err);

    if (code == HA_OK)
        code = ha_store_load(store, &loaded, err);
    ha_store_state_fini(&loaded);
    ha_store_close(store);
    return code;
}

static void test_damage_is_refused(void **state)
{
    for (size_t i = 0; i < HA_ARRAY_LEN(damages); i++) {
        const struct damage *damage = &damages[i];
        struct ha_err err = {0};
        int code;

        assert_int_equal(set_up(state), 0);
        make_log();
        if (damage->sql != NULL)
            do_sql(damage->sql);
        if (damage->file != NULL)
            flip(damage->file, damage->flip);
        code = open_and_load(&err);
        print_message("# %s: %s\n", damage->name, code == HA_OK ? "starts, whole" : err.text);
        assert_int_equal(code, damage->want);
        assert_int_equal(open_and_load(&err), damage->want); /* and again: refusing mends nothing */
        assert_int_equal(tear_down(state), 0);
    }
}

struct foreign {
    const char *name;
    uint64_t cluster_id;
    uint32_t own_id;
    uint64_t set_id;
    uint64_t free_min;
    bool bootstrap;
    int want;
};

static void test_foreign_and_wrong_starts_are_refused(void **state)
{
    static const struct foreign cases[] = {
        {"ours", 5, 2, 77, 1, false, HA_OK},
        {"another cluster", 6, 2, 77, 1, false, HA_EDENIED},
        {"another id", 5, 3, 77, 1, false, HA_EDENIED},
        {"another set", 5, 2, 78, 1, false, HA_EDENIED},
        {"bootstrap again", 5, 2, 77, 1, true, HA_EEXIST},
        {"no space", 5, 2, 77, UINT64_MAX, false, HA_EFULL},
    };

    (void)state;
    make_log();
    for (size_t i = 0; i < HA_ARRAY_LEN(cases); i++) {
        struct ha_store_options how = options(cases[i].bootstrap);
        struct ha_store *store = NULL;
        struct ha_err err = {0};

        how.cluster_id = cases[i].cluster_id;
        how.own_id = cases[i].own_id;
        how.set_id = cases[i].set_id;
        how.free_min_bytes = cases[i].free_min;
        assert_int_equal(ha_store_open(&store, &how, &err), cases[i].want);
        print_message("# %s: %s\n", cases[i].name, err.text);
        ha_store_close(store);
    }
}

static void test_one_process_at_a_time(void **state)
{
    const struct ha_store_options how = options(false);
    struct ha_store *store;
    int status;
    pid_t pid;

    (void)state;
    make_log();
    store = must_open(false);
    pid = fork();
    if (pid == 0) {
        struct ha_store *second = NULL;
        struct ha_err err = {0};

        _exit(ha_store_open(&second, &how, &err) == HA_EDENIED ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    ha_store_close(store);
}

/* The disk fills in the middle: nothing of the transaction stays, and after it
 * is freed the log goes on from where it was durable. */
static void test_a_full_disk_leaves_the_last_commit(void **state)
{
    struct ha_store_options how = options(true);
    struct ha_store_state loaded;
    struct ha_store *store = NULL;
    struct ha_err err = {0};
    raft_index last = 1;
    static uint64_t data[1024];
    int code = HA_OK;

    (void)state;
    how.page_max = 60;
    assert_int_equal(ha_store_open(&store, &how, &err), HA_OK);
    while (code == HA_OK) {
        struct raft_entry entry = {
            .term = 1, .type = RAFT_COMMAND, .buf = {.base = data, .len = sizeof(data)}};

        code = ha_store_begin(store, &err);
        if (code == HA_OK)
            code = ha_store_append(store, last + 1, &entry, 1, &err);
        if (code == HA_OK)
            code = ha_store_commit(store, &err);
        if (code == HA_OK)
            last++;
    }
    assert_int_equal(code, HA_EFULL);
    print_message("# full after %llu entries: %s\n", (unsigned long long)last, err.text);
    assert_true(last > 5);
    ha_store_close(store); /* the process would end here */
    store = must_open(false);
    loaded = must_load(store);
    assert_int_equal(loaded.count, last);
    ha_store_state_fini(&loaded);
    append(store, last + 1, last + 10, 1);
    ha_store_close(store);
    store = must_open(false);
    loaded = must_load(store);
    assert_int_equal(loaded.count, last + 10);
    ha_store_state_fini(&loaded);
    ha_store_close(store);
}

static void test_a_bootstrap_cut_short_can_be_finished(void **state)
{
    struct ha_err err = {0};

    (void)state;
    ha_store_close(must_open(true));
    flip("identity", -1);
    flip("watermark", -1); /* the power went between the tables and the files */
    assert_int_equal(open_and_load(&err), HA_OK);
    assert_int_equal(tear_down(state), 0);
    assert_int_equal(set_up(state), 0);
    assert_int_equal(open_and_load(&err), HA_ENOENT);
    print_message("# %s\n", err.text);
    assert_int_equal(open_and_load(&err), HA_ENOENT); /* refusing created nothing */
}

/* An unmounted disk is not an empty one, and a folder that nobody made is not a full one. */
static void test_a_folder_that_is_not_there_is_told_as_such(void **state)
{
    struct ha_store_options how = options(true);
    struct ha_store *store = NULL;
    struct ha_err err = {0};

    (void)state;
    how.dir = "/nowhere/hafailover";
    assert_int_equal(ha_store_open(&store, &how, &err), HA_ENOENT);
    assert_non_null(strstr(err.text, "/nowhere/hafailover cannot be used: No such file"));
    assert_non_null(strstr(err.text, "make it"));
    how.bootstrap = false;
    assert_int_equal(ha_store_open(&store, &how, &err), HA_ENOENT);
    assert_non_null(strstr(err.text, "cannot be used"));
    assert_null(strstr(err.text, "bootstrap"));
    how.dir = "/proc/self/exe";
    assert_int_equal(ha_store_open(&store, &how, &err), HA_ENOENT);
    assert_non_null(strstr(err.text, "/proc/self/exe cannot be used: Not a directory"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static const struct CMUnitTest tests[] = {
    CASE(test_what_was_written_comes_back),
    cmocka_unit_test(test_damage_is_refused),
    CASE(test_foreign_and_wrong_starts_are_refused),
    CASE(test_one_process_at_a_time),
    CASE(test_a_full_disk_leaves_the_last_commit),
    CASE(test_a_bootstrap_cut_short_can_be_finished),
    cmocka_unit_test(test_a_folder_that_is_not_there_is_told_as_such),
};

HA_TEST_MAIN("raft/store", tests)
