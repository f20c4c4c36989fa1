/* Who may be promoted, who is best, and why not the others. */
#include "lib/core/candidate.h"

#include <string.h>

#include "lib/base/check.h"
#include "tests/support/cmocka_ha.h"

/* Histories: OLD was written first, NEW forked off it at 1000 and is the current one; OWN forked
 * off OLD too, at another primary; ALIEN shares nothing. */
enum { OLD = 11, NEW = 12, OWN = 13, ALIEN = 14 };

#define NEW_AT(at)                                                                          \
    {                                                                                       \
        .offset = (at), .lineage = {.count = 2, .steps = {{NEW, UINT64_MAX}, {OLD, 1000}} } \
    }
#define OLD_AT(at)                                                             \
    {                                                                          \
        .offset = (at), .lineage = {.count = 1, .steps = {{OLD, UINT64_MAX}} } \
    }
#define OWN_AT(at, fork)                                                                      \
    {                                                                                         \
        .offset = (at), .lineage = {.count = 2, .steps = {{OWN, UINT64_MAX}, {OLD, (fork)}} } \
    }
#define ALIEN_AT(at)                                                             \
    {                                                                            \
        .offset = (at), .lineage = {.count = 1, .steps = {{ALIEN, UINT64_MAX}} } \
    }

static const struct ha_position known = NEW_AT(2000);
static const struct ha_position at_the_fork = NEW_AT(1000);

static const struct {
    const char *name;
    struct ha_position have;
    enum ha_kinship want;
    uint64_t want_offset;
} kinships[] = {
    {"the same, behind", NEW_AT(1500), HA_KIN_SAME, 1500},
    {"the same, ahead of the log", NEW_AT(2500), HA_KIN_SAME, 2500},
    {"ancestor, before the fork", OLD_AT(900), HA_KIN_SAME, 900},
    {"ancestor, at the fork", OLD_AT(1000), HA_KIN_SAME, 1000},
    {"ancestor, wrote past the fork", OLD_AT(1001), HA_KIN_DIVERGED, 0},
    {"own fork, nothing written", OWN_AT(800, 800), HA_KIN_SAME, 800},
    {"own fork, one byte written", OWN_AT(801, 800), HA_KIN_DIVERGED, 0},
    {"own fork past the known one", OWN_AT(1200, 1200), HA_KIN_DIVERGED, 0},
    {"nothing shared", ALIEN_AT(2000), HA_KIN_STRANGE, 0},
    {"no history", {.offset = 2000}, HA_KIN_STRANGE, 0},
};

static void test_kinship(void **state)
{
    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(kinships); i++) {
        uint64_t offset = 0;

        print_message("# %s\n", kinships[i].name);
        assert_int_equal(ha_kinship_of(&kinships[i].have, &known.lineage, &offset),
                         kinships[i].want);
        if (kinships[i].want == HA_KIN_SAME)
            assert_int_equal(offset, kinships[i].want_offset);
    }
}

/* One member of a situation; what is not said is in order. */
struct one {
    struct ha_position have;
    uint16_t priority; /* 0: the default; NEVER: never */
    enum ha_answer answer;
    enum ha_process process;
    enum ha_role role;
    enum ha_gate gate;
    bool unheard, failed, unopened, copying, no_gate, silent, unseen, ahead, noteless, hung;
    enum ha_fitness want;
};

enum { NEVER = 9999 };

struct situation {
    const char *name;
    struct ha_candidate_rules rules; /* `known` of this file unless it is first */
    uint32_t count;
    struct one members[3]; /* ids 1, 2, 3; names a, b, c */
    int want;
};

#define BEST HA_FIT_CHOSEN
#define LOWER HA_FIT_RANKED_LOWER

static const struct situation situations[] = {
    {"most data", {0}, 2, {{NEW_AT(1999), .want = LOWER}, {NEW_AT(2000), .want = BEST}}, 1},
    {"most data beats priority",
     {0},
     2,
     {{NEW_AT(1999), .priority = 900, .want = LOWER}, {NEW_AT(2000), .want = BEST}},
     1},
    {"within the slack, priority",
     {.slack_bytes = 1},
     2,
     {{NEW_AT(1999), .priority = 900, .want = BEST}, {NEW_AT(2000), .want = LOWER}},
     0},
    {"just outside the slack, data",
     {.slack_bytes = 1},
     2,
     {{NEW_AT(1998), .priority = 900, .want = LOWER}, {NEW_AT(2000), .want = BEST}},
     1},
    {"within the slack, equal priority, data",
     {.slack_bytes = 5},
     2,
     {{NEW_AT(1998), .want = LOWER}, {NEW_AT(2000), .want = BEST}},
     1},
    {"a tie goes by name",
     {0},
     3,
     {{NEW_AT(2000), .want = BEST}, {NEW_AT(2000), .want = LOWER}, {NEW_AT(2000), .want = LOWER}},
     0},
    {"who acknowledged it all",
     {.proof = {.bound = true, .holder = 1, .seen = 2000}},
     2,
     {{NEW_AT(2000), .want = BEST}, {NEW_AT(2000), .want = HA_FIT_UNPROVEN}},
     0},
    {"who acknowledged it all, but others have received more from it",
     {.proof = {.bound = true, .holder = 1, .seen = 2001}},
     2,
     {{NEW_AT(2000), .want = HA_FIT_UNPROVEN}, {NEW_AT(2001), .want = HA_FIT_UNPROVEN}},
     -1},
    {"who acknowledged it all, with a disk from before its epoch",
     {.proof = {.bound = true, .holder = 1}, .known = &at_the_fork},
     2,
     {{OLD_AT(1000), .want = HA_FIT_UNPROVEN}, {OLD_AT(900), .want = HA_FIT_UNPROVEN}},
     -1},
    {"never",
     {0},
     2,
     {{NEW_AT(2000), .priority = NEVER, .want = HA_FIT_NEVER}, {NEW_AT(1500), .want = BEST}},
     1},
    {"never, but named by an operator",
     {.target = 1},
     2,
     {{NEW_AT(2000), .priority = NEVER, .want = BEST}, {NEW_AT(2000), .want = HA_FIT_NOT_TARGET}},
     0},
    {"only the target",
     {.target = 2},
     2,
     {{NEW_AT(2000), .want = HA_FIT_NOT_TARGET}, {NEW_AT(1500), .want = BEST}},
     1},
    {"a target that cannot",
     {.target = 2},
     2,
     {{NEW_AT(2000), .want = HA_FIT_NOT_TARGET}, {ALIEN_AT(9), .want = HA_FIT_STRAY}},
     -1},
    {"the primary is left out",
     {.exclude = 1},
     2,
     {{NEW_AT(2000), .want = HA_FIT_PRIMARY}, {NEW_AT(1500), .want = BEST}},
     1},
    {"silent to a majority",
     {0},
     2,
     {{NEW_AT(2000), .unseen = true, .want = HA_FIT_UNSEEN}, {NEW_AT(1500), .want = BEST}},
     1},
    {"told of a later epoch",
     {0},
     2,
     {{NEW_AT(2000), .ahead = true, .want = HA_FIT_AHEAD}, {NEW_AT(1500), .want = BEST}},
     1},
    {"answered last a while ago",
     {0},
     2,
     {{NEW_AT(2000), .hung = true, .want = HA_FIT_NOT_ANSWERING}, {NEW_AT(1500), .want = BEST}},
     1},
    {"no room for a note",
     {0},
     2,
     {{NEW_AT(2000), .noteless = true, .want = HA_FIT_NO_NOTE}, {NEW_AT(1500), .want = BEST}},
     1},
    {"unheard", {0}, 1, {{NEW_AT(2000), .unheard = true, .want = HA_FIT_UNHEARD}}, -1},
    {"its promotion failed",
     {0},
     2,
     {{NEW_AT(2000), .failed = true, .want = HA_FIT_FAILED}, {NEW_AT(1500), .want = BEST}},
     1},
    {"no process",
     {0},
     1,
     {{NEW_AT(2000), .process = HA_PROCESS_GONE, .want = HA_FIT_NOT_RUNNING}},
     -1},
    {"nothing listens",
     {0},
     1,
     {{NEW_AT(2000), .answer = HA_ANSWER_REFUSED, .want = HA_FIT_NOT_RUNNING}},
     -1},
    {"no answer", {0}, 1, {{NEW_AT(2000), .silent = true, .want = HA_FIT_NOT_ANSWERING}}, -1},
    {"busy", {0}, 1, {{NEW_AT(2000), .answer = HA_ANSWER_BUSY, .want = HA_FIT_NOT_ANSWERING}}, -1},
    {"starting",
     {0},
     1,
     {{NEW_AT(2000), .answer = HA_ANSWER_STARTING, .want = HA_FIT_STARTING}},
     -1},
    {"copying", {0}, 1, {{NEW_AT(2000), .copying = true, .want = HA_FIT_COPYING}}, -1},
    {"no gate", {0}, 1, {{NEW_AT(2000), .no_gate = true, .want = HA_FIT_NO_GATE}}, -1},
    {"position not known", {0}, 1, {{{.offset = 2000}, .want = HA_FIT_NO_POSITION}}, -1},
    {"stray", {0}, 2, {{ALIEN_AT(9000), .want = HA_FIT_STRAY}, {OLD_AT(900), .want = BEST}}, 1},
    {"diverged",
     {0},
     2,
     {{OWN_AT(9000, 900), .want = HA_FIT_DIVERGED}, {OLD_AT(900), .want = BEST}},
     1},
    {"ancestor at the fork against the current line",
     {0},
     2,
     {{OLD_AT(1000), .want = LOWER}, {NEW_AT(1001), .want = BEST}},
     1},
    {"loss budget, exactly", {.loss_budget_bytes = 500}, 1, {{NEW_AT(1500), .want = BEST}}, 0},
    {"loss budget, one byte over",
     {.loss_budget_bytes = 500},
     1,
     {{NEW_AT(1499), .want = HA_FIT_BEHIND}},
     -1},
    {"loss accepted by an operator",
     {.loss_budget_bytes = 500, .accept_loss = true},
     2,
     {{NEW_AT(10), .want = LOWER}, {ALIEN_AT(20), .want = BEST}},
     1},
    {"its epoch never opened, on its own line",
     {0},
     2,
     {{OWN_AT(900, 900), .unopened = true, .want = HA_FIT_STRAY}, {OLD_AT(100), .want = BEST}},
     1},
    {"its epoch never opened, but it follows again",
     {0},
     1,
     {{NEW_AT(1500), .unopened = true, .want = BEST}},
     0},
    {"first: who is primary already",
     {.first = true},
     2,
     {{OLD_AT(900), .role = HA_ROLE_REPLICA, .want = LOWER},
      {OLD_AT(800), .role = HA_ROLE_PRIMARY, .want = BEST}},
     1},
    {"first: priority, where all are empty primaries of one history",
     {.first = true},
     2,
     {{OLD_AT(5), .want = LOWER}, {OLD_AT(5), .priority = 500, .want = BEST}},
     1},
    {"first: two with data of their own",
     {.first = true},
     2,
     {{OLD_AT(900), .role = HA_ROLE_PRIMARY, .want = HA_FIT_STRAY},
      {ALIEN_AT(800), .role = HA_ROLE_PRIMARY, .want = HA_FIT_STRAY}},
     -1},
    {"first: the other one does not count",
     {.first = true},
     2,
     {{OLD_AT(900), .role = HA_ROLE_PRIMARY, .want = BEST},
      {ALIEN_AT(800), .unheard = true, .want = HA_FIT_UNHEARD}},
     0},
    {"first: loss accepted decides",
     {.first = true, .accept_loss = true, .target = 2},
     2,
     {{OLD_AT(900), .role = HA_ROLE_PRIMARY, .want = HA_FIT_NOT_TARGET},
      {ALIEN_AT(800), .role = HA_ROLE_PRIMARY, .want = BEST}},
     1},
};

static void lay_out(const struct one *one, uint32_t at, struct ha_sample *sample,
                    struct ha_candidate *candidate)
{
    static const char *const names[] = {"a", "b", "c"};

    *sample = (struct ha_sample){
        .answer = one->answer == HA_ANSWER_NONE && !one->silent ? HA_ANSWER_OK : one->answer,
        .role = one->role,
        .copying = one->copying,
        .position = one->have};
    *candidate = (struct ha_candidate){
        .member = at + 1,
        .name = names[at],
        .priority = one->priority == NEVER ? 0
                    : one->priority == 0   ? 100
                                           : one->priority,
        .heard = !one->unheard,
        .failed = one->failed,
        .unopened = one->unopened,
        .unseen = one->unseen,
        .ahead = one->ahead,
        .noteless = one->noteless,
        .hung = one->hung,
        .process = one->process == HA_PROCESS_UNKNOWN ? HA_PROCESS_RUNNING : one->process,
        .gate = one->no_gate ? HA_GATE_NONE : HA_GATE_BPF,
        .sample = sample,
    };
}

static void test_situations(void **state)
{
    static const struct ha_position nothing;

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(situations); i++) {
        const struct situation *s = &situations[i];
        struct ha_candidate_rules rules = s->rules;
        struct ha_candidate candidates[3];
        struct ha_sample samples[3];
        struct ha_fit fits[3];

        print_message("# %s\n", s->name);
        if (rules.known == NULL)
            rules.known = rules.first ? &nothing : &known;
        if (rules.loss_budget_bytes == 0)
            rules.loss_budget_bytes = UINT64_MAX;
        for (uint32_t m = 0; m < s->count; m++)
            lay_out(&s->members[m], m, &samples[m], &candidates[m]);
        assert_int_equal(ha_candidate_choose(candidates, s->count, &rules, fits), s->want);
        for (uint32_t m = 0; m < s->count; m++) {
            assert_string_equal(ha_fitness_text(fits[m].fitness),
                                ha_fitness_text(s->members[m].want));
            assert_int_equal(fits[m].member, m + 1);
        }
    }
}

static void test_what_is_lost_is_told(void **state)
{
    const struct one one = {.have = NEW_AT(1500)}, stray = {.have = ALIEN_AT(20)};
    struct ha_candidate_rules rules = {.loss_budget_bytes = UINT64_MAX, .known = &known};
    struct ha_candidate candidate;
    struct ha_sample sample;
    struct ha_fit fit;

    (void)state;
    lay_out(&one, 0, &sample, &candidate);
    assert_int_equal(ha_candidate_choose(&candidate, 1, &rules, &fit), 0);
    assert_int_equal(fit.offset, 1500);
    assert_int_equal(fit.behind, 500);
    rules.accept_loss = true; /* it is told all the same */
    assert_int_equal(ha_candidate_choose(&candidate, 1, &rules, &fit), 0);
    assert_int_equal(fit.behind, 500);
    lay_out(&stray, 0, &sample, &candidate);
    assert_int_equal(ha_candidate_choose(&candidate, 1, &rules, &fit), 0);
    assert_int_equal(fit.behind, known.offset);
}

/* Whatever the order in which members are laid out, the choice is the same member. */
static void test_order_of_members_does_not_matter(void **state)
{
    static const struct one members[3] = {{.have = NEW_AT(1998), .priority = 300},
                                          {.have = NEW_AT(2000), .priority = 200},
                                          {.have = NEW_AT(1999), .priority = 300}};
    static const uint32_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                          {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    const struct ha_candidate_rules rules = {
        .loss_budget_bytes = UINT64_MAX, .slack_bytes = 1, .known = &known};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(orders); i++) {
        struct ha_candidate candidates[3];
        struct ha_sample samples[3];
        struct ha_fit fits[3];
        int chosen;

        for (uint32_t m = 0; m < 3; m++)
            lay_out(&members[orders[i][m]], orders[i][m], &samples[m], &candidates[m]);
        chosen = ha_candidate_choose(candidates, 3, &rules, fits);
        assert_true(chosen >= 0);
        assert_int_equal(candidates[chosen].member, 3);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_kinship),
    cmocka_unit_test(test_situations),
    cmocka_unit_test(test_what_is_lost_is_told),
    cmocka_unit_test(test_order_of_members_does_not_matter),
};

HA_TEST_MAIN("core/candidate", tests)
