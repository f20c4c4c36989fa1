/* Rendering a configuration and telling two of them apart, from the tables of config_keys.h. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/wire/config.h"
#include "lib/wire/config_keys.h"

static const struct ha_member_config member_defaults = {.priority = HA_PRIORITY_DEFAULT,
                                                        .agent_port = HA_AGENT_PORT_DEFAULT};
static const struct ha_webhook_config webhook_defaults;

/* --- rendering -------------------------------------------------------------------------------- */

static void render_keys(FILE *file, const struct ha_config_keys *keys, const void *section,
                        const void *defaults)
{
    char value[HA_CONFIG_VALUE_SIZE], usual[HA_CONFIG_VALUE_SIZE];

    for (size_t i = 0; i < keys->count; i++) {
        ha_config_key_write(keys, i, section, value);
        ha_config_key_write(keys, i, defaults, usual);
        if (ha_config_key_required(keys, i) || strcmp(value, usual) != 0)
            (void)fprintf(file, "%s = %s\n", ha_config_key_name(keys, i), value);
    }
}

static void render(FILE *file, const struct ha_config *config)
{
    struct ha_service_config defaults;

    ha_service_config_defaults(&defaults);
    for (uint32_t i = 0; i < config->service_count; i++) {
        const struct ha_service_config *service = &config->services[i];

        (void)fprintf(file, "%s[service %s]\n", i == 0 ? "" : "\n", service->name);
        render_keys(file, &ha_service_keys, service, &defaults);
        for (uint32_t m = 0; m < service->member_count; m++) {
            (void)fprintf(file, "\n[member %s/%s]\n", service->name, service->members[m].name);
            render_keys(file, &ha_member_keys, &service->members[m], &member_defaults);
        }
    }
    for (uint32_t i = 0; i < config->webhook_count; i++) {
        (void)fprintf(file, "%s[webhook %s]\n", config->service_count == 0 && i == 0 ? "" : "\n",
                      config->webhooks[i].name);
        render_keys(file, &ha_webhook_keys, &config->webhooks[i], &webhook_defaults);
    }
}

int ha_config_render(const struct ha_config *config, char **ret_text, size_t *ret_size)
{
    char *text = NULL;
    size_t size = 0;
    bool failed;
    FILE *file = open_memstream(&text, &size);

    assert(config->service_count <= HA_SERVICES_MAX);
    assert(config->webhook_count <= HA_WEBHOOKS_MAX);
    if (file == NULL)
        return HA_ENOMEM;
    render(file, config);
    failed = ferror(file) != 0;
    if (fclose(file) != 0 || failed) {
        free(text);
        return HA_ENOMEM;
    }
    *ret_text = text;
    if (ret_size != NULL)
        *ret_size = size;
    return HA_OK;
}

/* --- telling apart ---------------------------------------------------------------------------- */

#define LINE_SIZE 1024u
#define SUBJECT_SIZE (2 * HA_NAME_SIZE + 16)

struct diff {
    ha_config_diff_cb cb;
    void *arg;
    uint32_t count;
};

/* "subject what": every line fits, being two values and three names at most. */
static void tell(struct diff *diff, const char *subject, const char *what)
{
    char line[LINE_SIZE];

    (void)ha_text_format(line, sizeof(line), "%s%s", subject, what);
    diff->count++;
    diff->cb(diff->arg, line);
}

static const char *shown(const char *value)
{
    return value[0] == '\0' ? "none" : value;
}

static void diff_keys(struct diff *diff, const char *subject, const struct ha_config_keys *keys,
                      const void *old, const void *new)
{
    char before[HA_CONFIG_VALUE_SIZE], after[HA_CONFIG_VALUE_SIZE], what[LINE_SIZE];

    for (size_t i = 0; i < keys->count; i++) {
        ha_config_key_write(keys, i, old, before);
        ha_config_key_write(keys, i, new, after);
        if (strcmp(before, after) == 0)
            continue;
        (void)ha_text_format(what, sizeof(what), ": %s %s -> %s", ha_config_key_name(keys, i),
                             shown(before), shown(after));
        tell(diff, subject, what);
    }
}

/* "added: key value, ...": what a new section says beyond the defaults. */
static void tell_added(struct diff *diff, const char *subject, const struct ha_config_keys *keys,
                       const void *section, const void *defaults)
{
    char value[HA_CONFIG_VALUE_SIZE], usual[HA_CONFIG_VALUE_SIZE], what[LINE_SIZE] = " added";
    const char *separator = ": ";

    for (size_t i = 0; i < keys->count; i++) {
        ha_config_key_write(keys, i, section, value);
        ha_config_key_write(keys, i, defaults, usual);
        if (!ha_config_key_required(keys, i) && strcmp(value, usual) == 0)
            continue;
        (void)ha_text_append(what, sizeof(what), "%s%s %s", separator, ha_config_key_name(keys, i),
                             shown(value)); /* a very long line is cut */
        separator = ", ";
    }
    tell(diff, subject, what);
}

static const struct ha_member_config *find_member(const struct ha_service_config *service,
                                                  const char *name)
{
    for (uint32_t i = 0; service != NULL && i < service->member_count; i++)
        if (strcmp(service->members[i].name, name) == 0)
            return &service->members[i];
    return NULL;
}

static const struct ha_service_config *find_service(const struct ha_config *config,
                                                    const char *name)
{
    for (uint32_t i = 0; config != NULL && i < config->service_count; i++)
        if (strcmp(config->services[i].name, name) == 0)
            return &config->services[i];
    return NULL;
}

static const struct ha_webhook_config *find_webhook(const struct ha_config *config,
                                                    const char *name)
{
    for (uint32_t i = 0; config != NULL && i < config->webhook_count; i++)
        if (strcmp(config->webhooks[i].name, name) == 0)
            return &config->webhooks[i];
    return NULL;
}

/* Two names and a word fit. */
#define SUBJECT(to, ...) (void)ha_text_format((to), SUBJECT_SIZE, __VA_ARGS__)

static void diff_members(struct diff *diff, const struct ha_service_config *old,
                         const struct ha_service_config *new)
{
    char subject[SUBJECT_SIZE];

    for (uint32_t i = 0; old != NULL && i < old->member_count; i++) {
        if (find_member(new, old->members[i].name) != NULL)
            continue;
        SUBJECT(subject, "member %s/%s", old->name, old->members[i].name);
        tell(diff, subject, " removed");
    }
    for (uint32_t i = 0; i < new->member_count; i++) {
        const struct ha_member_config *before = find_member(old, new->members[i].name);

        SUBJECT(subject, "member %s/%s", new->name, new->members[i].name);
        if (before == NULL)
            tell_added(diff, subject, &ha_member_keys, &new->members[i], &member_defaults);
        else
            diff_keys(diff, subject, &ha_member_keys, before, &new->members[i]);
    }
}

static void diff_services(struct diff *diff, const struct ha_config *old,
                          const struct ha_config *new)
{
    struct ha_service_config defaults;
    char subject[SUBJECT_SIZE];

    ha_service_config_defaults(&defaults);
    for (uint32_t i = 0; old != NULL && i < old->service_count; i++) {
        if (find_service(new, old->services[i].name) != NULL)
            continue;
        SUBJECT(subject, "service %s", old->services[i].name);
        tell(diff, subject, " removed");
    }
    for (uint32_t i = 0; i < new->service_count; i++) {
        const struct ha_service_config *after = &new->services[i];
        const struct ha_service_config *before = find_service(old, after->name);

        SUBJECT(subject, "service %s", after->name);
        if (before == NULL)
            tell_added(diff, subject, &ha_service_keys, after, &defaults);
        else
            diff_keys(diff, subject, &ha_service_keys, before, after);
        diff_members(diff, before, after);
    }
}

static void diff_webhooks(struct diff *diff, const struct ha_config *old,
                          const struct ha_config *new)
{
    char subject[SUBJECT_SIZE];

    for (uint32_t i = 0; old != NULL && i < old->webhook_count; i++) {
        if (find_webhook(new, old->webhooks[i].name) != NULL)
            continue;
        SUBJECT(subject, "webhook %s", old->webhooks[i].name);
        tell(diff, subject, " removed");
    }
    for (uint32_t i = 0; i < new->webhook_count; i++) {
        const struct ha_webhook_config *after = &new->webhooks[i];
        const struct ha_webhook_config *before = find_webhook(old, after->name);

        SUBJECT(subject, "webhook %s", after->name);
        if (before == NULL)
            tell_added(diff, subject, &ha_webhook_keys, after, &webhook_defaults);
        else
            diff_keys(diff, subject, &ha_webhook_keys, before, after);
    }
}

uint32_t ha_config_diff(const struct ha_config *old, const struct ha_config *new,
                        ha_config_diff_cb cb, void *arg)
{
    struct diff diff = {.cb = cb, .arg = arg};

    assert(new != NULL);
    diff_services(&diff, old, new);
    diff_webhooks(&diff, old, new);
    return diff.count;
}
