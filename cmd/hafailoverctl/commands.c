#include "cmd/hafailoverctl/commands.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/hafailoverctl/care.h"
#include "cmd/hafailoverctl/keygen.h"
#include "cmd/hafailoverctl/parts.h"
#include "cmd/hafailoverctl/prepare.h"
#include "cmd/hafailoverctl/print.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/limits.h"
#include "lib/io/file.h"

bool ha_ctl_is_name(const char *word)
{
    if (ha_text_is_name(word, HA_NAME_SIZE))
        return true;
    fprintf(stderr, "hafailoverctl: \"%s\" is not a name\n", word);
    return false;
}

bool ha_ctl_is_number(const char *what, const char *word, uint64_t max, uint64_t *ret)
{
    if (ha_text_u64(word, max, ret) == HA_OK)
        return true;
    fprintf(stderr, "hafailoverctl: %s is a number up to %" PRIu64 ", not \"%s\"\n", what, max,
            word);
    return false;
}

void ha_ctl_show_json(const json_t *json)
{
    (void)json_dumpf(json, stdout, JSON_INDENT(2)); /* a closed pipe is the reader's wish */
    printf("\n");
}

enum ha_exit ha_ctl_get(const struct ha_ctl *ctl, const char *path, void (*print)(const json_t *))
{
    struct ha_ask ask = {.method = "GET", .path = path};
    json_t *json;
    enum ha_exit result = ha_call(&ctl->target, &ask, &json);

    if (result != HA_EXIT_OK)
        return result;
    if (ctl->json)
        ha_ctl_show_json(json);
    else
        print(json);
    json_decref(json);
    return HA_EXIT_OK;
}

enum ha_exit ha_ctl_post(const struct ha_ctl *ctl, const char *path, json_t *body, json_t **ret)
{
    char *text = json_dumps(body, JSON_COMPACT);
    struct ha_ask ask = {.method = "POST", .path = path, .body = text};
    enum ha_exit result;

    *ret = NULL;
    json_decref(body);
    if (text == NULL) {
        fprintf(stderr, "hafailoverctl: a text that is not UTF-8\n");
        return HA_EXIT_USAGE;
    }
    ask.body_size = strlen(text);
    result = ha_call(&ctl->target, &ask, ret);
    free(text);
    return result;
}

/* Who asks, for the record; over TLS the key says it. */
static const char *author_of(void)
{
    const struct passwd *user = getpwuid(getuid());

    return user != NULL && ha_text_is_name(user->pw_name, HA_NAME_SIZE) ? user->pw_name
                                                                        : "operator";
}

enum ha_exit ha_ctl_post_service(const struct ha_ctl *ctl, const char *what, json_t *body,
                                 json_t **ret)
{
    char path[HA_CTL_PATH_SIZE];

    *ret = NULL;
    if (!ha_ctl_is_name(ctl->words[0]) || (ctl->to != NULL && !ha_ctl_is_name(ctl->to))) {
        json_decref(body);
        return HA_EXIT_USAGE;
    }
    if (ctl->why != NULL && json_object_set_new(body, "why", json_string(ctl->why)) != 0) {
        fprintf(stderr, "hafailoverctl: --why is not UTF-8\n");
        json_decref(body);
        return HA_EXIT_USAGE;
    }
    (void)ha_text_format(path, sizeof(path), "/v1/services/%s/%s?author=%s", ctl->words[0], what,
                         author_of());
    return ha_ctl_post(ctl, path, body, ret);
}

/* The whole file in memory (free); NULL: told already. */
static char *read_file(const char *path, size_t *ret_size)
{
    struct ha_err err = {0};
    uint8_t *data;

    if (path == NULL) {
        fprintf(stderr, "hafailoverctl: which file? -f FILE\n");
        return NULL;
    }
    if (ha_file_read(path, HA_CONFIG_TEXT_MAX, &data, ret_size, &err) == HA_OK)
        return (char *)data;
    fprintf(stderr, "hafailoverctl: %s\n", err.text);
    return NULL;
}

/* What @text would change, one line each on standard output; *ret_version is what it was compared
 * with. As JSON only where nothing follows it (@is_last). */
static enum ha_exit show_diff(const struct ha_ctl *ctl, const char *text, size_t size, bool is_last,
                              json_int_t *ret_version)
{
    struct ha_ask ask = {.method = "POST",
                         .path = "/v1/config/diff",
                         .body = text,
                         .body_size = size,
                         .body_file = ctl->file};
    json_t *json, *line;
    enum ha_exit result = ha_call(&ctl->target, &ask, &json);
    size_t at;

    if (result != HA_EXIT_OK)
        return result;
    *ret_version = json_integer_value(json_object_get(json, "version"));
    if (ctl->json_asked && is_last) {
        ha_ctl_show_json(json);
        json_decref(json);
        return HA_EXIT_OK;
    }
    if (ctl->json_asked) {
        json_decref(json);
        return HA_EXIT_OK;
    }
    if (json_array_size(json_object_get(json, "lines")) == 0)
        printf("nothing changes\n");
    json_array_foreach(json_object_get(json, "lines"), at, line)
        printf("%s\n", json_string_value(line));
    json_decref(json);
    return HA_EXIT_OK;
}

static enum ha_exit put_config(const struct ha_ctl *ctl, const char *text, size_t size,
                               json_int_t base)
{
    char path[HA_CTL_PATH_SIZE];
    struct ha_ask ask = {
        .method = "PUT", .path = path, .body = text, .body_size = size, .body_file = ctl->file};
    enum ha_exit result;
    json_t *json;

    (void)ha_text_format(path, sizeof(path), "/v1/config?base=%" JSON_INTEGER_FORMAT "&author=%s",
                         base, author_of());
    result = ha_call(&ctl->target, &ask, &json);
    if (result == HA_EXIT_OK && ctl->json_asked)
        ha_ctl_show_json(json);
    else if (result == HA_EXIT_OK)
        printf("configuration %" JSON_INTEGER_FORMAT "\n",
               json_integer_value(json_object_get(json, "config_version")));
    json_decref(json);
    return result;
}

static enum ha_exit run_apply(const struct ha_ctl *ctl)
{
    size_t size = 0;
    char *text;
    json_int_t base = 0;
    enum ha_exit result;
    uint64_t given = 0;

    if (ctl->base != NULL && !ha_ctl_is_number("--base", ctl->base, INT64_MAX, &given))
        return HA_EXIT_USAGE;
    text = read_file(ctl->file, &size);
    if (text == NULL)
        return HA_EXIT_USAGE;
    result = show_diff(ctl, text, size, false, &base);
    if (result == HA_EXIT_OK)
        result = put_config(ctl, text, size, ctl->base != NULL ? (json_int_t)given : base);
    free(text);
    return result;
}

static enum ha_exit run_diff(const struct ha_ctl *ctl)
{
    size_t size = 0;
    char *text = read_file(ctl->file, &size);
    json_int_t version;
    enum ha_exit result;

    if (text == NULL)
        return HA_EXIT_USAGE;
    result = show_diff(ctl, text, size, true, &version);
    free(text);
    return result;
}

static void print_text(const json_t *answer)
{
    const char *text = json_string_value(json_object_get(answer, "text"));

    fputs(text != NULL ? text : "", stdout);
}

static enum ha_exit get_version(const struct ha_ctl *ctl, const char *version, json_t **ret)
{
    char path[HA_CTL_PATH_SIZE];
    struct ha_ask ask = {.method = "GET", .path = path};

    *ret = NULL;
    if (!ha_ctl_is_name(version))
        return HA_EXIT_USAGE;
    (void)ha_text_format(path, sizeof(path), "/v1/config/%s", version);
    return ha_call(&ctl->target, &ask, ret);
}

/* An ordinary apply of an old text: what is refused then is refused now. */
static enum ha_exit rollback(const struct ha_ctl *ctl, const char *version)
{
    json_int_t base = 0;
    json_t *json;
    enum ha_exit result = get_version(ctl, version, &json);
    const char *text;

    if (result != HA_EXIT_OK)
        return result;
    text = json_string_value(json_object_get(json, "text"));
    if (text == NULL)
        text = "";
    result = show_diff(ctl, text, strlen(text), false, &base);
    if (result == HA_EXIT_OK)
        result = put_config(ctl, text, strlen(text), base);
    json_decref(json);
    return result;
}

static enum ha_exit run_rollback(const struct ha_ctl *ctl)
{
    return rollback(ctl, ctl->words[0]);
}

static enum ha_exit run_config(const struct ha_ctl *ctl)
{
    char path[HA_CTL_PATH_SIZE];
    uint64_t version;
    struct ha_ctl as_text = *ctl; /* a configuration is text wherever it goes */

    as_text.json = ctl->json_asked;
    if (ctl->word_count == 0)
        return ha_ctl_get(&as_text, "/v1/config", print_text);
    if (strcmp(ctl->words[0], "history") == 0 && ctl->word_count == 1)
        return ha_ctl_get(ctl, "/v1/config/history", ha_print_archive);
    if (strcmp(ctl->words[0], "rollback") == 0 && ctl->word_count == 2)
        return rollback(ctl, ctl->words[1]);
    if (ctl->word_count > 1 || ha_text_u64(ctl->words[0], INT64_MAX, &version) != HA_OK) {
        fprintf(stderr, "hafailoverctl: config [VERSION | history | rollback VERSION]\n");
        return HA_EXIT_USAGE;
    }
    (void)ha_text_format(path, sizeof(path), "/v1/config/%" PRIu64, version);
    return ha_ctl_get(&as_text, path, print_text);
}

static enum ha_exit run_keygen(const struct ha_ctl *ctl)
{
    if (strcmp(ctl->words[0], "secret") == 0 && ctl->word_count == 2)
        return ha_keygen_secret(ctl->words[1]);
    if (ctl->word_count == 1 && ctl->secret != NULL && ctl->out != NULL)
        return ha_keygen_derived(ctl->words[0], ctl->secret, ctl->out);
    fprintf(stderr, "hafailoverctl: keygen secret FILE, or keygen ROLE/NAME --secret FILE --out "
                    "FILE\n");
    return HA_EXIT_USAGE;
}

static enum ha_exit run_version(const struct ha_ctl *ctl)
{
    if (ctl->json_asked)
        printf("{\"version\": \"%s\"}\n", HA_VERSION);
    else
        printf("hafailoverctl %s\n", HA_VERSION);
    return HA_EXIT_OK;
}

const struct ha_ctl_command ha_ctl_commands[] = {
    {"status", 0, 1, "[SERVICE] [--watch] [--json]",
     "who is primary, who could be, and what is wrong", ha_ctl_status},
    {"watchers", 0, 2, "[--json] | replace OLD --with NEW=HOST:PORT",
     "the watchers, as the asked one sees them; give a dead one's place to another",
     ha_ctl_watchers},
    {"backup", 1, 1, "FILE", "write all that the watchers know into FILE", ha_care_backup},
    {"history", 0, 1, "[SERVICE] [--count N] [--json]", "what was decided, newest first",
     ha_ctl_history},
    {"explain", 1, 1, "ID [--json]", "one decision: evidence, times, who could have been chosen",
     ha_ctl_explain},
    {"why-not", 1, 1, "SERVICE [--json]", "why no failover is made now, and who would be promoted",
     ha_ctl_why_not},
    {"events", 0, 1, "[SERVICE] [--follow] [--after SEQ] [--count N] [--json]",
     "what people were told, oldest first", ha_ctl_events},
    {"apply", 0, 0, "-f FILE [--base VERSION] [--json]",
     "make FILE the configuration of the cluster", run_apply},
    {"diff", 0, 0, "-f FILE [--json]", "what applying FILE would change", run_diff},
    {"config", 0, 2, "[VERSION | history | rollback VERSION] [--json]",
     "the configuration, or an old one", run_config},
    {"rollback", 1, 1, "VERSION [--json]", "apply an old configuration again, as a new version",
     run_rollback},
    {"switchover", 1, 1,
     "SERVICE [--to MEMBER] [--dry-run] [--why TEXT] [--wait DURATION]"
     " [--checkpoint-timeout DURATION] [--json]",
     "hand over to another primary; no acknowledged write is lost", ha_ctl_switchover},
    {"failover", 1, 1,
     "SERVICE [--to MEMBER] [--accept-loss] [--why TEXT] [--wait DURATION] [--json]",
     "end the primary's epoch and promote another", ha_ctl_failover},
    {"pause", 1, 1, "SERVICE [--for DURATION] [--why TEXT] [--json]",
     "decide and tell, but do nothing by itself", ha_ctl_pause},
    {"resume", 1, 1, "SERVICE [--json]", "end a pause", ha_ctl_resume},
    {"lift", 1, 1, "SERVICE [--json]", "forget the failovers that count for the rate limit",
     ha_ctl_lift},
    {"webhook", 0, 2, "[test [NAME]] [--wait DURATION] [--json]",
     "the webhooks, or send a notice to one or each", ha_ctl_webhook},
    {"member", 1, 2, "prepare [postgresql]",
     "the SQL that makes the roles hafailover needs in a database", ha_ctl_member},
    {"keygen", 1, 2, "secret FILE | ROLE/NAME --secret FILE --out FILE",
     "make the cluster's secret, or a daemon's key from it", run_keygen},
    {"version", 0, 0, "[--json]", "the version of this program", run_version},
    {0},
};
