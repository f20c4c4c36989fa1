/* What one watcher saw, and when, to its verdict: each verdict of the design, its limits, and what
 * must not be taken for down. */
#include "lib/core/detect.h"

#include <string.h>

#include "lib/base/check.h"
#include "lib/base/text.h"
#include "tests/support/cmocka_ha.h"

enum { NOW = 100000, HOLDER = 7, OTHER = 8 };

/* Times are how long ago; 0 stands for never, so "now" is 1. */
struct seen {
    const char *name;
    /* the agent's word */
    uint32_t heard_ago;
    uint64_t instance; /* 0: the holder */
    enum ha_process process;
    uint32_t answer_age; /* since the database last answered the agent */
    enum ha_answer said; /* its last answer there */
    bool unwritable;
    uint32_t said_for; /* since it says so to the agent */
    /* the own probe */
    uint32_t answered_ago;
    enum ha_answer answer;
    uint32_t answer_for; /* since it answers like that */
    uint32_t refused_for;
    /* the suspect */
    bool no_agent, replica, lease_ran_out, replicas_hear, follows, unread;
    enum ha_verdict before;
    enum ha_verdict want;
};

#define RUNS .process = HA_PROCESS_RUNNING
#define SAYS(what) .said = HA_ANSWER_##what
#define PROBE(what) .answer = HA_ANSWER_##what

static const struct seen table[] = {
    /* by the agent's word */
    {"all is well", 1, RUNS, SAYS(OK), .answered_ago = 1, PROBE(OK), .want = HA_VERDICT_UP},
    {"process gone: at once", 1, .process = HA_PROCESS_GONE, SAYS(OK), .answered_ago = 1, PROBE(OK),
     .want = HA_VERDICT_CRASHED},
    {"nothing from us, but the agent gets answers", 1, RUNS, SAYS(OK), PROBE(UNREACHABLE),
     .answered_ago = 5000, .want = HA_VERDICT_UP},
    {"refused, but the agent gets answers", 1, RUNS, SAYS(OK), PROBE(REFUSED), .refused_for = 5000,
     .want = HA_VERDICT_UP},
    {"word just in time", 999, RUNS, SAYS(OK), .answer_age = 999, .want = HA_VERDICT_UP},
    {"unwritable", 1, RUNS, SAYS(OK), .unwritable = true, .answered_ago = 1, PROBE(OK),
     .want = HA_VERDICT_UNWRITABLE},
    {"hung, just not yet", 1, RUNS, SAYS(OK), .answer_age = 999, .want = HA_VERDICT_UP},
    {"hung", 1, RUNS, SAYS(OK), .answer_age = 1000, .want = HA_VERDICT_HUNG},
    {"never answered its agent", 1, RUNS, .answer_age = UINT32_MAX, .want = HA_VERDICT_HUNG},
    {"hung for the agent, answers us", 1, RUNS, SAYS(NONE), .answer_age = 5000, .answered_ago = 1,
     PROBE(OK), .want = HA_VERDICT_UP},
    {"hung for the agent, answered us long ago", 1, RUNS, SAYS(NONE), .answer_age = 5000,
     .answered_ago = 1000, PROBE(OK), .want = HA_VERDICT_HUNG},
    {"access denied is alive", 1, RUNS, SAYS(DENIED), .want = HA_VERDICT_UP},
    {"full", 1, RUNS, SAYS(FULL), .said_for = 500000, .want = HA_VERDICT_FULL},
    {"loading, long but allowed", 1, RUNS, SAYS(STARTING), .said_for = 59999, .answered_ago = 1,
     PROBE(STARTING), .answer_for = 59999, .want = HA_VERDICT_STARTING},
    {"loading, too long", 1, RUNS, SAYS(STARTING), .said_for = 60000, .answered_ago = 1,
     PROBE(STARTING), .answer_for = 60000, .want = HA_VERDICT_HUNG},
    {"loading, too long, and only the agent can tell", 1, RUNS, SAYS(STARTING), .said_for = 60000,
     PROBE(NONE), .want = HA_VERDICT_HUNG},
    {"busy, long but allowed", 1, RUNS, SAYS(BUSY), .said_for = 9999, .answered_ago = 1,
     PROBE(BUSY), .answer_for = 9999, .want = HA_VERDICT_BUSY},
    {"busy, too long", 1, RUNS, SAYS(BUSY), .said_for = 10000, .answered_ago = 1, PROBE(BUSY),
     .answer_for = 10000, .want = HA_VERDICT_HUNG},
    {"busy, too long, and only the agent can tell", 1, RUNS, SAYS(BUSY), .said_for = 10000,
     PROBE(NONE), .want = HA_VERDICT_HUNG},
    {"a replica's agent may be any instance", 1, .instance = OTHER, .process = HA_PROCESS_GONE,
     .replica = true, .want = HA_VERDICT_CRASHED},

    /* by the own probe: no agent, or its word does not count */
    {"agent silent, database answers", 1000, RUNS, SAYS(OK), .answered_ago = 999, PROBE(OK),
     .want = HA_VERDICT_UP},
    {"agent silent, database answered too long ago", 1000, RUNS, SAYS(OK), .answered_ago = 1000,
     PROBE(NONE), .before = HA_VERDICT_UP, .want = HA_VERDICT_SILENT},
    {"agent silent for less than that", 999, .instance = HOLDER, RUNS, SAYS(OK), .no_agent = true,
     .answered_ago = 1500, PROBE(NONE), .before = HA_VERDICT_UP, .want = HA_VERDICT_UP},
    {"database silent, just not yet", .no_agent = true, .answered_ago = 999, PROBE(NONE),
     .before = HA_VERDICT_UP, .want = HA_VERDICT_UP},
    {"never seen, never heard, looked long enough", .no_agent = true, .want = HA_VERDICT_SILENT},
    {"refused, within the confirm window", .no_agent = true, .answered_ago = 400, PROBE(REFUSED),
     .refused_for = 299, .before = HA_VERDICT_UP, .want = HA_VERDICT_UP},
    {"refused", .no_agent = true, .answered_ago = 400, PROBE(REFUSED), .refused_for = 300,
     .before = HA_VERDICT_UP, .want = HA_VERDICT_REFUSED},
    {"loading", .no_agent = true, .answered_ago = 1, PROBE(STARTING), .answer_for = 59999,
     .want = HA_VERDICT_STARTING},
    {"loading, too long", .no_agent = true, .answered_ago = 1, PROBE(STARTING), .answer_for = 60000,
     .want = HA_VERDICT_HUNG},
    {"busy", .no_agent = true, .answered_ago = 1, PROBE(BUSY), .answer_for = 9999,
     .want = HA_VERDICT_BUSY},
    {"busy, too long", .no_agent = true, .answered_ago = 1, PROBE(BUSY), .answer_for = 10000,
     .want = HA_VERDICT_HUNG},
    {"too many clients", .no_agent = true, .answered_ago = 1, PROBE(FULL), .answer_for = 90000,
     .want = HA_VERDICT_FULL},
    {"access denied", .no_agent = true, .answered_ago = 1, PROBE(DENIED), .want = HA_VERDICT_UP},
    {"a broken connection alone is nothing", .no_agent = true, .answered_ago = 500, PROBE(CLOSED),
     .before = HA_VERDICT_UP, .want = HA_VERDICT_UP},

    /* "Who": only the instance in the log speaks for the primary */
    {"another instance says gone", 1, .instance = OTHER, .process = HA_PROCESS_GONE,
     .answered_ago = 1, PROBE(OK), .want = HA_VERDICT_UP},
    {"another instance says all is well", 1, .instance = OTHER, RUNS, SAYS(OK),
     .answered_ago = 1000, PROBE(NONE), .before = HA_VERDICT_UP, .want = HA_VERDICT_SILENT},
    {"another instance is heard, nobody else ever was", 1, .instance = OTHER, RUNS, SAYS(OK),
     .before = HA_VERDICT_UP, .want = HA_VERDICT_SILENT},
    {"another instance is heard, and what answers is a replica", 1, .instance = OTHER, RUNS,
     SAYS(OK), .answered_ago = 1, PROBE(OK), .follows = true, .before = HA_VERDICT_UP,
     .want = HA_VERDICT_SILENT},
    {"the same, and its replicas get data from that replica", 1, .instance = OTHER, RUNS, SAYS(OK),
     .answered_ago = 1, PROBE(OK), .follows = true, .replicas_hear = true, .before = HA_VERDICT_UP,
     .want = HA_VERDICT_SILENT},
    {"a replica answers, the holder's agent was heard last", 1000, RUNS, SAYS(OK),
     .answered_ago = 1, PROBE(OK), .follows = true, .before = HA_VERDICT_UP, .want = HA_VERDICT_UP},
    {"this watcher stood still: silence", 1000, RUNS, SAYS(OK), .answered_ago = 1000, PROBE(NONE),
     .lease_ran_out = true, .unread = true, .before = HA_VERDICT_UP, .want = HA_VERDICT_UP},
    {"this watcher stood still: one refusal, long ago", 1000, RUNS, SAYS(OK), .answered_ago = 1500,
     PROBE(REFUSED), .refused_for = 1000, .unread = true, .before = HA_VERDICT_UP,
     .want = HA_VERDICT_UP},
    {"this watcher stood still: what is heard counts", 1, .process = HA_PROCESS_GONE,
     .unread = true, .before = HA_VERDICT_UP, .want = HA_VERDICT_CRASHED},
    {"silent to us, but its replicas get data", 1000, RUNS, SAYS(OK), .answered_ago = 1000,
     PROBE(NONE), .replicas_hear = true, .before = HA_VERDICT_UP, .want = HA_VERDICT_UP},
    {"its replicas get data, but its lease has run out", 1000, RUNS, SAYS(OK), .answered_ago = 1000,
     PROBE(NONE), .replicas_hear = true, .lease_ran_out = true, .before = HA_VERDICT_UP,
     .want = HA_VERDICT_SILENT},
    {"lease ran out here: what the database answers behind its gate is no service", 1000, RUNS,
     SAYS(OK), .answered_ago = 1, PROBE(OK), .lease_ran_out = true, .before = HA_VERDICT_UP,
     .want = HA_VERDICT_SILENT},
};

static uint64_t ago(uint32_t ms)
{
    return ms == 0 ? 0 : NOW - ms;
}

static enum ha_verdict verdict_of(const struct seen *s)
{
    struct ha_service_config config;
    struct ha_watch watch;
    const struct ha_suspect suspect = {.has_agent = !s->no_agent,
                                       .is_primary = !s->replica,
                                       .instance = HOLDER,
                                       .lease_ran_out = s->lease_ran_out,
                                       .replicas_hear = s->replicas_hear,
                                       .unread = s->unread};

    ha_service_config_defaults(&config);
    memset(&watch, 0, sizeof(watch));
    watch.verdict = s->before;
    watch.heard = s->heard_ago != 0;
    watch.heard_ms = ago(s->heard_ago);
    watch.instance = s->instance == 0 ? HOLDER : s->instance;
    watch.status.process = s->process;
    watch.status.answer_age_ms = s->answer_age;
    watch.status.sample.answer = s->said;
    watch.status.sample.writable = !s->unwritable;
    watch.said_since_ms = ago(s->said_for);
    watch.probed = s->answer != HA_ANSWER_NONE || s->answered_ago != 0;
    watch.answered_ms = ago(s->answered_ago);
    watch.refused_since_ms = ago(s->refused_for);
    watch.state_since_ms = ago(s->answer_for);
    watch.sample.role = s->follows ? HA_ROLE_REPLICA : HA_ROLE_PRIMARY;
    watch.sample.answer = s->answer;
    return ha_detect(&watch, &suspect, &config, NOW);
}

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(table); i++) {
        print_message("# %s\n", table[i].name);
        assert_string_equal(ha_verdict_text(verdict_of(&table[i])), ha_verdict_text(table[i].want));
    }
}

/* Alive but unable to work is never down by itself: only its own limit makes it so. */
static void test_only_four_verdicts_are_down(void **state)
{
    static const enum ha_verdict down[] = {HA_VERDICT_CRASHED, HA_VERDICT_REFUSED,
                                           HA_VERDICT_SILENT, HA_VERDICT_HUNG};

    (void)state;
    for (uint32_t v = 0; ha_verdict_valid(v); v++) {
        bool want = false;

        for (size_t i = 0; i < HA_ARRAY_LEN(down); i++)
            want = want || down[i] == (enum ha_verdict)v;
        assert_int_equal(ha_verdict_is_down((enum ha_verdict)v), want);
    }
}

static void test_probe_memory(void **state)
{
    struct ha_sample sample = {.answer = HA_ANSWER_REFUSED};
    struct ha_watch watch;

    (void)state;
    memset(&watch, 0, sizeof(watch));
    ha_watch_probed(&watch, &sample, 100);
    ha_watch_probed(&watch, &sample, 200);
    assert_int_equal(watch.refused_since_ms, 100);
    assert_int_equal(watch.answered_ms, 0);
    sample.answer = HA_ANSWER_NONE;
    ha_watch_probed(&watch, &sample, 300);
    assert_int_equal(watch.refused_since_ms, 0); /* not consecutive any more */
    sample.answer = HA_ANSWER_BUSY;
    ha_watch_probed(&watch, &sample, 400);
    ha_watch_probed(&watch, &sample, 500);
    assert_int_equal(watch.answered_ms, 500);
    assert_int_equal(watch.state_since_ms, 400);
}

static void test_agent_memory(void **state)
{
    struct ha_heartbeat beat = {.instance = HOLDER,
                                .status = {.process = HA_PROCESS_RUNNING,
                                           .answer_age_ms = 30,
                                           .sample = {.answer = HA_ANSWER_STARTING}}};
    const struct ha_service_config config = {.probe_ms = 100};
    struct ha_watch watch;

    (void)state;
    memset(&watch, 0, sizeof(watch));
    ha_watch_heard(&watch, &beat, 1000);
    ha_watch_heard(&watch, &beat, 1200);
    assert_int_equal(watch.said_since_ms, 1000);
    assert_int_equal(watch.position_ms, 0); /* it told no position yet */
    beat.status.sample.answer = HA_ANSWER_OK;
    ha_watch_heard(&watch, &beat, 1400);
    assert_int_equal(watch.said_since_ms, 1400);
    assert_int_equal(watch.position_ms, 1370); /* when the database answered, not when we heard */
    ha_watch_repeated(&watch, &config, 1500);
    assert_int_equal(watch.heard_ms, 1500);
    assert_int_equal(watch.told_ms, 1400);
    assert_int_equal(watch.position_ms, 1370); /* it may be from then still */
    ha_watch_repeated(&watch, &config, 1700);
    assert_int_equal(watch.position_ms, 1500); /* two periods ago it was there at the earliest */
    beat.instance = OTHER;
    ha_watch_heard(&watch, &beat, 1600);
    assert_int_equal(watch.said_since_ms, 1600);
}

/* Whoever reads why is told what the database said of itself all the while. */
static void test_too_long_is_explained(void **state)
{
    struct ha_watch watch = {.heard = true, .said_since_ms = 1000};
    char text[HA_TEXT_SIZE];

    (void)state;
    watch.status.sample.answer = HA_ANSWER_STARTING;
    (void)ha_text_copy(watch.status.sample.text, sizeof(watch.status.sample.text),
                       "the database system is shutting down");
    ha_detect_explain(&watch, HA_VERDICT_HUNG, 61000, text);
    assert_string_equal(text,
                        "has been starting for 60000 ms: the database system is shutting down");
    watch.status.sample.answer = HA_ANSWER_NONE;
    watch.status.answer_age_ms = 4000;
    ha_detect_explain(&watch, HA_VERDICT_HUNG, 61000, text);
    assert_non_null(strstr(text, "has not answered it for 4000 ms"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_too_long_is_explained),
    cmocka_unit_test(test_table),
    cmocka_unit_test(test_only_four_verdicts_are_down),
    cmocka_unit_test(test_probe_memory),
    cmocka_unit_test(test_agent_memory),
};

HA_TEST_MAIN("core/detect", tests)
