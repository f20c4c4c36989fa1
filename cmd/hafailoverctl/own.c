#include "cmd/hafailoverctl/own.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/common/ini.h"
#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/base/text.h"

#define URL_SIZE 300

struct own {
    char urls[1024];
    char key_file[HA_PATH_SIZE], name[80], ca_file[HA_PATH_SIZE], cert_file[HA_PATH_SIZE];
    uint32_t timeout_ms, seen;
};

static const struct ha_ini_field fields[] = {
    HA_INI_FIELD(HA_INI_TEXT, own, urls, "url"),
    HA_INI_FIELD(HA_INI_TEXT, own, key_file, "key_file"),
    HA_INI_FIELD(HA_INI_TEXT, own, name, "name"),
    HA_INI_FIELD(HA_INI_TEXT, own, ca_file, "ca_file"),
    HA_INI_FIELD(HA_INI_TEXT, own, cert_file, "cert_file"),
    HA_INI_FIELD(HA_INI_DURATION, own, timeout_ms, "timeout"),
};

static const struct ha_ini_section sections[] = {
    {"ctl", fields, HA_ARRAY_LEN(fields), .seen = offsetof(struct own, seen)},
};

bool ha_own_add_urls(struct ha_target *target, const char *text)
{
    static char urls[HA_TARGET_URLS_MAX][URL_SIZE];

    do {
        size_t size = strcspn(text, ",");
        const char *next = text[size] == ',' ? text + size + 1 : text + size;

        while (size > 0 && *text == ' ') {
            text++;
            size--;
        }
        while (size > 0 && text[size - 1] == ' ')
            size--;
        if (size >= URL_SIZE || (strncmp(text, "https://", 8) != 0 || size <= 8)) {
            fprintf(stderr, "hafailoverctl: \"%.*s\" is not https://HOST:PORT\n", (int)size, text);
            return false;
        }
        if (target->url_count == HA_TARGET_URLS_MAX) {
            fprintf(stderr, "hafailoverctl: more than %d watchers\n", HA_TARGET_URLS_MAX);
            return false;
        }
        memcpy(urls[target->url_count], text, size);
        urls[target->url_count][size] = '\0';
        target->urls[target->url_count] = urls[target->url_count];
        target->url_count++;
        text = next;
    } while (*text != '\0');
    return true;
}

static int on_line(void *arg, const struct ha_ini_line *line, struct ha_err *err)
{
    return ha_ini_take(sections, HA_ARRAY_LEN(sections), arg, line, err);
}

static void set_text(const char **what, const char *value)
{
    if (*what == NULL && value[0] != '\0')
        *what = value;
}

bool ha_own_read(struct ha_target *target, const char *path)
{
    static struct own own;
    struct ha_err err = {0};

    if (path == NULL && access(HA_OWN_CONFIG, R_OK) != 0)
        return true;
    if (ha_ini_read(path != NULL ? path : HA_OWN_CONFIG, on_line, &own, &err) != HA_OK) {
        fprintf(stderr, "hafailoverctl: %s\n", err.text);
        return false;
    }
    if (own.urls[0] != '\0' && target->url_count == 0 && target->socket == NULL &&
        !ha_own_add_urls(target, own.urls))
        return false;
    set_text(&target->key_file, own.key_file);
    set_text(&target->name, own.name);
    set_text(&target->ca_file, own.ca_file);
    set_text(&target->cert_file, own.cert_file);
    if (target->deadline_ms == 0)
        target->deadline_ms = own.timeout_ms;
    return true;
}
