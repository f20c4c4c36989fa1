#include "cmd/common/watchers.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/common/security.h"
#include "lib/base/err.h"
#include "lib/base/text.h"

int ha_watchers_add(struct ha_watcher_setting *list, uint32_t *count,
                    const struct ha_ini_line *line, struct ha_err *err)
{
    struct ha_watcher_setting *watcher;
    char host[HA_ADDRESS_SIZE];
    uint16_t port;

    if (*count == HA_WATCHERS_MAX)
        return ha_err_set(err, HA_EFULL, "more than %d watchers", HA_WATCHERS_MAX);
    if (!ha_text_is_name(line->key, HA_NAME_SIZE))
        return ha_err_set(err, HA_EINVAL, "not a name");
    if (ha_text_host_port(line->value, host, sizeof(host), &port, 0) != HA_OK)
        return ha_err_set(err, HA_EINVAL, "\"%s\" is not host:port", line->value);
    for (uint32_t i = 0; i < *count; i++) {
        if (strcmp(list[i].name, line->key) == 0)
            return ha_err_set(err, HA_EEXIST, "said twice");
    }
    watcher = &list[(*count)++];
    (void)ha_text_copy(watcher->name, sizeof(watcher->name), line->key);
    return ha_text_copy(watcher->address, sizeof(watcher->address), line->value);
}

static int by_name(const void *a, const void *b)
{
    const struct ha_watcher_setting *left = a, *right = b;

    return strcmp(left->name, right->name); /* total: names are unique */
}

int ha_watchers_check(struct ha_watcher_setting *list, uint32_t count, bool is_plain,
                      struct ha_err *err)
{
    qsort(list, count, sizeof(list[0]), by_name);
    for (uint32_t i = 0; is_plain && i < count; i++) {
        if (!ha_security_is_local(list[i].address))
            return ha_err_set(err, HA_EINVAL, "[tls] mode = plain: %s is not a loopback address",
                              list[i].address);
    }
    return HA_OK;
}
