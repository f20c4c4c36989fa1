#include "lib/wire/config.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <ini.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/wire/config_keys.h"

/* libinih splits "key = value" and knows comments; sections are read here, because it neither tells
 * of an empty one nor keeps a name of more than 49 characters, and so are lines, because it does
 * not say their number to the handler. */

#define TITLE_SIZE (HA_CONFIG_LINE_MAX + 1)

struct parser {
    /* input */
    const char *text;
    size_t size, at;
    uint32_t line; /* of what was last given to libinih, from 1 */

    /* the section under way; fields is NULL outside of any */
    const struct ha_config_keys *keys;
    void *fields;
    char title[TITLE_SIZE]; /* "member cache/a" */
    uint32_t title_line;
    uint64_t seen; /* bit per key */
    uint64_t need; /* bits of keys it must have */

    /* the first complaint */
    int code;
    uint32_t code_line;
    struct ha_err err;

    /* results and where they come from */
    struct ha_service_config defaults;
    uint32_t defaults_line; /* 0: none yet */
    uint64_t defaults_seen;
    uint32_t service_lines[HA_SERVICES_MAX];
    uint32_t member_lines[HA_SERVICES_MAX][HA_MEMBERS_MAX];
    uint32_t webhook_lines[HA_WEBHOOKS_MAX];
    struct ha_config config;
};

/* --- complaints ------------------------------------------------------------------------------- */

/* Where p->err holds the sentence: makes it the answer. */
static void fail_at(struct parser *p, uint32_t line)
{
    p->code_line = line;
    p->code = ha_err_prefix(&p->err, HA_EINVAL, "line %" PRIu32, line);
}

#define FAIL(p, ...)                                         \
    do {                                                     \
        (void)ha_err_set(&(p)->err, HA_EINVAL, __VA_ARGS__); \
        fail_at((p), (p)->line);                             \
    } while (0)

/* --- sections --------------------------------------------------------------------------------- */

static void end_section(struct parser *p)
{
    uint64_t missing = p->need & ~p->seen;

    if (p->fields == &p->defaults)
        p->defaults_seen = p->seen;
    else if (p->fields != NULL && missing != 0) {
        (void)ha_err_set(&p->err, HA_EINVAL, "%s: the key %s is missing", p->title,
                         ha_config_key_name(p->keys, (size_t)__builtin_ctzll(missing)));
        fail_at(p, p->title_line);
    }
    p->fields = NULL;
}

static uint64_t required(const struct ha_config_keys *keys)
{
    uint64_t bits = 0;

    for (size_t i = 0; i < keys->count; i++)
        bits |= ha_config_key_required(keys, i) ? UINT64_C(1) << i : 0;
    return bits;
}

static void begin_section(struct parser *p, const struct ha_config_keys *keys, void *fields,
                          uint32_t *ret_line)
{
    p->keys = keys;
    p->fields = fields;
    p->title_line = p->line;
    p->seen = 0;
    p->need = required(keys);
    *ret_line = p->line;
}

static void begin_defaults(struct parser *p)
{
    if (p->defaults_line != 0) {
        FAIL(p, "%s: there is such a section already, in line %" PRIu32, p->title,
             p->defaults_line);
        return;
    }
    if (p->config.service_count > 0) {
        FAIL(p, "defaults: it must stand before the first service");
        return;
    }
    begin_section(p, &ha_service_keys, &p->defaults, &p->defaults_line);
}

static bool check_name(struct parser *p, const char *name)
{
    if (ha_text_is_name(name, HA_NAME_SIZE))
        return true;
    FAIL(p, "%s: \"%s\" is not a name: at most %d letters, digits, '.', '_' and '-'", p->title,
         name, HA_NAME_SIZE - 1);
    return false;
}

static uint32_t find_service(const struct parser *p, const char *name)
{
    uint32_t i = 0;

    while (i < p->config.service_count && strcmp(p->config.services[i].name, name) != 0)
        i++;
    return i;
}

static void begin_service(struct parser *p, const char *name)
{
    uint32_t at = find_service(p, name);
    struct ha_service_config *service;

    if (!check_name(p, name))
        return;
    if (at < p->config.service_count) {
        FAIL(p, "%s: there is such a section already, in line %" PRIu32, p->title,
             p->service_lines[at]);
        return;
    }
    if (at == HA_SERVICES_MAX) {
        FAIL(p, "%s: more than %d services", p->title, HA_SERVICES_MAX);
        return;
    }
    service = &p->config.services[p->config.service_count++];
    *service = p->defaults;
    (void)ha_text_copy(service->name, sizeof(service->name), name); /* a name fits */
    begin_section(p, &ha_service_keys, service, &p->service_lines[at]);
    p->need &= ~p->defaults_seen;
}

static void begin_member(struct parser *p, char *name)
{
    char *member_name = strchr(name, '/');
    struct ha_service_config *service;
    struct ha_member_config *member;
    uint32_t at;

    if (member_name == NULL) {
        FAIL(p, "%s: it must be named SERVICE/MEMBER", p->title);
        return;
    }
    *member_name++ = '\0';
    if (!check_name(p, name) || !check_name(p, member_name))
        return;
    at = find_service(p, name);
    if (at == p->config.service_count) {
        FAIL(p, "%s: there is no [service %s] above", p->title, name);
        return;
    }
    service = &p->config.services[at];
    for (uint32_t i = 0; i < service->member_count; i++) {
        if (strcmp(service->members[i].name, member_name) != 0)
            continue;
        FAIL(p, "%s: there is such a section already, in line %" PRIu32, p->title,
             p->member_lines[at][i]);
        return;
    }
    if (service->member_count == HA_MEMBERS_MAX) {
        FAIL(p, "%s: more than %d members", p->title, HA_MEMBERS_MAX);
        return;
    }
    member = &service->members[service->member_count];
    (void)ha_text_copy(member->name, sizeof(member->name), member_name); /* a name fits */
    member->priority = HA_PRIORITY_DEFAULT;
    member->agent_port = HA_AGENT_PORT_DEFAULT;
    begin_section(p, &ha_member_keys, member, &p->member_lines[at][service->member_count]);
    service->member_count++;
}

static void begin_webhook(struct parser *p, const char *name)
{
    struct ha_webhook_config *webhook;
    uint32_t count = p->config.webhook_count;

    if (!check_name(p, name))
        return;
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(p->config.webhooks[i].name, name) != 0)
            continue;
        FAIL(p, "%s: there is such a section already, in line %" PRIu32, p->title,
             p->webhook_lines[i]);
        return;
    }
    if (count == HA_WEBHOOKS_MAX) {
        FAIL(p, "%s: more than %d webhooks", p->title, HA_WEBHOOKS_MAX);
        return;
    }
    webhook = &p->config.webhooks[p->config.webhook_count++];
    (void)ha_text_copy(webhook->name, sizeof(webhook->name), name); /* a name fits */
    begin_section(p, &ha_webhook_keys, webhook, &p->webhook_lines[count]);
}

/* The name behind @word in @title, or NULL when it is another word. */
static char *name_after(char *title, const char *word)
{
    size_t length = strlen(word);

    if (strncmp(title, word, length) != 0 || (title[length] != ' ' && title[length] != '\t'))
        return NULL;
    return title + length + strspn(title + length, " \t");
}

/* @line begins with '['. */
static void take_section(struct parser *p, const char *line)
{
    size_t length = strcspn(line, "]");
    const char *rest = line + length + 1;
    char title[TITLE_SIZE] = "";
    char *name;

    end_section(p);
    if (p->code != HA_OK)
        return;
    if (line[length] == '\0') {
        FAIL(p, "a section without its ']'");
        return;
    }
    rest += strspn(rest, " \t");
    if (*rest != '\0' && *rest != ';' && *rest != '#') {
        FAIL(p, "something after the ']' of a section");
        return;
    }
    memcpy(title, line + 1, length - 1);
    memcpy(p->title, title, sizeof(title));
    if (strcmp(title, "defaults") == 0)
        begin_defaults(p);
    else if ((name = name_after(title, "service")) != NULL)
        begin_service(p, name);
    else if ((name = name_after(title, "member")) != NULL)
        begin_member(p, name);
    else if ((name = name_after(title, "webhook")) != NULL)
        begin_webhook(p, name);
    else
        FAIL(p, "unknown section [%s]", title);
}

/* --- lines and keys --------------------------------------------------------------------------- */

static int take_key(void *arg, const char *section, const char *name, const char *value)
{
    struct parser *p = arg;
    int at;

    (void)section; /* ours is p->title */
    if (p->code != HA_OK)
        return 0;
    if (p->fields == NULL) {
        FAIL(p, "the key \"%s\" stands outside of any section", name);
        return 0;
    }
    at = ha_config_key_find(p->keys, name);
    if (at < 0) {
        FAIL(p, "%s: unknown key \"%s\"", p->title, name);
        return 0;
    }
    if ((p->seen >> at & 1u) != 0) {
        FAIL(p, "%s: the key %s is given twice", p->title, name);
        return 0;
    }
    p->seen |= UINT64_C(1) << at;
    if (ha_config_key_read(p->keys, (size_t)at, p->fields, value, &p->err) == HA_OK)
        return 1;
    (void)ha_err_prefix(&p->err, HA_EINVAL, "%s: %s", p->title, name);
    fail_at(p, p->line);
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Copies the next line into @to without the white space around it; false at the end or on a
 * complaint. Indented lines would be continuations to libinih. */
static bool take_line(struct parser *p, char to[HA_CONFIG_LINE_MAX + 1])
{
    const char *line = p->text + p->at, *end;
    size_t length;

    if (p->code != HA_OK || p->at == p->size)
        return false;
    p->line++;
    end = memchr(line, '\n', p->size - p->at);
    length = end == NULL ? p->size - p->at : (size_t)(end - line);
    p->at += length + (end == NULL ? 0 : 1);
    for (; length > 0 && is_blank(*line); length--)
        line++;
    while (length > 0 && is_blank(line[length - 1]))
        length--;
    if (length > HA_CONFIG_LINE_MAX) {
        FAIL(p, "longer than %u bytes", HA_CONFIG_LINE_MAX);
        return false;
    }
    for (size_t i = 0, n; i < length; i += n) {
        n = ha_text_utf8(line + i, length - i);
        if (n == 0) {
            /* It is given back as JSON, which has no other text. */
            FAIL(p, "a byte that is not UTF-8");
            return false;
        }
        if (((unsigned char)line[i] >= ' ' && line[i] != '\x7f') || line[i] == '\t')
            continue;
        FAIL(p, "a control character");
        return false;
    }
    memcpy(to, line, length);
    to[length] = '\0';
    return true;
}

/* What libinih calls for its next line, as it would fgets. */
static char *give_line(char *to, int size, void *arg)
{
    struct parser *p = arg;
    char line[HA_CONFIG_LINE_MAX + 1];

    if (!take_line(p, line))
        return NULL;
    if (line[0] == '[') {
        take_section(p, line);
        line[0] = '\0';
    }
    if (p->code != HA_OK)
        return NULL;
    if (ha_text_format(to, (size_t)size, "%s\n", line) != HA_OK) {
        FAIL(p, "longer than %d bytes", size - 2);
        return NULL;
    }
    return to;
}

/* --- the whole -------------------------------------------------------------------------------- */

static void check_whole(struct parser *p, uint32_t watchers)
{
    struct ha_config_fault fault;

    if (ha_config_check_at(&p->config, watchers, &fault, &p->err) == HA_OK)
        return;
    switch (fault.what) {
    case HA_CONFIG_FAULT_WHOLE:
        p->code = HA_EINVAL;
        return;
    case HA_CONFIG_FAULT_SERVICE:
        fail_at(p, p->service_lines[fault.service]);
        return;
    case HA_CONFIG_FAULT_MEMBER:
        fail_at(p, p->member_lines[fault.service][fault.member]);
        return;
    case HA_CONFIG_FAULT_WEBHOOK:
        fail_at(p, p->webhook_lines[fault.webhook]);
        return;
    }
    HA_UNREACHABLE();
}

static void parse(struct parser *p, uint32_t watchers)
{
    int line;

    ha_service_config_defaults(&p->defaults);
    line = ini_parse_stream(give_line, p, take_key, p);
    /* It goes on after a line it cannot split, so a complaint of ours may be the later one. */
    if (line > 0 && (p->code == HA_OK || (uint32_t)line < p->code_line)) {
        (void)ha_err_set(&p->err, HA_EINVAL, "neither a section nor key = value");
        fail_at(p, (uint32_t)line);
    }
    if (p->code == HA_OK)
        end_section(p);
    if (p->code == HA_OK)
        check_whole(p, watchers);
}

int ha_config_parse(const char *text, size_t size, uint32_t watchers, struct ha_config *ret,
                    struct ha_err *err)
{
    struct parser *p;
    int code;

    assert(text != NULL || size == 0);
    if (size > HA_CONFIG_TEXT_MAX)
        return ha_err_set(err, HA_EFULL, "the text has %zu bytes, the limit is %u", size,
                          HA_CONFIG_TEXT_MAX);
    p = calloc(1, sizeof(*p));
    if (p == NULL)
        return ha_err_set(err, HA_ENOMEM, "no memory for the configuration");
    p->text = text;
    p->size = size;
    parse(p, watchers);
    code = p->code;
    if (code == HA_OK)
        *ret = p->config;
    else if (err != NULL)
        *err = p->err;
    free(p);
    return code;
}
