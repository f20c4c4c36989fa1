/* Tells the stories in the files it is given and compares each with what is written there.
 *
 * story [--rewrite] FILE...
 *
 * A line at the margin is told to the stage; an indented one is what happened then, in milliseconds
 * since the last line that was no `run`. With --rewrite the files are written anew, and the version
 * control shows what has changed. The words are in README.md. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"
#include "tests/scenario/stage.h"

enum { TEXT_SIZE = 128 << 10, LINE_SIZE = 256 };

struct story {
    struct stage stage;
    bool started;
    enum ha_gate gate;
    enum ha_durability durability;
    bool silent;
    uint64_t since_ms;
    size_t size;
    char text[TEXT_SIZE]; /* as it was told this time */
};

static void add(struct story *story, const char *line)
{
    size_t length = strlen(line);

    if (story->size + length + 2 > sizeof(story->text)) {
        (void)fputs("# the story is too long\n", stdout);
        exit(1);
    }
    memcpy(story->text + story->size, line, length);
    story->size += length;
    story->text[story->size++] = '\n';
    story->text[story->size] = '\0';
}

static void say(void *ctx, const char *line)
{
    struct story *story = ctx;
    char indented[600];

    if (story->silent && strncmp(line, "TWO", 3) != 0)
        return;
    (void)ha_text_format(indented, sizeof(indented), "    %5lu %s",
                         (unsigned long)(story->stage.now_ms - story->since_ms), line);
    add(story, indented);
}

/* Words */

static _Noreturn void die(const char *why, const char *word)
{
    (void)printf("# %s: %s\n", why, word);
    exit(1);
}

/* "a" is a host, "w1" a watcher; nodes count watchers first. */
static uint32_t node_of(const char *word)
{
    if (word[0] == 'w' && word[1] >= '1' && word[1] <= '3' && word[2] == '\0')
        return (uint32_t)(word[1] - '1');
    if (word[0] >= 'a' && word[0] <= 'c' && word[1] == '\0')
        return STAGE_WATCHERS + (uint32_t)(word[0] - 'a');
    die("neither host nor watcher", word);
}

static uint32_t host_of(const char *word)
{
    uint32_t node = node_of(word);

    if (node < STAGE_WATCHERS)
        die("not a host", word);
    return node - STAGE_WATCHERS;
}

static uint32_t watcher_of(const char *word)
{
    uint32_t node = node_of(word);

    if (node >= STAGE_WATCHERS)
        die("not a watcher", word);
    return node;
}

static uint64_t number_of(const char *word)
{
    uint64_t number;

    if (ha_text_u64(word, 1000000, &number) != 0)
        die("not a number", word);
    return number;
}

static void begin(struct story *story)
{
    struct ha_service_config *service;

    stage_open(&story->stage, story->gate, story->durability, say, story);
    story->started = true;
    story->silent = true;
    stage_run(&story->stage, 1000); /* the first leader proposes the set of watchers */
    story->stage.config->service_count = 1;
    service = &story->stage.config->services[0];
    ha_service_config_defaults(service);
    (void)ha_text_copy(service->name, sizeof(service->name), "cache");
    service->engine = story->stage.engine;
    service->durability = story->stage.durability;
    service->member_count = STAGE_HOSTS;
    for (uint32_t i = 0; i < STAGE_HOSTS; i++) {
        struct ha_member_config *member = &service->members[i];

        member->name[0] = (char)('a' + i);
        (void)ha_text_format(member->agent, sizeof(member->agent), "ag-%c", (char)('a' + i));
        (void)ha_text_format(member->host, sizeof(member->host), "10.0.0.%u", i + 1);
        member->port = 6379;
        member->priority = HA_PRIORITY_DEFAULT;
        member->agent_port = HA_AGENT_PORT_DEFAULT;
    }
    stage_configure(&story->stage);
    stage_run(&story->stage, 5000);
    story->silent = false;
}

static bool tell_database(struct story *story, const char *verb, char *const *words)
{
    struct stage *stage = &story->stage;
    uint32_t host;

    if (strcmp(verb, "crash") == 0)
        stage_db_down(stage, host_of(words[1]));
    else if (strcmp(verb, "boot") == 0)
        stage_db_up(stage, host_of(words[1]), strcmp(words[2], "empty") == 0);
    else if (strcmp(verb, "hang") == 0 || strcmp(verb, "wake") == 0)
        stage->hosts[host_of(words[1])].db.hung = verb[0] == 'h';
    else if (strcmp(verb, "refuse") == 0)
        stage->hosts[host_of(words[1])].db.refuses = true;
    else if (strcmp(verb, "gate-breaks") == 0)
        stage->hosts[host_of(words[1])].gate_broken = true;
    else if (strcmp(verb, "agent-down") == 0)
        stage->hosts[host_of(words[1])].agent_up = false;
    else if (strcmp(verb, "agent-up") == 0)
        stage_agent_up(stage, host_of(words[1]));
    else if (strcmp(verb, "reboot") == 0) {
        host = host_of(words[1]);
        stage_db_down(stage, host);
        stage->hosts[host].gate_until_ms = 0;
        stage->hosts[host].instance += 0x10;
        stage_agent_up(stage, host);
    } else
        return false;
    return true;
}

static bool tell_watchers(struct story *story, const char *verb, char *const *words)
{
    struct stage *stage = &story->stage;

    if (strcmp(verb, "run") == 0)
        stage_run(stage, number_of(words[1]));
    else if (strcmp(verb, "cut") == 0 || strcmp(verb, "heal") == 0)
        stage_cut(stage, node_of(words[1]), words[2][0] == '\0' ? UINT32_MAX : node_of(words[2]),
                  verb[0] == 'c');
    else if (strcmp(verb, "down") == 0)
        stage_watcher_down(stage, watcher_of(words[1]));
    else if (strcmp(verb, "up") == 0)
        stage_watcher_up(stage, watcher_of(words[1]));
    else if (strcmp(verb, "lead") == 0)
        stage_lead(stage, watcher_of(words[1]));
    else
        return false;
    return true;
}

static bool tell_operator(struct story *story, const char *verb, char *const *words)
{
    struct stage *stage = &story->stage;
    const struct ha_service *service = stage_service(stage);
    struct ha_command command = {.kind = HA_COMMAND_NOTHING};
    bool switchover = strcmp(verb, "switchover") == 0;

    if (switchover || strcmp(verb, "failover") == 0) {
        command.kind = HA_COMMAND_BEGIN;
        command.u.begin = (struct ha_command_begin){
            .ref = {service->id, service->epoch},
            .reason = switchover ? HA_REASON_SWITCHOVER : HA_REASON_OPERATOR,
            .target = words[1][0] == '\0' ? HA_MEMBER_NONE : host_of(words[1]) + 1,
            .accept_loss = strcmp(words[2], "accept-loss") == 0};
        stage->loss_accepted = stage->loss_accepted || command.u.begin.accept_loss;
    } else if (strcmp(verb, "pause") == 0 || strcmp(verb, "resume") == 0) {
        command.kind = verb[0] == 'p' ? HA_COMMAND_PAUSE : HA_COMMAND_RESUME;
        command.u.pause = (struct ha_command_pause){.service = service->id, .author = "anna"};
    }
    if (command.kind != HA_COMMAND_NOTHING)
        stage_request(stage, &command);
    return command.kind != HA_COMMAND_NOTHING;
}

static bool tell_setting(struct story *story, const char *verb, char *const *words)
{
    static const struct {
        const char *word;
        enum ha_gate gate;
    } gates[] = {{"bpf", HA_GATE_BPF}, {"nft", HA_GATE_NFT}, {"process", HA_GATE_PROCESS}};
    struct ha_service_config *service;

    if (strcmp(verb, "gate") == 0) {
        for (size_t i = 0; i < HA_ARRAY_LEN(gates); i++)
            if (strcmp(gates[i].word, words[1]) == 0)
                story->gate = gates[i].gate;
        return true;
    }
    if (strcmp(verb, "durability") == 0) {
        story->durability =
            strcmp(words[1], "strict") == 0 ? HA_DURABILITY_STRICT : HA_DURABILITY_SYNC;
        return true;
    }
    if (strcmp(verb, "start") == 0) {
        begin(story);
        return true;
    }
    if (!story->started)
        die("the story has not started", verb);
    service = &story->stage.config->services[0];
    if (strcmp(verb, "quorum") == 0)
        service->quorum = (uint8_t)number_of(words[1]);
    else if (strcmp(verb, "power") == 0) {
        story->stage.power_fails = strcmp(words[1], "fails") == 0;
        (void)ha_text_copy(service->fence, sizeof(service->fence), "power");
    } else if (strcmp(verb, "priority") == 0)
        service->members[host_of(words[1])].priority = (uint16_t)number_of(words[2]);
    else
        return false;
    stage_configure(&story->stage);
    return true;
}

static void tell(struct story *story, const char *line)
{
    char copy[LINE_SIZE], empty[] = "", *words[4] = {empty, empty, empty, empty}, *rest = copy;

    if (ha_text_copy(copy, sizeof(copy), line) != 0)
        die("too long", line);
    for (size_t i = 0; i < HA_ARRAY_LEN(words) && rest != NULL; i++)
        words[i] = strsep(&rest, " ");
    if (story->started && strcmp(words[0], "run") != 0)
        story->since_ms = story->stage.now_ms;
    if (!tell_setting(story, words[0], words) && !tell_watchers(story, words[0], words) &&
        !tell_database(story, words[0], words) && !tell_operator(story, words[0], words))
        die("not understood", line);
    if (strcmp(words[0], "start") == 0)
        story->since_ms = story->stage.now_ms;
}

/* Files */

static bool read_file(const char *path, char *text)
{
    FILE *file = fopen(path, "r");
    size_t size;

    if (file == NULL)
        return false;
    size = fread(text, 1, TEXT_SIZE - 1, file);
    text[size] = '\0';
    return fclose(file) == 0;
}

static bool write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    bool done;

    if (file == NULL)
        return false;
    done = fputs(text, file) >= 0;
    return fclose(file) == 0 && done;
}

static void show_difference(const char *want, const char *got)
{
    size_t line = 1;

    while (*want != '\0' && *got != '\0') {
        size_t a = strcspn(want, "\n"), b = strcspn(got, "\n");

        if (a != b || memcmp(want, got, a) != 0)
            break;
        want += a + (want[a] == '\n');
        got += b + (got[b] == '\n');
        line++;
    }
    (void)printf("# line %zu\n# want: %.*s\n# got:  %.*s\n", line, (int)strcspn(want, "\n"), want,
                 (int)strcspn(got, "\n"), got);
}

static bool tell_file(const char *path, bool rewrite)
{
    struct story *story = calloc(1, sizeof(*story));
    char *written = malloc(TEXT_SIZE), *scan = malloc(TEXT_SIZE), *rest = scan;
    bool good;

    if (story == NULL || written == NULL || scan == NULL || !read_file(path, written))
        die("cannot read", path);
    memcpy(scan, written, TEXT_SIZE);
    story->gate = HA_GATE_BPF;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        if (line[0] == ' ' || (rest == NULL && line[0] == '\0'))
            continue;
        add(story, line);
        if (line[0] != '\0' && line[0] != '#')
            tell(story, line);
    }
    if (rewrite && !write_file(path, story->text))
        die("cannot write", path);
    good = rewrite || strcmp(written, story->text) == 0;
    if (!good)
        show_difference(written, story->text);
    if (story->stage.broken)
        (void)puts("# two took writes at once, or what was acknowledged is lost");
    good = good && !story->stage.broken;
    if (story->started)
        stage_close(&story->stage);
    free(scan);
    free(written);
    free(story);
    return good;
}

int main(int argc, char *argv[])
{
    bool rewrite = argc > 1 && strcmp(argv[1], "--rewrite") == 0;
    int first = rewrite ? 2 : 1, failed = 0;

    (void)printf("1..%d\n", argc - first);
    for (int i = first; i < argc; i++) {
        const char *name = strrchr(argv[i], '/') == NULL ? argv[i] : strrchr(argv[i], '/') + 1;
        bool good = tell_file(argv[i], rewrite);

        failed += !good;
        (void)printf("%sok %d - %s\n", good ? "" : "not ", i - first + 1, name);
    }
    return failed == 0 ? 0 : 1;
}
