/* After a promotion the others are repointed. Who could follow and does not yet is waited for; the
 * wait has a bound, and says for whom it is. */
#include "lib/base/text.h"
#include "lib/core/watcher_parts.h"

/* Why the member does not follow yet; NULL: it does, or nobody waits for it: what cannot hear an
 * order is repointed when it can again, from STEADY. */
static const char *wait_of(const struct ha_watch *watch, const struct ha_service *service,
                           uint64_t now_ms)
{
    const struct ha_status *status = &watch->status;

    if (!watch->heard || now_ms - watch->heard_ms >= service->config.down_after_ms ||
        status->process == HA_PROCESS_GONE ||
        status->answer_age_ms >= service->config.hang_after_ms)
        return NULL;
    if (status->sample.role == HA_ROLE_REPLICA && status->sample.link_up &&
        status->follows != HA_MEMBER_NONE)
        return NULL;
    if (status->sample.copying)
        return "it copies the data";
    if (status->text[0] != '\0')
        return status->text;
    return status->sample.role == HA_ROLE_REPLICA ? "it has no connection to its primary yet"
                                                  : "it is not a replica yet";
}

bool ha_repoint_waits(const struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                      char text[HA_TEXT_SIZE])
{
    const struct ha_watched *watched = ha_watched_peek(w, service);

    text[0] = '\0';
    for (uint32_t i = 0; watched != NULL && i < service->config.member_count; i++) {
        const char *why = service->members[i].id == service->primary
                              ? NULL
                              : wait_of(watched->members[i], service, now_ms);

        if (why != NULL)
            (void)ha_text_append(text, HA_TEXT_SIZE, "%s%s: %.80s", text[0] == '\0' ? "" : "; ",
                                 service->config.members[i].name, why);
    }
    return text[0] != '\0';
}
