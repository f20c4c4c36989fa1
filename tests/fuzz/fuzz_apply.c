/* The log: whatever entries come, in whatever order, every watcher makes the same of them, and the
 * rules of the design, section 11, hold. One watcher applies the entries as they were made and
 * keeps its memory, the other decodes each and starts anew from a snapshot before it. */
#include <string.h>

#include "lib/base/err.h"
#include "lib/core/failover.h"
#include "lib/wire/command.h"
#include "lib/wire/snapshot.h"
#include "tests/fuzz/draw.h"
#include "tests/fuzz/entry.h"
#include "tests/fuzz/fuzz.h"

#define STEPS_MAX 200u
#define EPOCHS_KEPT 512u
#define STATE_SIZE (1u << 20)

struct owner { /* of an epoch: for ever */
    uint32_t service;
    uint64_t epoch;
    uint32_t member;
    uint64_t instance;
};

static struct ha_cluster live, other, before;
static uint8_t live_bytes[STATE_SIZE], other_bytes[STATE_SIZE], entry_bytes[HA_COMMAND_SIZE_MAX];
static size_t live_size; /* live_bytes are those of `live` */
static struct owner owners[EPOCHS_KEPT];
static uint32_t owner_count;

static void check_owner(const struct ha_service *service)
{
    const struct owner now = {service->id, service->epoch, service->primary, service->instance};

    for (uint32_t i = 0; i < owner_count; i++) {
        if (owners[i].service != now.service || owners[i].epoch != now.epoch)
            continue;
        FUZZ_CHECK(owners[i].member == now.member && owners[i].instance == now.instance);
        return;
    }
    if (owner_count < EPOCHS_KEPT)
        owners[owner_count++] = now;
}

static void check_service(const struct ha_service *service)
{
    bool is_open = ha_state_is_open(service->state);

    FUZZ_CHECK(service->open_epoch <= service->epoch);
    FUZZ_CHECK((service->primary == HA_MEMBER_NONE) == (service->instance == HA_INSTANCE_NONE));
    FUZZ_CHECK(service->primary == HA_MEMBER_NONE ||
               ha_service_member_at(service, service->primary) >= 0);
    if (service->primary != HA_MEMBER_NONE)
        check_owner(service);
    /* Nobody is chosen, and nobody promised, before the last one that opened is fenced. */
    FUZZ_CHECK(is_open == (service->open_epoch == service->epoch && service->epoch != 0));
    if (is_open)
        FUZZ_CHECK(service->fence == HA_FENCE_NONE && service->open_member == service->primary &&
                   service->open_instance == service->instance);
    else if (service->state != HA_STATE_FENCING)
        FUZZ_CHECK(service->fence != HA_FENCE_NONE);
    else
        FUZZ_CHECK(service->fence == HA_FENCE_NONE && service->primary == HA_MEMBER_NONE);
    FUZZ_CHECK(service->prev_epoch < service->open_epoch || service->open_epoch == 0);
    FUZZ_CHECK(service->open_epoch == 0 || service->prev_fence != HA_FENCE_NONE);
    for (uint32_t i = 0; i < service->config.member_count; i++)
        FUZZ_CHECK(service->members[i].id >= 1 && service->members[i].id <= HA_MEMBERS_MAX);
}

static void check_grown(const struct ha_cluster *old, const struct ha_cluster *now)
{
    FUZZ_CHECK(now->wall_ms >= old->wall_ms && now->epoch_floor >= old->epoch_floor);
    FUZZ_CHECK(now->notice_last >= old->notice_last && now->decision_last >= old->decision_last);
    FUZZ_CHECK(now->config_version >= old->config_version && now->id_last >= old->id_last);
    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++) {
        const struct ha_service *service = &now->services[i];
        const struct ha_service *was = &old->services[i];

        if (was->used && (!service->used || service->id != was->id)) {
            /* Gone, with its epochs; and only when nothing of it can be served any more. */
            FUZZ_CHECK(now->epoch_floor >= was->epoch);
            continue;
        }
        if (!service->used)
            continue;
        if (!was->used) {
            FUZZ_CHECK(service->id > old->id_last && service->epoch > old->epoch_floor);
            continue;
        }
        FUZZ_CHECK(service->epoch >= was->epoch && service->open_epoch >= was->open_epoch);
        FUZZ_CHECK(service->open_epoch == was->open_epoch || was->fence != HA_FENCE_NONE);
        FUZZ_CHECK(service->open_epoch != was->open_epoch || was->fence == HA_FENCE_NONE ||
                   service->fence == was->fence);
        FUZZ_CHECK(service->open_epoch != was->open_epoch ||
                   service->open_lease_ms >= was->open_lease_ms);
    }
}

static void check_state(const struct ha_cluster *cluster)
{
    uint32_t used = 0;

    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++) {
        if (!cluster->services[i].used)
            continue;
        used++;
        check_service(&cluster->services[i]);
    }
    FUZZ_CHECK(used == cluster->service_count);
    for (uint32_t i = 1; i < cluster->notice_count; i++)
        FUZZ_CHECK(cluster->notices[i - 1].seq < cluster->notices[i].seq);
}

static size_t save(const struct ha_cluster *cluster, uint8_t *bytes)
{
    struct ha_err err = {0};
    size_t size = 0;

    /* A state that cannot be written would end every watcher at its next snapshot. */
    if (ha_snapshot_encode(cluster, bytes, STATE_SIZE, &size, &err) != HA_OK)
        (void)fprintf(stderr, "no snapshot: %s\n", err.text);
    FUZZ_CHECK(size > 0 && err.code == HA_OK);
    return size;
}

/* A refused entry changes nothing but index and wall time. */
static void check_refused(const struct ha_err *err)
{
    FUZZ_CHECK(err->text[0] != '\0');
    before.index = live.index;
    before.wall_ms = live.wall_ms;
    FUZZ_CHECK(save(&before, other_bytes) == live_size);
    FUZZ_CHECK(memcmp(live_bytes, other_bytes, live_size) == 0);
}

static void apply(const struct ha_command *made, const struct ha_command *read)
{
    uint64_t index = live.index + 1;
    struct ha_err err = {0}, other_err = {0};
    int code;

    before = live;
    FUZZ_CHECK(ha_snapshot_decode(live_bytes, live_size, &other, &err) == HA_OK);
    code = ha_cluster_apply(&live, index, made, &err);
    FUZZ_CHECK(ha_cluster_apply(&other, index, read, &other_err) == code && err.code == code);
    FUZZ_CHECK(strcmp(err.text, other_err.text) == 0);
    live_size = save(&live, live_bytes);
    FUZZ_CHECK(save(&other, other_bytes) == live_size);
    FUZZ_CHECK(memcmp(live_bytes, other_bytes, live_size) == 0);
    check_state(&live);
    check_grown(&before, &live);
    if (code != HA_OK)
        check_refused(&err);
}

/* An entry of our own making, also as the log brings it. False: no such entry can be written. */
static void step(struct draw *d)
{
    static struct ha_config config, read_config;
    struct ha_command command, read;
    struct ha_err err = {0};
    size_t size = 0;

    entry_draw(d, &live, &command, &config);
    if (ha_command_encode(&command, entry_bytes, sizeof(entry_bytes), &size, NULL) != HA_OK)
        return;
    FUZZ_CHECK(ha_command_decode(entry_bytes, size, &read, &read_config, &err) == HA_OK);
    apply(&command, &read);
}

static void rebuild(struct draw *d)
{
    struct ha_command_watchers set = {
        .set_id = live.set_id + 1, .count = 1 + 2 * draw_below(d, 3), .names = {"w1", "w2"}};

    before = live;
    ha_cluster_rebuild(&live, &set, "all watchers were lost");
    live_size = save(&live, live_bytes);
    check_state(&live);
    check_grown(&before, &live);
}

/* What every story begins with, as choices of entry_draw: three watchers, and two services of three
 * members each, with two webhooks. */
static void begin(void)
{
    static const uint8_t watchers[] = {HA_COMMAND_WATCHERS, 0, 0, 2};
    static const uint8_t services[] = {
        HA_COMMAND_CONFIG, 0, 0x3, 0x2, 0x7, 0x21, 0, 0, 0, 0, 0x7, 0x25, 0, 0, 0, 0, 7};
    struct draw d = {watchers, sizeof(watchers)};

    step(&d);
    d = (struct draw){services, sizeof(services)};
    step(&d);
    FUZZ_CHECK(live.set_id == 1 && live.service_count == 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct draw d = {data, size};

    ha_cluster_init(&live);
    live_size = save(&live, live_bytes);
    owner_count = 0;
    if (draw_byte(&d) < 0xf0)
        begin();
    for (uint32_t i = 0; i < STEPS_MAX && d.left > 0; i++) {
        if (*d.data == 0xff) {
            (void)draw_byte(&d);
            rebuild(&d);
        } else {
            step(&d);
        }
    }
    return 0;
}
