/* A log entry reads back as what was written, and nothing else is accepted. */
#include "lib/wire/command.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/wire/every_byte.h"
#include "tests/unit/wire/generate.h"

#define KINDS ((uint32_t)HA_COMMAND_DIVERGED + 1)

struct room {
    struct ha_config config, decoded_config;
    char text[HA_CONFIG_TEXT_MAX + 1];
    uint8_t data[HA_COMMAND_SIZE_MAX], again[HA_COMMAND_SIZE_MAX];
    struct ha_command command, decoded;
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

static size_t encode(struct room *r, const struct ha_command *command, uint8_t *data)
{
    size_t size = 0;
    struct ha_err err = {0};

    if (ha_command_encode(command, data, HA_COMMAND_SIZE_MAX, &size, &err) != HA_OK)
        fail_msg("%s", err.text);
    (void)r;
    return size;
}

static void test_round_trip(void **state)
{
    struct room *r = *state;

    for (uint64_t seed = 0; seed < 100 * KINDS; seed++) {
        struct ha_err err = {0};
        size_t size;

        gen_seed(&r->g, seed, false);
        gen_command(&r->g, (enum ha_command_kind)(seed % KINDS), &r->command, &r->config, r->text);
        size = encode(r, &r->command, r->data);
        assert_int_equal(size % 8, 0);
        assert_int_equal(size, ha_command_size(&r->command));
        if (ha_command_decode(r->data, size, &r->decoded, &r->decoded_config, &err) != HA_OK)
            fail_msg("seed %lu: %s", (unsigned long)seed, err.text);
        assert_int_equal(encode(r, &r->decoded, r->again), size);
        assert_memory_equal(r->data, r->again, size);
        if (r->command.kind != HA_COMMAND_CONFIG)
            continue;
        assert_string_equal(r->decoded.u.config.text, r->text);
        assert_ptr_equal(r->decoded.u.config.config, &r->decoded_config);
        assert_memory_equal(&r->config, &r->decoded_config, sizeof(r->config));
    }
}

/* Nothing in the log may be larger than the shells make room for. */
static void test_sizes(void **state)
{
    struct room *r = *state;

    for (uint32_t kind = 0; kind < KINDS; kind++) {
        size_t size;

        gen_seed(&r->g, kind, true);
        gen_command(&r->g, (enum ha_command_kind)kind, &r->command, &r->config, r->text);
        size = encode(r, &r->command, r->data);
        print_message("# %s: at most %zu bytes\n", ha_command_kind_text(r->command.kind), size);
        if (kind != HA_COMMAND_CONFIG)
            assert_true(size <= HA_COMMAND_SIZE_SMALL);
        assert_int_equal(ha_command_encode(&r->command, r->data, size - 1, &size, NULL), HA_EFULL);
    }
    assert_false(ha_command_kind_valid(KINDS));
}

static bool same_encoding(void *arg)
{
    struct room *r = arg;
    size_t size = 0;

    if (ha_command_encode(&r->command, r->again, sizeof(r->again), &size, NULL) != HA_OK)
        return false;
    return size == ha_command_size(&r->decoded) && memcmp(r->data, r->again, size) == 0;
}

static void check_every_byte(struct room *r, enum ha_command_kind kind)
{
    unsigned char *mask = calloc(1, sizeof(r->command.u));

    assert_non_null(mask);
    for (uint64_t seed = 0; seed < EVERY_BYTE_SEEDS; seed++) {
        gen_seed(&r->g, seed, true);
        gen_command(&r->g, kind, &r->command, &r->config, r->text);
        every_byte_mark(mask, &r->command.u, sizeof(r->command.u));
    }
    r->decoded = r->command;
    (void)encode(r, &r->command, r->data);
    every_byte_check(&r->command.u, sizeof(r->command.u), mask, same_encoding, r);
    free(mask);
}

static void test_no_field_is_forgotten(void **state)
{
    struct room *r = *state;

    for (uint32_t kind = 0; kind < KINDS; kind++)
        if (kind != HA_COMMAND_NOTHING && kind != HA_COMMAND_CONFIG)
            check_every_byte(r, (enum ha_command_kind)kind);
}

static void test_no_config_field_is_forgotten(void **state)
{
    struct room *r = *state;
    unsigned char *mask = calloc(1, sizeof(r->config));

    assert_non_null(mask);
    /* One service at its limits; the same walk serves all. */
    for (uint64_t seed = 0; seed < EVERY_BYTE_SEEDS; seed++) {
        gen_seed(&r->g, seed, true);
        gen_config(&r->g, &r->config, 1);
        every_byte_mark(mask, &r->config, sizeof(r->config));
    }
    r->command = (struct ha_command){
        .kind = HA_COMMAND_CONFIG,
        .u.config = {.base_version = 7, .author = "me", .config = &r->config, .text = "text"}};
    r->decoded = r->command;
    (void)encode(r, &r->command, r->data);
    every_byte_check(&r->config, sizeof(r->config), mask, same_encoding, r);
    free(mask);
}

static void test_truncated_or_longer(void **state)
{
    struct room *r = *state;

    for (uint32_t kind = 0; kind < KINDS; kind++) {
        size_t size;

        gen_seed(&r->g, kind, false);
        gen_command(&r->g, (enum ha_command_kind)kind, &r->command, &r->config, r->text);
        size = encode(r, &r->command, r->data);
        for (size_t cut = 0; cut < size; cut++) {
            /* A copy of its own, so that a sanitizer sees a read past its end. */
            uint8_t *part = malloc(cut + 1);

            assert_non_null(part);
            memcpy(part, r->data, cut);
            assert_int_equal(ha_command_decode(part, cut, &r->decoded, &r->decoded_config, NULL),
                             HA_EPROTO);
            free(part);
        }
        memset(r->data + size, 0, 8);
        assert_int_equal(
            ha_command_decode(r->data, size + 8, &r->decoded, &r->decoded_config, NULL), HA_EPROTO);
    }
}

/* What is accepted is exactly what the encoder writes: no second spelling of an entry. */
static void test_damaged(void **state)
{
    struct room *r = *state;
    uint32_t accepted = 0;

    for (uint64_t seed = 0; seed < 100000; seed++) {
        uint32_t kind, flips;
        size_t size;

        gen_seed(&r->g, seed, false);
        kind = gen_below(&r->g, KINDS);
        if (kind == HA_COMMAND_CONFIG && seed % 50 != 0)
            kind = HA_COMMAND_OBSERVE;
        gen_command(&r->g, (enum ha_command_kind)kind, &r->command, &r->config, r->text);
        size = encode(r, &r->command, r->data);
        flips = 1 + gen_below(&r->g, 4);
        for (uint32_t i = 0; i < flips; i++)
            r->data[1 + gen_below(&r->g, (uint32_t)size - 1)] = (uint8_t)gen_below(&r->g, 256);
        if (ha_command_decode(r->data, size, &r->decoded, &r->decoded_config, NULL) != HA_OK)
            continue;
        accepted++;
        assert_int_equal(encode(r, &r->decoded, r->again), size);
        assert_memory_equal(r->data, r->again, size);
    }
    print_message("# %u of 100000 damaged entries were still entries\n", accepted);
    assert_true(accepted > 100);
}

static void test_random_bytes(void **state)
{
    struct room *r = *state;

    gen_seed(&r->g, 1, false);
    for (uint32_t run = 0; run < 100000; run++) {
        size_t size = gen_below(&r->g, 300);

        for (size_t i = 0; i < size; i++)
            r->data[i] = (uint8_t)gen_below(&r->g, 256);
        r->data[0] = HA_COMMAND_VERSION;
        /* A configuration takes megabytes to clear: now and then. */
        if (r->data[1] == HA_COMMAND_CONFIG && run % 100 != 0)
            r->data[1] = HA_COMMAND_BEGIN;
        if (ha_command_decode(r->data, size, &r->decoded, &r->decoded_config, NULL) == HA_OK)
            assert_int_equal(encode(r, &r->decoded, r->again), size);
    }
}

static const struct {
    const char *name;
    uint8_t data[24];
    size_t size;
    int want_code;
    const char *want;
} refusals[] = {
    {"nothing", {0}, 0, HA_EPROTO, "log entry: byte 0: truncated"},
    {"other version",
     {4, 0},
     16,
     HA_ENOTSUP,
     "log entry of version 4; this program knows version 3"},
    {"unknown kind", {3, 99}, 16, HA_EPROTO, "log entry: byte 2: unknown command_kind"},
    {"bytes after it", {3, 0}, 24, HA_EPROTO, "log entry: byte 16: bytes after the end"},
    {"padding", {3, 0, [15] = 1}, 16, HA_EPROTO, "log entry: byte 16: padding that is not zero"},
    {"too many",
     {3, HA_COMMAND_OBSERVE, [14] = 65},
     24,
     HA_EPROTO,
     "log entry: byte 18: a number or count over its limit"},
};

static void test_refusals_say_what(void **state)
{
    struct room *r = *state;

    for (size_t i = 0; i < HA_ARRAY_LEN(refusals); i++) {
        struct ha_command before = {.kind = HA_COMMAND_RESUME}, got = before;
        struct ha_err err = {0};

        print_message("# %s\n", refusals[i].name);
        assert_int_equal(
            ha_command_decode(refusals[i].data, refusals[i].size, &got, &r->decoded_config, &err),
            refusals[i].want_code);
        assert_string_equal(err.text, refusals[i].want);
        assert_memory_equal(&got, &before, sizeof(got));
    }
    r->data[0] = HA_COMMAND_VERSION;
    r->data[1] = HA_COMMAND_CONFIG;
    assert_int_equal(ha_command_decode(r->data, 16, &r->decoded, NULL, NULL), HA_EINVAL);
}

static int try_encode(struct room *r)
{
    struct ha_err err = {0};
    size_t size = 12345;
    int rv = ha_command_encode(&r->command, r->data, sizeof(r->data), &size, &err);

    assert_int_equal(size, 12345);
    assert_int_equal(ha_command_size(&r->command), 0);
    print_message("# %s\n", err.text);
    return rv;
}

/* The writer refuses what the reader would refuse, on the watcher that made the mistake. */
static void test_encoder_has_the_same_limits(void **state)
{
    struct room *r = *state;
    struct ha_command *c = &r->command;

    *c = (struct ha_command){.kind = (enum ha_command_kind)KINDS};
    assert_int_equal(try_encode(r), HA_EINVAL);
    *c = (struct ha_command){.kind = HA_COMMAND_OBSERVE, .u.observe.count = HA_OBSERVE_MAX + 1};
    assert_int_equal(try_encode(r), HA_EINVAL);
    *c = (struct ha_command){.kind = HA_COMMAND_OBSERVE, .u.observe.watcher = HA_WATCHERS_MAX};
    assert_int_equal(try_encode(r), HA_EINVAL);
    *c = (struct ha_command){.kind = HA_COMMAND_GIVE_UP};
    c->u.give_up.position.lineage.count = HA_LINEAGE_MAX + 1;
    assert_int_equal(try_encode(r), HA_EINVAL);
    *c = (struct ha_command){.kind = HA_COMMAND_BEGIN, .u.begin.target = HA_MEMBERS_MAX + 1};
    assert_int_equal(try_encode(r), HA_EINVAL);
    *c = (struct ha_command){.kind = HA_COMMAND_BEGIN};
    memset(c->u.begin.text, 'x', sizeof(c->u.begin.text)); /* no terminator */
    assert_int_equal(try_encode(r), HA_EINVAL);
    *c = (struct ha_command){.kind = HA_COMMAND_NOTICE_DONE, .u.notice.webhook = "no name"};
    assert_int_equal(try_encode(r), HA_EINVAL);
    memset(r->text, 'x', HA_CONFIG_TEXT_MAX + 1 - 1);
    memset(&r->config, 0, sizeof(r->config));
    *c = (struct ha_command){.kind = HA_COMMAND_CONFIG,
                             .u.config = {.config = &r->config, .text = r->text}};
    r->config.service_count = HA_SERVICES_MAX + 1;
    assert_int_equal(try_encode(r), HA_EINVAL);
}

static void test_text_at_its_limit(void **state)
{
    struct room *r = *state;
    char *longer = malloc(HA_CONFIG_TEXT_MAX + 2);

    assert_non_null(longer);
    memset(longer, 'x', HA_CONFIG_TEXT_MAX + 1);
    longer[HA_CONFIG_TEXT_MAX + 1] = '\0';
    memset(&r->config, 0, sizeof(r->config));
    r->command = (struct ha_command){.kind = HA_COMMAND_CONFIG,
                                     .u.config = {.config = &r->config, .text = longer}};
    assert_int_equal(try_encode(r), HA_EINVAL);
    longer[HA_CONFIG_TEXT_MAX] = '\0';
    assert_int_equal(ha_command_decode(r->data, encode(r, &r->command, r->data), &r->decoded,
                                       &r->decoded_config, NULL),
                     HA_OK);
    assert_string_equal(r->decoded.u.config.text, longer);
    free(longer);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
    cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
    cmocka_unit_test_setup_teardown(test_no_field_is_forgotten, setup, teardown),
    cmocka_unit_test_setup_teardown(test_no_config_field_is_forgotten, setup, teardown),
    cmocka_unit_test_setup_teardown(test_truncated_or_longer, setup, teardown),
    cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
    cmocka_unit_test_setup_teardown(test_random_bytes, setup, teardown),
    cmocka_unit_test_setup_teardown(test_refusals_say_what, setup, teardown),
    cmocka_unit_test_setup_teardown(test_encoder_has_the_same_limits, setup, teardown),
    cmocka_unit_test_setup_teardown(test_text_at_its_limit, setup, teardown),
};

HA_TEST_MAIN("wire/command", tests)
