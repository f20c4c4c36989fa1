#include "cmd/hafailoverd/fence.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/hafailoverd/daemon.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/effect.h"
#include "lib/io/log.h"
#include "lib/io/process.h"

#define OUTPUT_MAX 4096u
#define ENV_SIZE 192u

/* The environment of a command; nothing of the daemon's own leaks into it. */
enum { ENV_PATH, ENV_SERVICE, ENV_MEMBER, ENV_AGENT, ENV_ADDRESS, ENV_EPOCH, ENV_COUNT };

struct run {
    struct run *next;
    struct ha_fencer *fencer;
    struct ha_process_run *process;
    uint32_t service;
    uint64_t epoch;
    char name[HA_NAME_SIZE], service_name[HA_NAME_SIZE], member_name[HA_NAME_SIZE];
    char env[ENV_COUNT][ENV_SIZE];
};

struct ha_fencer {
    struct ha_daemon *daemon;
    struct run *runs;
    uint64_t version_seen; /* of the configuration */
};

int ha_fencer_open(struct ha_daemon *daemon, struct ha_fencer **ret)
{
    struct ha_fencer *fencer = calloc(1, sizeof(*fencer));

    if (fencer == NULL)
        return HA_ENOMEM;
    fencer->daemon = daemon;
    *ret = fencer;
    return HA_OK;
}

void ha_fencer_free(struct ha_fencer *fencer)
{
    assert(fencer == NULL || fencer->runs == NULL);
    free(fencer);
}

static void answer(struct ha_daemon *daemon, uint32_t service, uint64_t epoch, int code,
                   const char *text)
{
    struct ha_event event = {.kind = HA_EVENT_FENCE_COMMAND};

    event.u.fence_command = (struct ha_event_fence_command){
        .service = service, .epoch = epoch, .code = code, .text = text};
    (void)ha_daemon_step(daemon, &event, NULL); /* HA_OK for this kind */
}

/* The last line that says something: what such programs end with. */
static void last_line(const char *output, char text[HA_TEXT_SIZE])
{
    size_t end = strlen(output), start;

    while (end > 0 && strchr(" \t\r\n", output[end - 1]) != NULL)
        end--;
    for (start = end; start > 0 && output[start - 1] != '\n'; start--)
        ;
    if (end - start > 100)
        end = start + 100;
    memcpy(text, output + start, end - start);
    text[end - start] = '\0';
    for (char *at = text; *at != '\0'; at++)
        if (*at < ' ' || *at > '~') /* it goes into the log of all watchers, and to people */
            *at = '?';
}

/* How it ended, as a code and a sentence. */
static int tell(const struct run *run, const struct ha_process_result *result,
                char text[HA_TEXT_SIZE])
{
    char line[HA_TEXT_SIZE];

    last_line(result->output, line);
    if (result->code != HA_OK)
        (void)ha_text_format(text, HA_TEXT_SIZE, "%s: %.120s", run->name, result->err.text);
    else if (result->signal != 0)
        (void)ha_text_format(text, HA_TEXT_SIZE, "%s: ended by signal %d", run->name,
                             result->signal);
    else
        (void)ha_text_format(text, HA_TEXT_SIZE, "%s: exit code %d", run->name,
                             result->exit_status);
    if (line[0] != '\0')
        (void)ha_text_append(text, HA_TEXT_SIZE, ": %s", line);
    if (result->code != HA_OK)
        return result->code;
    return result->signal == 0 && result->exit_status == 0 ? HA_OK : HA_EIO;
}

static void on_end(void *ctx, const struct ha_process_result *result)
{
    struct run *run = ctx, **at = &run->fencer->runs;
    struct ha_daemon *daemon = run->fencer->daemon;
    char text[HA_TEXT_SIZE];
    int code = tell(run, result, text);

    while (*at != run)
        at = &(*at)->next;
    *at = run->next;
    HA_LOG(code == HA_OK ? HA_LOG_INFO : HA_LOG_ERROR,
           code == HA_OK ? "fence-command-done" : "fence-command-failed",
           "service=%s member=%s epoch=%" PRIu64 " said=%s", run->service_name, run->member_name,
           run->epoch, HA_QUOTE(text));
    if (!daemon->stopping)
        answer(daemon, run->service, run->epoch, code, text);
    free(run);
}

static void fill_env(struct run *run, const struct ha_service *service, int at)
{
    const struct ha_member_config *member = &service->config.members[at];
    const char *path = getenv("PATH");

    /* Names and hosts are shorter than the room. */
    if (path == NULL || ha_text_format(run->env[ENV_PATH], ENV_SIZE, "PATH=%s", path) != HA_OK)
        (void)ha_text_copy(run->env[ENV_PATH], ENV_SIZE, "PATH=/usr/sbin:/usr/bin:/sbin:/bin");
    (void)ha_text_format(run->env[ENV_SERVICE], ENV_SIZE, "HAFAILOVER_SERVICE=%s",
                         service->config.name);
    (void)ha_text_format(run->env[ENV_MEMBER], ENV_SIZE, "HAFAILOVER_MEMBER=%s", member->name);
    (void)ha_text_format(run->env[ENV_AGENT], ENV_SIZE, "HAFAILOVER_AGENT=%s", member->agent);
    (void)ha_text_format(run->env[ENV_ADDRESS], ENV_SIZE, "HAFAILOVER_ADDRESS=%s", member->host);
    (void)ha_text_format(run->env[ENV_EPOCH], ENV_SIZE, "HAFAILOVER_EPOCH=%" PRIu64, run->epoch);
}

/* HA_OK: on_end comes. */
static int start(struct ha_fencer *fencer, const struct ha_effect_fence *ask, struct ha_err *err)
{
    const struct ha_fence_setting *setting = ha_daemon_fence(fencer->daemon->settings, ask->name);
    const struct ha_service *service =
        ha_cluster_service_const(&fencer->daemon->core->cluster, ask->service);
    int at = service == NULL ? -1 : ha_service_member_at(service, ask->member);
    const char *words[HA_FENCE_WORDS_MAX + 1], *env[ENV_COUNT + 1] = {NULL};
    char copy[HA_FENCE_COMMAND_SIZE];
    struct run *run;
    int code;

    if (setting == NULL)
        return ha_err_set(err, HA_ENOENT, "this watcher's own file has no [fence %s]", ask->name);
    if (at < 0)
        return ha_err_set(err, HA_ENOENT, "the member is gone");
    if (ha_daemon_fence_words(setting->command, copy, words) != HA_OK)
        return ha_err_set(err, HA_EINVAL, "[fence %s] command is no absolute path", ask->name);
    run = calloc(1, sizeof(*run));
    if (run == NULL)
        return ha_err_set(err, HA_ENOMEM, "no memory for the fencing command");
    *run = (struct run){.fencer = fencer, .service = ask->service, .epoch = ask->epoch};
    (void)ha_text_copy(run->name, sizeof(run->name), ask->name);
    (void)ha_text_copy(run->service_name, HA_NAME_SIZE, service->config.name);
    (void)ha_text_copy(run->member_name, HA_NAME_SIZE, service->config.members[at].name);
    fill_env(run, service, at);
    for (size_t i = 0; i < ENV_COUNT; i++)
        env[i] = run->env[i];
    code = ha_process_start(&run->process, fencer->daemon->uv,
                            &(struct ha_process_options){.argv = words,
                                                         .env = env,
                                                         .cwd = "/",
                                                         .output_max = OUTPUT_MAX,
                                                         .deadline_ms = setting->deadline_ms},
                            on_end, run);
    if (code != HA_OK) {
        free(run);
        return ha_err_set(err, code, "[fence %s] cannot be started: %s", ask->name,
                          ha_code_text(code));
    }
    run->next = fencer->runs;
    fencer->runs = run;
    HA_LOG(HA_LOG_WARN, "fence-command-started", "command=%s service=%s member=%s epoch=%" PRIu64,
           ask->name, run->service_name, run->member_name, run->epoch);
    return HA_OK;
}

void ha_fencer_run(struct ha_fencer *fencer, const struct ha_effect_fence *ask)
{
    struct ha_err err = {0};
    int code;

    for (const struct run *run = fencer->runs; run != NULL; run = run->next) {
        if (run->service != ask->service)
            continue;
        if (run->epoch != ask->epoch)
            answer(fencer->daemon, ask->service, ask->epoch, HA_EBUSY,
                   "the command for an earlier epoch still runs");
        return;
    }
    code = start(fencer, ask, &err);
    if (code == HA_OK)
        return;
    HA_LOG(HA_LOG_ERROR, "fence-command-failed", "command=%s why=%s", ask->name,
           HA_QUOTE(err.text));
    answer(fencer->daemon, ask->service, ask->epoch, code, err.text);
}

void ha_fencer_look(struct ha_fencer *fencer)
{
    const struct ha_cluster *cluster = &fencer->daemon->core->cluster;

    if (fencer->version_seen == cluster->config_version)
        return;
    fencer->version_seen = cluster->config_version;
    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++) {
        const struct ha_service *service = &cluster->services[i];

        if (service->used && service->config.fence[0] != '\0' &&
            ha_daemon_fence(fencer->daemon->settings, service->config.fence) == NULL)
            HA_LOG(HA_LOG_WARN, "fence-command-missing", "service=%s command=%s",
                   service->config.name, service->config.fence);
    }
}

void ha_fencer_cancel(struct ha_fencer *fencer)
{
    for (struct run *run = fencer->runs; run != NULL; run = run->next)
        ha_process_cancel(run->process);
}
