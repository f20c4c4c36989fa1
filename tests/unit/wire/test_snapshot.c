/* Equal state, equal bytes; damaged bytes never become state. */
#include "lib/wire/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/wire/every_byte.h"
#include "tests/unit/wire/generate.h"

struct room {
    struct ha_cluster cluster, decoded;
    uint8_t data[HA_SNAPSHOT_SIZE_MAX], again[HA_SNAPSHOT_SIZE_MAX];
    uint64_t digest;
    struct gen g;
};

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct room));
    return *state == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static size_t encode(const struct ha_cluster *cluster, uint8_t *data)
{
    struct ha_err err = {0};
    size_t size = 0;

    if (ha_snapshot_encode(cluster, data, HA_SNAPSHOT_SIZE_MAX, &size, &err) != HA_OK)
        fail_msg("%s", err.text);
    assert_int_equal(size, ha_snapshot_size(cluster));
    assert_true(ha_snapshot_digest(cluster) == ha_hash(HA_HASH_START, data, size));
    return size;
}

static void test_round_trip(void **state)
{
    struct room *r = *state;

    for (uint64_t seed = 0; seed < 60; seed++) {
        struct ha_err err = {0};
        size_t size;

        gen_seed(&r->g, seed, false);
        gen_cluster(&r->g, &r->cluster, (uint32_t)seed);
        size = encode(&r->cluster, r->data);
        memset(&r->decoded, 0xa5, sizeof(r->decoded));
        if (ha_snapshot_decode(r->data, size, &r->decoded, &err) != HA_OK)
            fail_msg("seed %lu: %s", (unsigned long)seed, err.text);
        assert_int_equal(encode(&r->decoded, r->again), size);
        assert_memory_equal(r->data, r->again, size);
        assert_int_equal(r->decoded.service_count, seed);
    }
}

/* A watcher that lived through everything and one that was restored hold different rests in unused
 * memory; their digests must not. */
static void test_unused_memory_does_not_count(void **state)
{
    struct room *r = *state;
    struct ha_cluster *c = &r->decoded;
    uint64_t digest;

    gen_seed(&r->g, 3, false);
    gen_cluster(&r->g, &r->cluster, 3);
    r->cluster.watcher_count = 3;
    *c = r->cluster;
    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++) {
        if (c->services[i].used)
            continue;
        memset(&c->services[i], 0x5a, sizeof(c->services[i]));
        c->services[i].used = false;
    }
    for (uint32_t i = 0; i < HA_HISTORY_MAX; i++)
        if (c->decisions[i].id == 0)
            c->decisions[i].epoch = 77;
    for (uint32_t i = c->notice_count; i < HA_OUTBOX_MAX; i++)
        c->notices[i].seq = 77;
    memset(c->archive + c->archive_size, 'z', sizeof(c->archive) - c->archive_size);
    memset(c->watchers[c->watcher_count - 1], 0, HA_NAME_SIZE);
    memcpy(c->watchers[c->watcher_count - 1], "w\0rest", 6); /* behind the end of a string */
    memset(r->cluster.watchers[c->watcher_count - 1], 0, HA_NAME_SIZE);
    r->cluster.watchers[c->watcher_count - 1][0] = 'w';
    digest = ha_snapshot_digest(&r->cluster);
    assert_true(ha_snapshot_digest(c) == digest);
    c->wall_ms++;
    assert_true(ha_snapshot_digest(c) != digest);
}

static void test_state_at_its_limits_fits(void **state)
{
    struct room *r = *state;
    size_t size;

    gen_seed(&r->g, 1, true);
    gen_cluster(&r->g, &r->cluster, HA_SERVICES_MAX);
    size = encode(&r->cluster, r->data);
    print_message("# the largest state: %zu bytes encoded, %zu in memory\n", size,
                  sizeof(r->cluster));
    assert_int_equal(ha_snapshot_decode(r->data, size, &r->decoded, NULL), HA_OK);
    assert_int_equal(encode(&r->decoded, r->again), size);
    assert_memory_equal(r->data, r->again, size);
    assert_int_equal(ha_snapshot_encode(&r->cluster, r->data, size - 1, &size, NULL), HA_EFULL);
}

static bool same_digest(void *arg)
{
    struct room *r = arg;

    /* A state that cannot be walked to its end has another digest, too. */
    return ha_snapshot_digest(&r->cluster) == r->digest;
}

/* Strings and counts at their limits, but as few items as tell all: each change costs a walk. */
static void make_small(struct room *r, uint64_t seed)
{
    struct ha_cluster *c = &r->cluster;

    gen_seed(&r->g, seed, true);
    gen_cluster(&r->g, c, 1);
    if (c->services[0].used)
        return;
    for (uint32_t i = 1; i < HA_SERVICES_MAX; i++) {
        if (!c->services[i].used)
            continue;
        /* Always in the same slot, for the mask. */
        c->services[0] = c->services[i];
        c->services[0].id = HA_SERVICES_MAX;
        memset(&c->services[i], 0, sizeof(c->services[i]));
    }
}

static void check_part(struct room *r, const unsigned char *mask, size_t from, size_t size)
{
    every_byte_check((unsigned char *)&r->cluster + from, size, mask + from, same_digest, r);
}

/* A member of a struct takes no parentheses. NOLINTBEGIN(bugprone-macro-parentheses) */
#define CHECK_ARRAY(r, mask, array, at) \
    check_part((r), (mask), offsetof(struct ha_cluster, array[at]), sizeof((r)->cluster.array[at]))
/* NOLINTEND(bugprone-macro-parentheses) */
#define CHECK_BETWEEN(r, mask, from, to)                       \
    check_part((r), (mask), offsetof(struct ha_cluster, from), \
               offsetof(struct ha_cluster, to) - offsetof(struct ha_cluster, from))

static void test_no_field_is_forgotten(void **state)
{
    struct room *r = *state;
    struct ha_cluster *c = &r->cluster;
    unsigned char *mask = calloc(1, sizeof(*c));

    assert_non_null(mask);
    for (uint64_t seed = 0; seed < EVERY_BYTE_SEEDS; seed++) {
        make_small(r, seed);
        every_byte_mark(mask, c, sizeof(*c));
    }
    c->archive_count = 1;
    c->archive_size = c->archived[0].size = 3;
    c->notice_count = 2;
    r->digest = ha_snapshot_digest(c);
    CHECK_BETWEEN(r, mask, index, services);
    CHECK_ARRAY(r, mask, services, 0);
    CHECK_BETWEEN(r, mask, decision_last, decisions);
    CHECK_ARRAY(r, mask, decisions, 5);
    CHECK_BETWEEN(r, mask, notice_last, notices);
    CHECK_ARRAY(r, mask, notices, 1);
    CHECK_BETWEEN(r, mask, archive_count, archived);
    CHECK_ARRAY(r, mask, archived, 0);
    CHECK_ARRAY(r, mask, archive, 2);
    free(mask);
}

static void test_truncated_or_longer(void **state)
{
    struct room *r = *state;
    size_t size;

    gen_seed(&r->g, 4, false);
    gen_cluster(&r->g, &r->cluster, 1);
    size = encode(&r->cluster, r->data);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *part = malloc(cut + 1);

        assert_non_null(part);
        memcpy(part, r->data, cut);
        assert_int_equal(ha_snapshot_decode(part, cut, &r->decoded, NULL), HA_ECORRUPT);
        free(part);
    }
    r->data[size] = 0;
    assert_int_equal(ha_snapshot_decode(r->data, size + 1, &r->decoded, NULL), HA_ECORRUPT);
}

/* Clearing the state costs a millisecond each time; tests/fuzz does this for longer. */
static void test_damaged(void **state)
{
    struct room *r = *state;
    uint32_t accepted = 0;

    for (uint64_t seed = 0; seed < 1000; seed++) {
        size_t size;

        gen_seed(&r->g, seed, false);
        gen_cluster(&r->g, &r->cluster, 1 + gen_below(&r->g, 2));
        size = encode(&r->cluster, r->data);
        for (uint32_t i = 0; i < 3; i++)
            r->data[1 + gen_below(&r->g, (uint32_t)size - 1)] ^=
                (uint8_t)(1u << gen_below(&r->g, 8));
        if (ha_snapshot_decode(r->data, size, &r->decoded, NULL) != HA_OK)
            continue;
        accepted++;
        assert_int_equal(encode(&r->decoded, r->again), size);
        assert_memory_equal(r->data, r->again, size);
    }
    print_message("# %u of 1000 damaged snapshots were still snapshots\n", accepted);
    assert_true(accepted > 100);
}

static void spoil_slot(struct ha_cluster *c)
{
    struct ha_service *s = &c->services[0];

    while (!s->used)
        s++;
    s->id++;
}

static void spoil_member(struct ha_cluster *c)
{
    struct ha_service *s = &c->services[0];

    while (!s->used)
        s++;
    s->members[1].id = s->members[0].id;
}

static void spoil_service_count(struct ha_cluster *c)
{
    c->service_count--;
}

static void spoil_service_count_up(struct ha_cluster *c)
{
    c->service_count++;
}

static void spoil_id_last(struct ha_cluster *c)
{
    c->id_last = 0;
}

static void spoil_decision(struct ha_cluster *c)
{
    c->decisions[c->decision_last % HA_HISTORY_MAX].id--;
}

static void spoil_notice(struct ha_cluster *c)
{
    c->notices[1].seq = c->notices[0].seq;
}

static void spoil_notice_last(struct ha_cluster *c)
{
    c->notice_last = c->notices[c->notice_count - 1].seq - 1;
}

static void spoil_archive(struct ha_cluster *c)
{
    c->archived[1].at++;
}

static void spoil_archive_size(struct ha_cluster *c)
{
    c->archive_size--;
}

static void spoil_version(struct ha_cluster *c)
{
    c->archived[1].version = c->archived[0].version;
}

static const struct {
    void (*spoil)(struct ha_cluster *c);
    const char *want;
} spoilt[] = {
    {spoil_slot, "a service id out of place"},
    {spoil_member, "a member without an id of its own"},
    {spoil_service_count, "more services than counted"},
    {spoil_service_count_up, "fewer services than counted"},
    {spoil_id_last, "a service id out of place"},
    {spoil_decision, "a decision out of place"},
    {spoil_notice, "a notice out of order"},
    {spoil_notice_last, "a notice out of order"},
    {spoil_archive, "a configuration version out of place"},
    {spoil_archive_size, "a number or count over its limit"},
    {spoil_version, "a configuration version out of place"},
};

/* What apply relies on is looked at when it is written, while its maker can still be found. */
static void test_broken_state_is_not_written(void **state)
{
    struct room *r = *state;

    for (size_t i = 0; i < HA_ARRAY_LEN(spoilt); i++) {
        struct ha_err err = {0};
        size_t size = 0;

        gen_seed(&r->g, 1, true);
        gen_cluster(&r->g, &r->cluster, 3);
        spoilt[i].spoil(&r->cluster);
        assert_int_equal(ha_snapshot_encode(&r->cluster, r->data, sizeof(r->data), &size, &err),
                         HA_EINVAL);
        print_message("# %s\n", err.text);
        assert_non_null(strstr(err.text, spoilt[i].want));
        assert_int_equal(ha_snapshot_size(&r->cluster), 0);
    }
}

/* Not what a generator makes up, but what the core itself makes: services that come and go. */
static void test_what_apply_makes_can_be_written(void **state)
{
    struct room *r = *state;
    struct ha_config *config = calloc(1, sizeof(*config));
    uint32_t applied = 0;

    assert_non_null(config);
    ha_cluster_init(&r->cluster);
    r->cluster.set_id = 1;
    r->cluster.watcher_count = HA_WATCHERS_MAX;
    for (uint32_t i = 0; i < HA_WATCHERS_MAX; i++)
        r->cluster.watchers[i][0] = (char)('a' + i);
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct ha_command command = {.kind = HA_COMMAND_CONFIG, .wall_ms = seed};

        gen_seed(&r->g, seed, false);
        gen_sound_config(&r->g, config, (uint32_t)(seed % 7));
        command.u.config.base_version = r->cluster.config_version;
        command.u.config.config = config;
        command.u.config.text = "";
        applied += ha_cluster_apply(&r->cluster, seed, &command, NULL) == HA_OK ? 1u : 0u;
        assert_int_equal(
            ha_snapshot_decode(r->data, encode(&r->cluster, r->data), &r->decoded, NULL), HA_OK);
        assert_int_equal(r->decoded.service_count, r->cluster.service_count);
    }
    print_message("# %u of 40 configurations applied, %u services\n", applied,
                  r->cluster.service_count);
    assert_true(applied >= 5);
    free(config);
}

static void test_refusals_say_what(void **state)
{
    struct room *r = *state;
    struct ha_err err = {0};

    r->data[0] = 1;
    assert_int_equal(ha_snapshot_decode(r->data, 100, &r->decoded, &err), HA_ENOTSUP);
    assert_string_equal(err.text, "snapshot of version 1; this program knows version 5");
    assert_int_equal(ha_snapshot_decode(r->data, 0, &r->decoded, &err), HA_ECORRUPT);
    assert_string_equal(err.text, "snapshot: byte 0: truncated");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
    cmocka_unit_test_setup_teardown(test_unused_memory_does_not_count, setup, teardown),
    cmocka_unit_test_setup_teardown(test_state_at_its_limits_fits, setup, teardown),
    cmocka_unit_test_setup_teardown(test_no_field_is_forgotten, setup, teardown),
    cmocka_unit_test_setup_teardown(test_truncated_or_longer, setup, teardown),
    cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
    cmocka_unit_test_setup_teardown(test_broken_state_is_not_written, setup, teardown),
    cmocka_unit_test_setup_teardown(test_what_apply_makes_can_be_written, setup, teardown),
    cmocka_unit_test_setup_teardown(test_refusals_say_what, setup, teardown),
};

HA_TEST_MAIN("wire/snapshot", tests)
