#include "cmd/hafailoverctl/commands.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/hafailoverctl/care.h"
#include "cmd/hafailoverctl/keygen.h"
#include "cmd/hafailoverctl/print.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/limits.h"
#include "lib/io/file.h"

#define PATH_SIZE 256

/* Words become parts of a path only when they are names: nothing needs escaping then. */
static bool is_name(const char *word)
{
    if (ha_text_is_name(word, HA_NAME_SIZE))
        return true;
    fprintf(stderr, "hafailoverctl: \"%s\" is not a name\n", word);
    return false;
}

static enum ha_exit get(const struct ha_ctl *ctl, const char *path, void (*print)(const json_t *))
{
    struct ha_ask ask = {.method = "GET", .path = path};
    json_t *json;
    enum ha_exit result = ha_call(&ctl->target, &ask, &json);

    if (result != HA_EXIT_OK)
        return result;
    if (ctl->json) {
        (void)json_dumpf(json, stdout, JSON_INDENT(2)); /* a closed pipe is the reader's wish */
        printf("\n");
    } else {
        print(json);
    }
    json_decref(json);
    return HA_EXIT_OK;
}

static void print_done(const struct ha_ctl *ctl, json_t *json)
{
    const char *text = json_string_value(json_object_get(json, "text"));

    if (ctl->json) {
        (void)json_dumpf(json, stdout, JSON_INDENT(2));
        printf("\n");
    } else if (text != NULL && text[0] != '\0') {
        printf("%s\n", text);
    } else {
        printf("done\n");
    }
}

/* POST @body (taken) and say how it went. */
static enum ha_exit post(const struct ha_ctl *ctl, const char *path, json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    struct ha_ask ask = {.method = "POST", .path = path, .body = text};
    enum ha_exit result;
    json_t *json;

    json_decref(body);
    if (text == NULL)
        return HA_EXIT_REFUSED;
    ask.body_size = strlen(text);
    result = ha_call(&ctl->target, &ask, &json);
    free(text);
    if (result == HA_EXIT_OK)
        print_done(ctl, json);
    json_decref(json);
    return result;
}

static enum ha_exit run_status(const struct ha_ctl *ctl)
{
    char path[PATH_SIZE] = "/v1/status";

    if (ctl->word_count == 1) {
        if (!is_name(ctl->words[0]))
            return HA_EXIT_USAGE;
        (void)ha_text_format(path, sizeof(path), "/v1/status?service=%s", ctl->words[0]);
    }
    return get(ctl, path, ha_print_status);
}

static void print_watchers(const json_t *answer)
{
    ha_print_watchers(json_object_get(answer, "watchers"));
}

static enum ha_exit run_watchers(const struct ha_ctl *ctl)
{
    if (ctl->word_count > 0)
        return ha_care_replace(ctl);
    return get(ctl, "/v1/watchers", print_watchers);
}

static enum ha_exit run_history(const struct ha_ctl *ctl)
{
    char path[PATH_SIZE] = "/v1/history?count=20";
    uint64_t count = 20;

    if (ctl->count != NULL && ha_text_u64(ctl->count, HA_HISTORY_MAX, &count) != HA_OK) {
        fprintf(stderr, "hafailoverctl: --count is a number up to %d\n", HA_HISTORY_MAX);
        return HA_EXIT_USAGE;
    }
    if (ctl->word_count == 1 && !is_name(ctl->words[0]))
        return HA_EXIT_USAGE;
    (void)ha_text_format(path, sizeof(path), "/v1/history?count=%" PRIu64 "%s%s", count,
                         ctl->word_count == 1 ? "&service=" : "",
                         ctl->word_count == 1 ? ctl->words[0] : "");
    return get(ctl, path, ha_print_history);
}

static enum ha_exit run_explain(const struct ha_ctl *ctl)
{
    char path[PATH_SIZE];

    if (!is_name(ctl->words[0]))
        return HA_EXIT_USAGE;
    (void)ha_text_format(path, sizeof(path), "/v1/decisions/%s", ctl->words[0]);
    return get(ctl, path, ha_print_decision);
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
 * with. */
static enum ha_exit show_diff(const struct ha_ctl *ctl, const char *text, size_t size,
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
    const struct passwd *user = getpwuid(getuid());
    const char *author =
        user != NULL && ha_text_is_name(user->pw_name, HA_NAME_SIZE) ? user->pw_name : "operator";
    char path[PATH_SIZE];
    struct ha_ask ask = {
        .method = "PUT", .path = path, .body = text, .body_size = size, .body_file = ctl->file};
    enum ha_exit result;
    json_t *json;

    (void)ha_text_format(path, sizeof(path), "/v1/config?base=%" JSON_INTEGER_FORMAT "&author=%s",
                         base, author);
    result = ha_call(&ctl->target, &ask, &json);
    if (result == HA_EXIT_OK)
        printf("configuration %" JSON_INTEGER_FORMAT "\n",
               json_integer_value(json_object_get(json, "config_version")));
    json_decref(json);
    return result;
}

static enum ha_exit run_apply(const struct ha_ctl *ctl)
{
    size_t size = 0;
    char *text = read_file(ctl->file, &size);
    json_int_t base = 0;
    enum ha_exit result;
    uint64_t given;

    if (text == NULL)
        return HA_EXIT_USAGE;
    result = show_diff(ctl, text, size, &base);
    if (result == HA_EXIT_OK && ctl->base != NULL) {
        if (ha_text_u64(ctl->base, INT64_MAX, &given) == HA_OK)
            base = (json_int_t)given;
        else
            result = HA_EXIT_USAGE;
    }
    if (result == HA_EXIT_OK)
        result = put_config(ctl, text, size, base);
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
    result = show_diff(ctl, text, size, &version);
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
    char path[PATH_SIZE];
    struct ha_ask ask = {.method = "GET", .path = path};

    *ret = NULL;
    if (!is_name(version))
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
    result = show_diff(ctl, text, strlen(text), &base);
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
    char path[PATH_SIZE];

    if (ctl->word_count == 0)
        return get(ctl, "/v1/config", print_text);
    if (strcmp(ctl->words[0], "history") == 0 && ctl->word_count == 1)
        return get(ctl, "/v1/config/history", ha_print_archive);
    if (strcmp(ctl->words[0], "rollback") == 0 && ctl->word_count == 2)
        return rollback(ctl, ctl->words[1]);
    if (ctl->word_count > 1 || !is_name(ctl->words[0]))
        return HA_EXIT_USAGE;
    (void)ha_text_format(path, sizeof(path), "/v1/config/%s", ctl->words[0]);
    return get(ctl, path, print_text);
}

static enum ha_exit post_service(const struct ha_ctl *ctl, const char *what, json_t *body)
{
    char path[PATH_SIZE];

    if (!is_name(ctl->words[0])) {
        json_decref(body);
        return HA_EXIT_USAGE;
    }
    if (ctl->why != NULL)
        (void)json_object_set_new(body, "why", json_string(ctl->why));
    (void)ha_text_format(path, sizeof(path), "/v1/services/%s/%s", ctl->words[0], what);
    return post(ctl, path, body);
}

static enum ha_exit run_failover(const struct ha_ctl *ctl)
{
    json_t *body = json_object();

    if (ctl->to != NULL)
        (void)json_object_set_new(body, "to", json_string(ctl->to));
    if (ctl->accept_loss)
        (void)json_object_set_new(body, "accept_loss", json_true());
    return post_service(ctl, "failover", body);
}

static enum ha_exit run_pause(const struct ha_ctl *ctl)
{
    json_t *body = json_object();
    uint64_t ms;

    if (ctl->during != NULL) {
        if (ha_text_duration(ctl->during, (uint64_t)HA_DURATION_MAX_MS * 366, &ms) != HA_OK) {
            fprintf(stderr, "hafailoverctl: --for %s is not a duration such as 30min\n",
                    ctl->during);
            json_decref(body);
            return HA_EXIT_USAGE;
        }
        (void)json_object_set_new(body, "for_ms", json_integer((json_int_t)ms));
    }
    return post_service(ctl, "pause", body);
}

static enum ha_exit run_resume(const struct ha_ctl *ctl)
{
    return post_service(ctl, "resume", json_object());
}

static enum ha_exit run_lift(const struct ha_ctl *ctl)
{
    return post_service(ctl, "lift", json_object());
}

static enum ha_exit run_test_notice(const struct ha_ctl *ctl)
{
    return post(ctl, "/v1/notices/test", json_object());
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
    (void)ctl;
    printf("hafailoverctl %s\n", HA_VERSION);
    return HA_EXIT_OK;
}

const struct ha_ctl_command ha_ctl_commands[] = {
    {"status", 0, 1, "[SERVICE] [--json]", "who is primary, who could be, and what is wrong",
     run_status},
    {"watchers", 0, 2, "[--json] | replace OLD --with NEW=HOST:PORT",
     "the watchers, as the asked one sees them; give a dead one's place to another", run_watchers},
    {"backup", 1, 1, "FILE", "write all that the watchers know into FILE", ha_care_backup},
    {"apply", 0, 0, "-f FILE [--base VERSION]", "make FILE the configuration of the cluster",
     run_apply},
    {"diff", 0, 0, "-f FILE", "what applying FILE would change", run_diff},
    {"config", 0, 2, "[VERSION | history | rollback VERSION] [--json]",
     "the configuration, or an old one", run_config},
    {"rollback", 1, 1, "VERSION", "apply an old configuration again, as a new version",
     run_rollback},
    {"history", 0, 1, "[SERVICE] [--count N] [--json]", "what was decided, newest first",
     run_history},
    {"explain", 1, 1, "ID [--json]", "one decision: evidence, times, who could have been chosen",
     run_explain},
    {"failover", 1, 1, "SERVICE [--to MEMBER] [--accept-loss] [--why TEXT]",
     "end the primary's epoch and promote another", run_failover},
    {"pause", 1, 1, "SERVICE [--for DURATION] [--why TEXT]",
     "decide and tell, but do nothing by itself", run_pause},
    {"resume", 1, 1, "SERVICE", "end a pause", run_resume},
    {"lift", 1, 1, "SERVICE", "forget the failovers that count for the rate limit", run_lift},
    {"test-notice", 0, 0, "", "send a notice to every webhook", run_test_notice},
    {"keygen", 1, 2, "secret FILE | ROLE/NAME --secret FILE --out FILE",
     "make the cluster's secret, or a daemon's key from it", run_keygen},
    {"version", 0, 0, "", "the version of this program", run_version},
    {0},
};
