#include "cmd/hafailover-agent/prepare.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/hafailover-agent/daemon.h"
#include "cmd/hafailover-agent/database.h"
#include "cmd/hafailover-agent/links.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/log.h"
#include "lib/wire/message.h"

#define UNDER_WAY_MAX 64u

/* One that a database is at. */
struct prepare {
    uint32_t service; /* 0: free */
    uint32_t place;   /* of the watcher */
    uint64_t id;      /* the watcher's */
};

struct ha_prepares {
    struct ha_host *host;
    struct prepare all[UNDER_WAY_MAX];
};

static struct prepare *prepare_of(struct ha_prepares *prepares, uint32_t service)
{
    for (uint32_t i = 0; i < UNDER_WAY_MAX; i++)
        if (prepares->all[i].service == service)
            return &prepares->all[i];
    return NULL;
}

static void answer(const struct ha_prepares *prepares, const struct prepare *prepare, bool done,
                   const char *text)
{
    struct ha_prepared prepared = {.id = prepare->id, .service = prepare->service, .done = done};

    HA_LOG(done ? HA_LOG_INFO : HA_LOG_WARN, "prepared", "service=%u done=%s text=%s",
           prepare->service, done ? "yes" : "no", HA_QUOTE(text));
    (void)ha_text_format(prepared.text, sizeof(prepared.text), "%s", text);
    ha_links_prepared(prepares->host->links, prepare->place, &prepared);
}

static void end(struct ha_prepares *prepares, struct prepare *prepare)
{
    ha_databases_prepare_cancel(prepares->host->databases, prepare->service);
    prepare->service = 0;
}

static bool is_held(const struct ha_prepares *prepares, const struct ha_prepare *ask)
{
    const struct ha_held *held = ha_agent_held(prepares->host->core, ask->service);

    return held != NULL && held->settings.member == ask->member && held->epoch != HA_EPOCH_NONE;
}

static void begin(struct ha_prepares *prepares, const struct prepare *wanted, uint32_t deadline_ms)
{
    struct prepare *prepare = prepare_of(prepares, 0);
    int code = HA_EFULL;

    if (prepare != NULL)
        code = ha_databases_prepare(prepares->host->databases, wanted->service, deadline_ms);
    if (code == HA_OK) {
        HA_LOG(HA_LOG_INFO, "preparing", "service=%u deadline_ms=%u", wanted->service, deadline_ms);
        *prepare = *wanted;
    } else {
        answer(prepares, wanted, code == HA_ENOTSUP, code == HA_ENOTSUP ? "" : ha_code_text(code));
    }
}

void ha_prepares_ask(struct ha_prepares *prepares, uint32_t place, const struct ha_prepare *ask)
{
    const struct prepare wanted = {.service = ask->service, .place = place, .id = ask->id};
    struct prepare *other = ask->service != 0 ? prepare_of(prepares, ask->service) : NULL;

    if (ask->deadline_ms == 0) {
        if (other != NULL && other->place == place && other->id == ask->id)
            end(prepares, other);
    } else if (other != NULL) {
        answer(prepares, &wanted, false, "it is being made ready for another switchover");
    } else if (!is_held(prepares, ask)) {
        answer(prepares, &wanted, false, "it is not the primary");
    } else {
        begin(prepares, &wanted, ask->deadline_ms);
    }
}

void ha_prepares_ended(struct ha_prepares *prepares, uint32_t service, int code, const char *text)
{
    struct prepare *prepare = prepare_of(prepares, service);
    struct prepare ended;

    if (prepare == NULL)
        return;
    ended = *prepare;
    prepare->service = 0;
    answer(prepares, &ended, code == HA_OK,
           code != HA_OK && text[0] == '\0' ? ha_code_text(code) : text);
}

void ha_prepares_lost(struct ha_prepares *prepares, uint32_t place)
{
    for (uint32_t i = 0; i < UNDER_WAY_MAX; i++)
        if (prepares->all[i].service != 0 && prepares->all[i].place == place)
            end(prepares, &prepares->all[i]);
}

int ha_prepares_open(struct ha_host *host, struct ha_prepares **ret)
{
    struct ha_prepares *prepares = calloc(1, sizeof(*prepares));

    if (prepares == NULL)
        return HA_ENOMEM;
    prepares->host = host;
    *ret = prepares;
    return HA_OK;
}

void ha_prepares_free(struct ha_prepares *prepares)
{
    free(prepares);
}
