/* A configuration as a log entry: what would move a primary behind its lease's back is refused; a
 * deleted service passes through the fence; archive, outbox and webhooks keep their books. */
#include "lib/core/config.h"

#include <string.h>

#include "lib/base/check.h"
#include "lib/base/text.h"
#include "lib/core/cluster.h"
#include "lib/core/view.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"

static struct world *world_steady(void)
{
    struct world *world = world_new(3);

    world_reach(world, A, HA_GATE_BPF, HA_STATE_STEADY);
    return world;
}

static struct ha_member_config *member_of(struct world *world, uint32_t member)
{
    return &world->config->services[0].members[member - 1];
}

/* Leave the @at-th member out. */
static void leave_out(struct world *world, uint32_t at)
{
    struct ha_service_config *service = &world->config->services[0];

    service->member_count--;
    memmove(&service->members[at], &service->members[at + 1],
            (service->member_count - at) * sizeof(service->members[0]));
    memset(&service->members[service->member_count], 0, sizeof(service->members[0]));
}

static void set(char *to, size_t size, const char *text)
{
    assert_int_equal(ha_text_copy(to, size, text), HA_OK);
}

static int refused(struct world *world)
{
    uint64_t version = world->w->cluster.config_version;
    int rv = world_apply_config(world);

    assert_int_equal(world->w->cluster.config_version, version);
    assert_true(world->err.text[0] != '\0');
    return rv;
}

/* "Configuration" */

static void change(struct world *world, int what, uint32_t member)
{
    struct ha_member_config *m = member_of(world, member);

    switch (what) {
    case 0:
        leave_out(world, member - 1);
        break;
    case 1:
        set(m->host, sizeof(m->host), "10.0.0.99");
        break;
    case 2:
        m->port++;
        break;
    case 3:
        set(m->agent, sizeof(m->agent), "ag-x");
        break;
    default:
        m->priority = HA_PRIORITY_NEVER;
        break;
    }
}

enum { CHANGES = 5 };

static void test_configuration_primary_stays_where_it_is(void **state)
{
    (void)state;
    for (int what = 0; what < CHANGES; what++) {
        struct world *world = world_steady();

        change(world, what, A);
        assert_int_equal(refused(world), HA_EDENIED);
        world_free(world);
    }
}

static void test_configuration_candidate_stays_where_it_is(void **state)
{
    (void)state;
    for (int what = 0; what < CHANGES; what++) {
        struct world *world = world_new(3);

        world_reach(world, B, HA_GATE_BPF, HA_STATE_PROMOTING);
        change(world, what, B);
        assert_int_equal(refused(world), HA_EDENIED);
        world_free(world);
    }
}

static void test_configuration_old_primary_stays_until_it_is_fenced(void **state)
{
    (void)state;
    for (int what = 0; what < CHANGES; what++) {
        struct world *world = world_steady();

        assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
        change(world, what, A);
        assert_int_equal(refused(world), HA_EDENIED);
        assert_int_equal(world_fenced(world, HA_FENCE_EXPIRED, 3), HA_OK);
        assert_int_equal(world_apply_config(world), HA_OK);
        world_free(world);
    }
}

static void test_configuration_replicas_may_change(void **state)
{
    (void)state;
    for (int what = 0; what < CHANGES; what++) {
        struct world *world = world_steady();

        change(world, what, C);
        assert_int_equal(world_apply_config(world), HA_OK);
        world_free(world);
    }
}

static void test_configuration_one_address_one_member(void **state)
{
    static const char *const spellings[] = {"fd00::1", "FD00:0::0001"};
    struct world *world = world_steady();

    (void)state;
    set(member_of(world, C)->host, HA_HOST_SIZE, "10.0.0.2");
    assert_int_equal(refused(world), HA_EINVAL);
    member_of(world, C)->port++; /* two servers on one host are two addresses */
    assert_int_equal(world_apply_config(world), HA_OK);
    set(member_of(world, B)->host, HA_HOST_SIZE, spellings[0]);
    set(member_of(world, C)->host, HA_HOST_SIZE, spellings[1]);
    member_of(world, C)->port--;
    assert_int_equal(refused(world), HA_EINVAL);
    set(member_of(world, B)->host, HA_HOST_SIZE, "db2.example");
    set(member_of(world, C)->host, HA_HOST_SIZE, "DB2.example");
    assert_int_equal(refused(world), HA_EINVAL);
    world_free(world);
}

static void test_configuration_address_of_another_service(void **state)
{
    struct world *world = world_steady();
    struct ha_config *config = world->config;

    (void)state;
    config->services[1] = config->services[0];
    config->service_count = 2;
    set(config->services[1].name, HA_NAME_SIZE, "other");
    assert_int_equal(refused(world), HA_EINVAL);
    for (uint32_t i = 0; i < 3; i++)
        config->services[1].members[i].port = 7000;
    assert_int_equal(world_apply_config(world), HA_OK);
    set(config->services[1].vip, HA_HOST_SIZE, "10.0.0.1"); /* a member's, whatever the port */
    config->services[1].vip_prefix = 24;
    assert_int_equal(refused(world), HA_EINVAL);
    world_free(world);
}

static void test_configuration_quorum_never_below_the_majority(void **state)
{
    struct world *world = world_new(5);

    (void)state;
    world->config->services[0].quorum = 2;
    assert_int_equal(refused(world), HA_EINVAL);
    world->config->services[0].quorum = 6;
    assert_int_equal(refused(world), HA_EINVAL);
    world->config->services[0].quorum = 4;
    assert_int_equal(world_apply_config(world), HA_OK);
    assert_int_equal(ha_service_quorum(&world->w->cluster, world_service(world)), 4);
    world_free(world);
}

static void test_configuration_refusals(void **state)
{
    struct world *world = world_steady();
    struct ha_service_config *service = &world->config->services[0];

    (void)state;
    service->engine = HA_ENGINE_POSTGRESQL;
    assert_int_equal(refused(world), HA_EDENIED);
    service->engine = HA_ENGINE_REDIS;
    service->durability = HA_DURABILITY_STRICT;
    assert_int_equal(refused(world), HA_EINVAL);
    service->durability = HA_DURABILITY_ASYNC;
    service->lease_ms = 2 * service->heartbeat_ms;
    assert_int_equal(refused(world), HA_EINVAL);
    service->lease_ms = LEASE;
    assert_int_equal(world_apply_config(world), HA_OK);
    world_free(world);
}

static void test_configuration_made_from_an_old_version(void **state)
{
    struct world *world = world_steady();
    struct ha_command command = {.kind = HA_COMMAND_CONFIG};

    (void)state;
    command.u.config = (struct ha_command_config){
        .base_version = 0, .author = "anna", .config = world->config, .text = ""};
    assert_int_equal(world_commit(world, &command), HA_ESTALE);
    world_free(world);
}

static void test_configuration_before_the_set_of_watchers(void **state)
{
    struct world *world = world_bare(3, 0);

    (void)state;
    assert_int_equal(refused(world), HA_EBUSY);
    world_free(world);
}

/* Deletion: fence, tombstone, above it again */

static int delete_all(struct world *world)
{
    world->config->service_count = 0;
    return world_apply_config(world);
}

static void test_deleted_service_passes_through_the_fence(void **state)
{
    struct world *world = world_steady();
    uint32_t id = world_service(world)->id;
    uint64_t epoch = world_epoch(world);

    (void)state;
    assert_int_equal(delete_all(world), HA_OK);
    assert_true(world_service(world)->deleting);
    assert_int_equal(world_service(world)->state, HA_STATE_FENCING);
    /* It cannot come back before its end. */
    world->config->service_count = 1;
    assert_int_equal(refused(world), HA_EBUSY);
    assert_int_equal(world_give_up(world, epoch, A, INSTANCE(A)), HA_OK);
    assert_null(world_service(world));
    assert_int_equal(world->w->cluster.service_count, 0);
    assert_int_equal(world->w->cluster.epoch_floor, epoch + 1);
    assert_int_equal(world_apply_config(world), HA_OK);
    assert_int_not_equal(world_service(world)->id, id);
    assert_int_equal(world_epoch(world), epoch + 2);
    assert_int_equal(world_service(world)->state, HA_STATE_SELECTING);
    world_free(world);
}

static void test_deleted_while_nothing_is_open_is_gone_at_once(void **state)
{
    static const enum ha_state states[] = {HA_STATE_SELECTING, HA_STATE_PROMOTING,
                                           HA_STATE_NO_CANDIDATE};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(states); i++) {
        struct world *world = world_steady();
        uint64_t epoch;

        assert_int_equal(world_give_up(world, world_epoch(world), A, INSTANCE(A)), HA_OK);
        if (states[i] == HA_STATE_PROMOTING)
            world_reach(world, B, HA_GATE_BPF, HA_STATE_PROMOTING);
        if (states[i] == HA_STATE_NO_CANDIDATE)
            assert_int_equal(world_promote(world, HA_MEMBER_NONE, HA_GATE_NONE), HA_OK);
        assert_int_equal(world_service(world)->state, states[i]);
        epoch = world_epoch(world);
        assert_int_equal(delete_all(world), HA_OK);
        assert_null(world_service(world));
        /* What was claimed and perhaps promoted is below whatever comes. */
        world->config->service_count = 1;
        assert_int_equal(world_apply_config(world), HA_OK);
        assert_true(world_epoch(world) > epoch);
        world_free(world);
    }
}

static void test_deleted_while_it_is_fenced_ends_with_that_fence(void **state)
{
    struct world *world = world_steady();

    (void)state;
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    assert_int_equal(delete_all(world), HA_OK);
    assert_non_null(world_service(world));
    assert_int_equal(world_fenced(world, HA_FENCE_EXPIRED, 3), HA_OK);
    assert_null(world_service(world));
    world_free(world);
}

static void test_deleted_in_opening_is_fenced(void **state)
{
    struct world *world = world_new(3);

    (void)state;
    world_reach(world, A, HA_GATE_BPF, HA_STATE_OPENING);
    assert_int_equal(delete_all(world), HA_OK);
    assert_int_equal(world_service(world)->state, HA_STATE_FENCING);
    world_free(world);
}

/* Members */

static void test_members_keep_their_ids_by_name(void **state)
{
    struct world *world = world_steady();
    struct ha_member_config first = *member_of(world, A);

    (void)state;
    (void)world_observe(world, 1, C, HA_VERDICT_HUNG);
    *member_of(world, A) = *member_of(world, C);
    *member_of(world, C) = first;
    assert_int_equal(world_apply_config(world), HA_OK);
    assert_int_equal(ha_service_member_named(world_service(world), "a"), A);
    assert_int_equal(ha_service_member_named(world_service(world), "c"), C);
    assert_int_equal(ha_service_member_at(world_service(world), C), 0);
    assert_int_equal(world_service(world)->members[0].verdicts[1], HA_VERDICT_HUNG);
    assert_int_equal(world_service(world)->primary, A);
    world_free(world);
}

/* What this watcher heard stays with the member it is about. */
static void test_members_keep_what_was_heard_of_them(void **state)
{
    struct world *world = world_steady();
    struct ha_member_config first = *member_of(world, A);
    const struct ha_watched *watched;

    (void)state;
    world_hear_all(world);
    *member_of(world, A) = *member_of(world, C);
    *member_of(world, C) = first;
    assert_int_equal(world_apply_config(world), HA_OK);
    watched = &world->w->services[world_service(world)->id % HA_SERVICES_MAX];
    assert_int_equal(watched->members[0]->instance, INSTANCE(C));
    assert_int_equal(watched->members[2]->instance, INSTANCE(A));
    world_free(world);
}

/* The others move down, and the new one in front gets what was kept for the one that left. */
static void test_members_keep_what_was_heard_when_one_is_replaced(void **state)
{
    struct world *world = world_steady();
    struct ha_member_config a = *member_of(world, A), b = *member_of(world, B);
    const struct ha_watched *watched;

    (void)state;
    world_hear_all(world);
    *member_of(world, A) = *member_of(world, C);
    set(member_of(world, A)->name, HA_NAME_SIZE, "d");
    set(member_of(world, A)->agent, HA_NAME_SIZE, "ag-d");
    set(member_of(world, A)->host, HA_HOST_SIZE, "10.0.0.4");
    *member_of(world, B) = a;
    *member_of(world, C) = b;
    assert_int_equal(world_apply_config(world), HA_OK);
    watched = &world->w->services[world_service(world)->id % HA_SERVICES_MAX];
    assert_int_equal(watched->members[0]->instance, HA_INSTANCE_NONE);
    assert_int_equal(watched->members[1]->instance, INSTANCE(A));
    assert_int_equal(watched->members[2]->instance, INSTANCE(B));
    world_free(world);
}

static void test_new_member_inherits_nothing(void **state)
{
    struct world *world = world_steady();
    const struct ha_watched *watched;
    int at;

    (void)state;
    assert_int_equal(world_give_up(world, world_epoch(world), A, INSTANCE(A)), HA_OK);
    assert_int_equal(world_promote(world, C, HA_GATE_BPF), HA_OK);
    assert_int_equal(world_outcome(world, HA_COMMAND_FAILED), HA_OK);
    world_hear_all(world);
    (void)world_observe(world, 1, C, HA_VERDICT_HUNG);
    /* d takes the place of c in one go, and with it the id that has become free. */
    set(member_of(world, C)->name, HA_NAME_SIZE, "d");
    set(member_of(world, C)->agent, HA_NAME_SIZE, "ag-d");
    set(member_of(world, C)->host, HA_HOST_SIZE, "10.0.0.4");
    assert_int_equal(world_apply_config(world), HA_OK);
    at = ha_service_member_at(world_service(world),
                              ha_service_member_named(world_service(world), "d"));
    assert_true(at >= 0);
    assert_int_equal(world_service(world)->members[at].verdicts[1], HA_VERDICT_UNKNOWN);
    assert_int_equal(world_service(world)->members[at].unopened_epoch, HA_EPOCH_NONE);
    assert_int_equal(
        world_service(world)->failed_members >> world_service(world)->members[at].id & 1u, 0);
    watched = &world->w->services[world_service(world)->id % HA_SERVICES_MAX];
    assert_false(watched->members[at]->heard);
    assert_int_equal(watched->members[at]->instance, HA_INSTANCE_NONE);
    world_free(world);
}

/* The last primary alone speaks for what it acknowledged: nobody gets its id when it leaves. */
static void test_the_id_of_the_last_primary_is_not_given(void **state)
{
    struct world *world = world_steady();
    struct ha_service_config *config = &world->config->services[0];

    (void)state;
    assert_int_equal(world_give_up(world, world_epoch(world), A, INSTANCE(A)), HA_OK);
    for (uint32_t i = 0; i < HA_MEMBERS_MAX; i++) {
        config->members[i] = config->members[0];
        (void)ha_text_format(config->members[i].name, HA_NAME_SIZE, "n%u", i);
        (void)ha_text_format(config->members[i].agent, HA_NAME_SIZE, "ag-n%u", i);
        (void)ha_text_format(config->members[i].host, HA_HOST_SIZE, "10.0.1.%u", i + 1);
    }
    config->member_count = HA_MEMBERS_MAX;
    assert_int_equal(refused(world), HA_EBUSY);
    memset(&config->members[--config->member_count], 0, sizeof(config->members[0]));
    assert_int_equal(world_apply_config(world), HA_OK);
    for (uint32_t i = 0; i < config->member_count; i++)
        assert_int_not_equal(world_service(world)->members[i].id, A);
    world_free(world);
}

/* Archive */

static void test_archive_keeps_the_last_versions(void **state)
{
    struct world *world = world_steady();
    uint64_t last;
    const char *text = NULL;
    uint32_t size;

    (void)state;
    for (int i = 0; i < HA_ARCHIVE_MAX + 3; i++) {
        char body[32];
        struct ha_command command = {.kind = HA_COMMAND_CONFIG};

        (void)ha_text_format(body, sizeof(body), "text %d", i);
        command.u.config =
            (struct ha_command_config){.base_version = world->w->cluster.config_version,
                                       .author = "anna",
                                       .config = world->config,
                                       .text = body};
        assert_int_equal(world_commit(world, &command), HA_OK);
    }
    last = world->w->cluster.config_version;
    assert_int_equal(world->w->cluster.archive_count, HA_ARCHIVE_MAX);
    assert_int_equal(ha_cluster_archived(&world->w->cluster, last - HA_ARCHIVE_MAX, &text, &size),
                     HA_ENOENT);
    for (uint64_t back = 0; back < HA_ARCHIVE_MAX; back++) {
        char body[32];

        (void)ha_text_format(body, sizeof(body), "text %d", HA_ARCHIVE_MAX + 2 - (int)back);
        assert_int_equal(ha_cluster_archived(&world->w->cluster, last - back, &text, &size), HA_OK);
        assert_int_equal(size, strlen(body));
        assert_memory_equal(text, body, size);
    }
    world_free(world);
}

static void test_archive_drops_old_texts_for_large_ones(void **state)
{
    static char large[HA_CONFIG_TEXT_MAX + 2];
    struct world *world = world_steady();
    struct ha_command command = {.kind = HA_COMMAND_CONFIG};
    const struct ha_cluster *cluster = &world->w->cluster;
    const char *text;
    uint32_t size;

    (void)state;
    for (int i = 0; i < 7; i++) {
        memset(large, 'a' + i, HA_CONFIG_TEXT_MAX);
        command.u.config = (struct ha_command_config){.base_version = cluster->config_version,
                                                      .author = "anna",
                                                      .config = world->config,
                                                      .text = large};
        assert_int_equal(world_commit(world, &command), HA_OK);
        assert_true(cluster->archive_size <= HA_ARCHIVE_SIZE);
        assert_int_equal(ha_cluster_archived(cluster, cluster->config_version, &text, &size),
                         HA_OK);
        assert_int_equal(size, HA_CONFIG_TEXT_MAX);
        assert_memory_equal(text, large, size);
    }
    large[HA_CONFIG_TEXT_MAX] = 'x';
    command.u.config.base_version = cluster->config_version;
    assert_int_equal(world_commit(world, &command), HA_EFULL);
    world_free(world);
}

/* Outbox */

static void hooks(struct world *world, const char *const *names, uint32_t count)
{
    world->config->webhook_count = count;
    memset(world->config->webhooks, 0, sizeof(world->config->webhooks));
    for (uint32_t i = 0; i < count; i++) {
        set(world->config->webhooks[i].name, HA_NAME_SIZE, names[i]);
        set(world->config->webhooks[i].url, HA_URL_SIZE, "https://hook.example/x");
    }
    assert_int_equal(world_apply_config(world), HA_OK);
}

static int taken(struct world *world, const char *hook, uint64_t seq)
{
    struct ha_command command = {.kind = HA_COMMAND_NOTICE_DONE, .u.notice.seq = seq};

    set(command.u.notice.webhook, HA_NAME_SIZE, hook);
    return world_commit(world, &command);
}

static void test_outbox_holds_until_each_hook_took_it(void **state)
{
    static const char *const names[] = {"one", "two"};
    struct world *world = world_steady();
    struct ha_cluster *cluster = &world->w->cluster;
    uint64_t seq;

    (void)state;
    hooks(world, names, 2);
    assert_int_equal(cluster->notice_count, 1); /* of that very change */
    seq = cluster->notices[0].seq;
    assert_int_equal(cluster->notices[0].owed, 3);
    assert_int_equal(taken(world, "one", seq), HA_OK);
    assert_int_equal(cluster->notices[0].owed, 2);
    assert_int_equal(taken(world, "nobody", seq), HA_ENOENT);
    assert_int_equal(taken(world, "two", seq), HA_OK);
    assert_int_equal(cluster->notice_count, 0);
    assert_int_equal(taken(world, "two", seq), HA_ESTALE);
    world_free(world);
}

static void test_outbox_follows_hooks_by_name(void **state)
{
    static const char *const before[] = {"one", "two", "three"};
    static const char *const after[] = {"three", "new", "one"};
    struct world *world = world_steady();
    struct ha_cluster *cluster = &world->w->cluster;
    uint64_t first, second;

    (void)state;
    hooks(world, before, 3);
    first = cluster->notices[0].seq;
    assert_int_equal(world_pause(world, HA_COMMAND_PAUSE), HA_OK);
    second = cluster->notices[1].seq;
    assert_true(second > first);
    assert_int_equal(taken(world, "one", first), HA_OK);
    assert_int_equal(taken(world, "three", first), HA_OK); /* only two owes it now */
    assert_int_equal(taken(world, "three", second), HA_OK);
    hooks(world, after, 3);
    /* two is gone, and what only it was owed; one is now the third; three and new are owed
     * nothing of the past. */
    assert_int_equal(cluster->notices[0].seq, second);
    assert_int_equal(cluster->notices[0].owed, 4);
    assert_int_equal(cluster->notice_count, 2);
    assert_int_equal(cluster->notices[1].owed, 7);
    world_free(world);
}

static void test_outbox_is_bounded_and_counts_what_it_lost(void **state)
{
    static const char *const names[] = {"one"};
    struct world *world = world_steady();
    struct ha_cluster *cluster = &world->w->cluster;

    (void)state;
    hooks(world, names, 1);
    for (int i = 0; i < HA_OUTBOX_MAX; i++)
        assert_int_equal(world_pause(world, i % 2 == 0 ? HA_COMMAND_PAUSE : HA_COMMAND_RESUME),
                         HA_OK);
    assert_int_equal(cluster->notice_count, HA_OUTBOX_MAX);
    assert_int_equal(cluster->notices_dropped, 1);
    for (uint32_t i = 1; i < cluster->notice_count; i++)
        assert_int_equal(cluster->notices[i].seq, cluster->notices[i - 1].seq + 1);
    world_free(world);
}

static void test_outbox_hook_of_one_service(void **state)
{
    static const char *const names[] = {"all", "mine", "others"};
    struct world *world = world_steady();
    struct ha_config *config = world->config;
    struct ha_command test = {.kind = HA_COMMAND_TEST_NOTICE};
    struct ha_cluster *cluster = &world->w->cluster;

    (void)state;
    config->services[1] = config->services[0];
    config->service_count = 2;
    set(config->services[1].name, HA_NAME_SIZE, "other");
    for (uint32_t i = 0; i < 3; i++)
        config->services[1].members[i].port = 7000;
    hooks(world, names, 3);
    set(config->webhooks[1].service, HA_NAME_SIZE, "cache");
    set(config->webhooks[2].service, HA_NAME_SIZE, "other");
    assert_int_equal(world_apply_config(world), HA_OK);
    assert_int_equal(world_pause(world, HA_COMMAND_PAUSE), HA_OK);
    assert_int_equal(cluster->notices[cluster->notice_count - 1].owed, 3);
    set(test.u.notice.webhook, HA_NAME_SIZE, "others"); /* each can be tried, whatever it takes */
    assert_int_equal(world_commit(world, &test), HA_OK);
    assert_int_equal(cluster->notices[cluster->notice_count - 1].owed, 4);
    assert_int_equal(cluster->notices[cluster->notice_count - 1].kind, HA_NOTICE_TEST);
    set(test.u.notice.webhook, HA_NAME_SIZE, "nobody");
    assert_int_equal(world_commit(world, &test), HA_ENOENT);
    world_free(world);
}

/* People are told what a quorum says, once per change. */
static void test_outbox_member_down_and_up(void **state)
{
    static const char *const names[] = {"one"};
    struct world *world = world_steady();
    struct ha_cluster *cluster = &world->w->cluster;
    uint32_t before;

    (void)state;
    hooks(world, names, 1);
    before = cluster->notice_count;
    (void)world_observe(world, 0, B, HA_VERDICT_SILENT);
    assert_int_equal(cluster->notice_count, before);
    (void)world_observe(world, 1, B, HA_VERDICT_REFUSED);
    assert_int_equal(cluster->notices[before].kind, HA_NOTICE_MEMBER_DOWN);
    (void)world_observe(world, 2, B, HA_VERDICT_REFUSED);
    (void)world_observe(world, 0, B, HA_VERDICT_HUNG);
    assert_int_equal(cluster->notice_count, before + 1);
    (void)world_observe(world, 0, B, HA_VERDICT_UP);
    assert_int_equal(cluster->notice_count, before + 1);
    (void)world_observe(world, 1, B, HA_VERDICT_UP);
    assert_int_equal(cluster->notices[before + 1].kind, HA_NOTICE_MEMBER_UP);
    world_free(world);
}

/* It may stay primary; that its clients cannot write must not be a secret. */
static void test_notice_of_a_primary_that_cannot_write(void **state)
{
    static const char *const names[] = {"one"};
    struct world *world = world_steady();
    struct ha_cluster *cluster = &world->w->cluster;
    uint32_t before;

    (void)state;
    hooks(world, names, 1);
    before = cluster->notice_count;
    (void)world_observe(world, 0, A, HA_VERDICT_UNWRITABLE);
    assert_int_equal(cluster->notice_count, before);
    (void)world_observe(world, 1, A, HA_VERDICT_UNWRITABLE);
    assert_int_equal(cluster->notices[before].kind, HA_NOTICE_MEMBER_DOWN);
    assert_non_null(strstr(cluster->notices[before].text, "unwritable, say 2 of 3 watchers"));
    (void)world_observe(world, 2, A, HA_VERDICT_UNWRITABLE);
    assert_int_equal(cluster->notice_count, before + 1);
    (void)world_observe(world, 0, A, HA_VERDICT_CRASHED); /* worse, and told as such */
    (void)world_observe(world, 1, A, HA_VERDICT_CRASHED);
    assert_int_equal(cluster->notice_count, before + 2);
    assert_non_null(strstr(cluster->notices[before + 1].text, "crashed"));
    for (uint32_t watcher = 0; watcher < 3; watcher++)
        (void)world_observe(world, watcher, A, HA_VERDICT_UP);
    assert_int_equal(cluster->notices[cluster->notice_count - 1].kind, HA_NOTICE_MEMBER_UP);
    world_free(world);
}

/* A quorum above the majority holds a failover back, not the news: such a primary has no lease. */
static void test_notice_of_a_member_needs_a_majority_only(void **state)
{
    static const char *const names[] = {"one"};
    struct world *world = world_steady();
    struct ha_cluster *cluster = &world->w->cluster;
    char why[HA_TEXT_SIZE];
    uint32_t before;

    (void)state;
    hooks(world, names, 1);
    world->config->services[0].quorum = 3;
    assert_int_equal(world_apply_config(world), HA_OK);
    before = cluster->notice_count;
    (void)world_observe(world, 0, A, HA_VERDICT_SILENT);
    assert_int_equal(cluster->notice_count, before);
    (void)world_observe(world, 1, A, HA_VERDICT_SILENT);
    assert_int_equal(cluster->notices[before].kind, HA_NOTICE_MEMBER_DOWN);
    assert_int_equal(world_begin(world, HA_REASON_DOWN, HA_MEMBER_NONE), HA_EDENIED);
    world_peer(world, 1, true);
    ha_view_why(world->w, world_service(world), world->now_ms, why);
    assert_non_null(strstr(why, "2 watchers say that the primary is down, 3 must (quorum)"));
    world_free(world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_configuration_primary_stays_where_it_is),
    cmocka_unit_test(test_configuration_candidate_stays_where_it_is),
    cmocka_unit_test(test_configuration_old_primary_stays_until_it_is_fenced),
    cmocka_unit_test(test_configuration_replicas_may_change),
    cmocka_unit_test(test_configuration_one_address_one_member),
    cmocka_unit_test(test_configuration_address_of_another_service),
    cmocka_unit_test(test_configuration_quorum_never_below_the_majority),
    cmocka_unit_test(test_configuration_refusals),
    cmocka_unit_test(test_configuration_made_from_an_old_version),
    cmocka_unit_test(test_configuration_before_the_set_of_watchers),
    cmocka_unit_test(test_deleted_service_passes_through_the_fence),
    cmocka_unit_test(test_deleted_while_nothing_is_open_is_gone_at_once),
    cmocka_unit_test(test_deleted_while_it_is_fenced_ends_with_that_fence),
    cmocka_unit_test(test_deleted_in_opening_is_fenced),
    cmocka_unit_test(test_members_keep_their_ids_by_name),
    cmocka_unit_test(test_members_keep_what_was_heard_of_them),
    cmocka_unit_test(test_members_keep_what_was_heard_when_one_is_replaced),
    cmocka_unit_test(test_new_member_inherits_nothing),
    cmocka_unit_test(test_the_id_of_the_last_primary_is_not_given),
    cmocka_unit_test(test_archive_keeps_the_last_versions),
    cmocka_unit_test(test_archive_drops_old_texts_for_large_ones),
    cmocka_unit_test(test_outbox_holds_until_each_hook_took_it),
    cmocka_unit_test(test_outbox_follows_hooks_by_name),
    cmocka_unit_test(test_outbox_is_bounded_and_counts_what_it_lost),
    cmocka_unit_test(test_outbox_hook_of_one_service),
    cmocka_unit_test(test_outbox_member_down_and_up),
    cmocka_unit_test(test_notice_of_a_primary_that_cannot_write),
    cmocka_unit_test(test_notice_of_a_member_needs_a_majority_only),
};

HA_TEST_MAIN("core/config", tests)
