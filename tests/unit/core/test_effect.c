/* The list of effects is bounded; what does not fit is said again. */
#include "lib/core/effect.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"

static void test_overflow_is_told_and_harmless(void **state)
{
    struct ha_effects *effects = calloc(1, sizeof(*effects));

    (void)state;
    assert_non_null(effects);
    for (uint32_t i = 0; i < HA_EFFECTS_MAX - 1; i++)
        ha_effects_add(effects, HA_EFFECT_PROBE)->u.service = i;
    assert_false(effects->overflowed);
    for (uint32_t i = 0; i < 10; i++) {
        struct ha_effect *scratch = ha_effects_add(effects, HA_EFFECT_GATE);

        assert_int_equal(scratch->u.gate.deadline_ms, 0);
        memset(&scratch->u, 0xff, sizeof(scratch->u));
    }
    assert_true(effects->overflowed);
    assert_int_equal(effects->count, HA_EFFECTS_MAX - 1);
    for (uint32_t i = 0; i < effects->count; i++)
        assert_int_equal(effects->items[i].u.service, i);
    ha_effects_clear(effects);
    assert_int_equal(effects->count, 0);
    assert_false(effects->overflowed);
    free(effects);
}

/* A watcher whose members all change their verdicts at once: each gets into the log in the end. */
static void test_each_verdict_is_told_in_the_end(void **state)
{
    enum { SERVICES = 1000 };
    struct world *world = world_new(3);
    uint32_t told = 0;

    (void)state;
    world->config->service_count = SERVICES;
    for (uint32_t i = 0; i < SERVICES; i++) {
        struct ha_service_config *service = &world->config->services[i];

        *service = world->config->services[0];
        (void)ha_text_format(service->name, sizeof(service->name), "s%u", i);
        for (uint32_t m = 0; m < 3; m++)
            service->members[m].port = (uint16_t)(1000 + i);
    }
    assert_int_equal(world_apply_config(world), HA_OK);
    world_lead(world, false);
    for (int i = 0; i < 300 && told < 3 * SERVICES; i++) {
        struct ha_effects *seen;

        world_tick(world, 20);
        seen = malloc(sizeof(*seen));
        assert_non_null(seen);
        memcpy(seen, world->out, sizeof(*seen));
        for (uint32_t k = 0; k < seen->count; k++) {
            struct ha_command command = seen->items[k].u.command;

            if (seen->items[k].kind != HA_EFFECT_PROPOSE || command.kind != HA_COMMAND_OBSERVE)
                continue;
            told += command.u.observe.count;
            assert_int_equal(world_commit(world, &command), HA_OK);
        }
        free(seen);
    }
    assert_true(told >= 3 * SERVICES);
    world_free(world);
}

/* An agent with more databases than fit into one step: each of them beats. */
static void test_each_database_is_heard_of(void **state)
{
    enum { SERVICES = 400 };
    static uint32_t beats[SERVICES];
    struct ha_agent *a = calloc(1, sizeof(*a));
    struct ha_effects *out = calloc(1, sizeof(*out));
    uint64_t now_ms = 100000;

    (void)state;
    assert_true(a != NULL && out != NULL);
    ha_agent_init(a, INSTANCE(B), HA_GATE_BPF);
    for (uint32_t i = 0; i < SERVICES; i++) {
        struct ha_settings settings = {.service = i,
                                       .member = B,
                                       .port = (uint16_t)(1000 + i),
                                       .probe_ms = 200,
                                       .heartbeat_ms = 200,
                                       .promote_deadline_ms = 5000};
        struct ha_event event = {.kind = HA_EVENT_SETTINGS, .now_ms = now_ms};

        event.u.settings = &settings;
        ha_effects_clear(out);
        assert_int_equal(ha_agent_step(a, &event, out), HA_OK);
    }
    for (uint64_t end_ms = now_ms + 1000; now_ms < end_ms;) {
        struct ha_event event = {.kind = HA_EVENT_TICK};
        uint64_t wake_ms = ha_agent_wake_ms(a);

        now_ms = wake_ms > now_ms ? wake_ms : now_ms;
        event.now_ms = now_ms;
        ha_effects_clear(out);
        assert_int_equal(ha_agent_step(a, &event, out), HA_OK);
        assert_false(out->overflowed);
        assert_true(out->count > 0); /* it never wakes for nothing */
        for (uint32_t k = 0; k < out->count; k++)
            if (out->items[k].kind == HA_EFFECT_HEARTBEAT)
                beats[out->items[k].u.status.service]++;
    }
    for (uint32_t i = 0; i < SERVICES; i++)
        assert_true(beats[i] >= 4);
    free(out);
    free(a);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_overflow_is_told_and_harmless),
    cmocka_unit_test(test_each_verdict_is_told_in_the_end),
    cmocka_unit_test(test_each_database_is_heard_of),
};

HA_TEST_MAIN("core/effect", tests)
