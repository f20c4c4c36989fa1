/* Words that people and scripts see, and the line between a value and any number. */
#include "lib/core/types.h"

#include <string.h>

#include "lib/base/check.h"
#include "lib/core/cluster.h"
#include "lib/core/command.h"
#include "lib/core/effect.h"
#include "lib/core/event.h"
#include "tests/support/cmocka_ha.h"

/* Values are dense from 0, their words differ, and the next number is no value. */
#define CHECK(name)                                                                 \
    do {                                                                            \
        uint32_t count = 0;                                                         \
        for (; ha_##name##_valid(count); count++) {                                 \
            const char *text = ha_##name##_text((enum ha_##name)count);             \
            assert_string_not_equal(text, "?");                                     \
            assert_true(strlen(text) > 0);                                          \
            for (uint32_t i = 0; i < count; i++)                                    \
                assert_string_not_equal(text, ha_##name##_text((enum ha_##name)i)); \
        }                                                                           \
        assert_true(count >= 2 && count <= 255); /* one byte on the wire */         \
        assert_string_equal(ha_##name##_text((enum ha_##name)count), "?");          \
        assert_false(ha_##name##_valid(UINT32_MAX));                                \
    } while (0)

/* A macro for each enumeration. NOLINTNEXTLINE(readability-function-size) */
static void test_every_enumeration(void **state)
{
    (void)state;
    CHECK(role);
    CHECK(verdict);
    CHECK(state);
    CHECK(fence);
    CHECK(gate);
    CHECK(engine);
    CHECK(durability);
    CHECK(reason);
    CHECK(fitness);
    CHECK(order_kind);
    CHECK(result);
    CHECK(process);
    CHECK(answer);
    CHECK(command_kind);
    CHECK(notice_kind);
    CHECK(event_kind);
    CHECK(effect_kind);
    assert_string_equal(ha_state_text(HA_STATE_NO_CANDIDATE), "NO_CANDIDATE");
    assert_string_equal(ha_verdict_text(HA_VERDICT_FULL), "too-many-clients");
}

static void test_what_is_down(void **state)
{
    static const enum ha_verdict down[] = {HA_VERDICT_CRASHED, HA_VERDICT_REFUSED,
                                           HA_VERDICT_SILENT, HA_VERDICT_HUNG};
    uint32_t found = 0;

    (void)state;
    for (uint32_t v = 0; ha_verdict_valid(v); v++)
        found += ha_verdict_is_down((enum ha_verdict)v) ? 1 : 0;
    assert_int_equal(found, HA_ARRAY_LEN(down));
    for (size_t i = 0; i < HA_ARRAY_LEN(down); i++)
        assert_true(ha_verdict_is_down(down[i]));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_every_enumeration),
    cmocka_unit_test(test_what_is_down),
};

HA_TEST_MAIN("core/types", tests)
