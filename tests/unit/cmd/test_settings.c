/* A daemon's own file is taken whole or refused with file, line and reason. */
#include "tests/support/cmocka_ha.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/common/secret.h"
#include "cmd/hafailover-agent/settings.h"
#include "cmd/hafailoverd/settings.h"
#include "lib/base/err.h"
#include "lib/base/text.h"

#define WATCHER "[watcher]\nname = w2\nlisten = 10.0.0.2:7400\n"
#define PEERS "[peers]\nw3 = h3:7400\nw1 = [::1]:7400\nw2 = h2:7400\n"
#define TLS "[tls]\nmode = psk\nsecret_file = /s\n"
#define FENCE "[fence p]\n"
#define WORDS " 1 2 3 4 5 6 7 8"
#define AGENT "[agent]\nname = db1\n"
#define WATCHERS "[watchers]\nw2 = h2:7400\nw1 = h1:7400\n"
#define KEY "[tls]\nmode = psk\nkey_file = /k\n"
#define DATABASE "[database cache]\nsocket = /r.sock\nport = 6379\n"

struct test_case {
    const char *text;
    const char *error; /* part of the sentence; NULL: accepted */
};

static void write_file(const char *text, char path[64])
{
    FILE *file;
    int fd;

    (void)snprintf(path, 64, "/tmp/ha-settings-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    file = fdopen(fd, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void check(const struct test_case *one, int code, const struct ha_err *err)
{
    if (one->error == NULL) {
        if (code != HA_OK)
            fail_msg("%s", err->text);
        return;
    }
    if (code == HA_OK)
        fail_msg("accepted, and should be refused: %s", one->error);
    if (strstr(err->text, one->error) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err->text, one->error);
}

static void test_watcher(void **state)
{
    static const struct test_case cases[] = {
        {WATCHER PEERS TLS, NULL},
        {WATCHER PEERS TLS "[raft]\nelection = 1s\nheartbeat = 100ms\n[log]\nlevel = warn\n", NULL},
        {PEERS TLS, "[watcher] name is missing"},
        {"[watcher]\nname = w2\n" PEERS TLS, "listen is missing"},
        {WATCHER TLS, "[peers] is missing"},
        {WATCHER "[peers]\nw1 = h1:7400\n" TLS, "does not name w2"},
        {WATCHER PEERS, "[tls] mode is missing"},
        {WATCHER PEERS "[tls]\nmode = psk\n", "needs secret_file"},
        {WATCHER PEERS "[tls]\nmode = certificates\nca_file = /a\n", "needs ca_file, cert_file"},
        {WATCHER PEERS "[tls]\nmode = none\n", "line 9: [tls] mode: \"none\" is not psk"},
        {WATCHER PEERS "[tls]\nmode = plain\n", "10.0.0.2:7400 is not a loopback address"},
        {WATCHER "colour = blue\n" PEERS TLS, "line 4: [watcher] colour: unknown key"},
        {WATCHER "name = w1\n" PEERS TLS, "line 4: [watcher] name: said twice"},
        {WATCHER "nonsense\n" PEERS TLS, "line 4: not \"key = value\""},
        {WATCHER PEERS "w2 = h9:1\n" TLS, "line 8: [peers] w2: said twice"},
        {WATCHER PEERS "w4 = h4\n" TLS, "is not host:port"},
        {WATCHER PEERS TLS "[raft]\nelection = 100ms\n", "at least 3 heartbeats"},
        {WATCHER PEERS TLS "[raft]\nelection = 100\n", "is not a duration"},
        {WATCHER PEERS TLS "[credentials]\nuser = x\n", "[credentials NAME]"},
        {WATCHER PEERS TLS "[credentials db]\ntls = maybe\n", "neither yes nor no"},
        {WATCHER PEERS TLS FENCE "command = /bin/off  a\tb \ndeadline = 5s\n", NULL},
        {WATCHER PEERS TLS FENCE "command = off\n", "[fence p] command is no absolute path"},
        {WATCHER PEERS TLS FENCE "deadline = 5s\n", "[fence p] command is no absolute path"},
        {WATCHER PEERS TLS FENCE "command = /off" WORDS WORDS WORDS WORDS "\n", "more than 32"},
        {WATCHER PEERS TLS FENCE "command = /off\ndeadline = 1h\n", "not within 10min"},
        {WATCHER PEERS TLS FENCE "command = /off\ncommand = /on\n", "said twice"},
        {WATCHER PEERS TLS FENCE "colour = blue\n", "[fence p] colour: unknown key"},
        {WATCHER PEERS TLS "[fence]\ncommand = /off\n", "[fence NAME]"},
        {WATCHER PEERS TLS "[colours]\nx = y\n", "unknown section"},
        {"[watcher]\nname = w 2\n", "is not a name"},
    };

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(cases); i++) {
        struct ha_daemon_settings *settings = calloc(1, sizeof(*settings));
        struct ha_err err = {0};
        char path[64];

        assert_non_null(settings);
        write_file(cases[i].text, path);
        check(&cases[i], ha_daemon_settings_read(settings, path, &err), &err);
        (void)unlink(path);
        free(settings);
    }
}

static void test_peers_are_ranked_by_name(void **state)
{
    struct ha_daemon_settings *settings = calloc(1, sizeof(*settings));
    struct ha_err err = {0};
    char path[64];

    (void)state;
    assert_non_null(settings);
    write_file(WATCHER PEERS TLS, path);
    assert_int_equal(ha_daemon_settings_read(settings, path, &err), HA_OK);
    (void)unlink(path);
    assert_int_equal(settings->peer_count, 3);
    assert_string_equal(settings->peers[0].name, "w1");
    assert_string_equal(settings->peers[0].address, "[::1]:7400");
    assert_string_equal(settings->peers[2].name, "w3");
    assert_int_equal(settings->self, 1);
    assert_string_equal(settings->cluster, "hafailover");
    free(settings);
}

static void test_agent(void **state)
{
    static const struct test_case cases[] = {
        {AGENT WATCHERS KEY DATABASE, NULL},
        {AGENT WATCHERS KEY, NULL},
        {WATCHERS KEY, "[agent] name is missing"},
        {AGENT KEY, "[watchers] is missing"},
        {AGENT WATCHERS, "[tls] mode is missing"},
        {AGENT WATCHERS TLS, "needs key_file"},
        {AGENT WATCHERS "[tls]\nmode = plain\n", "is not a loopback address"},
        {AGENT WATCHERS KEY "[gate]\nclass = iron\n", "class = iron is unknown"},
        {AGENT WATCHERS KEY "[database cache]\nsocket = /r.sock\n", "port is missing"},
        {AGENT WATCHERS KEY "[database cache]\nport = 6379\n", "socket is missing"},
        {AGENT WATCHERS KEY "[database cache]\nport = 0\n", "is not a port"},
        {AGENT WATCHERS KEY DATABASE "[database other]\nsocket = /o\nport = 6379\n",
         "port 6379 is also that of cache"},
        {AGENT WATCHERS KEY DATABASE "[database cache]\nport = 6380\n", "said twice"},
    };

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(cases); i++) {
        struct ha_agent_settings *settings = calloc(1, sizeof(*settings));
        struct ha_err err = {0};
        char path[64];

        assert_non_null(settings);
        write_file(cases[i].text, path);
        check(&cases[i], ha_agent_settings_read(settings, path, &err), &err);
        (void)unlink(path);
        free(settings);
    }
}

static void test_missing_file(void **state)
{
    struct ha_daemon_settings *settings = calloc(1, sizeof(*settings));
    struct ha_err err = {0};

    (void)state;
    assert_non_null(settings);
    assert_int_equal(ha_daemon_settings_read(settings, "/nonexistent/x.conf", &err), HA_ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/x.conf"));
    free(settings);
}

/* A key may be any bytes: only ends of lines are not it. */
static void test_a_key_keeps_its_zeroes(void **state)
{
    static const uint8_t key[] = {'k', 0, 0, '\r', '\n'};

    (void)state;
    assert_int_equal(ha_secret_size(key, sizeof(key)), 3);
    assert_int_equal(ha_secret_size("\n\n", 2), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_watcher),
    cmocka_unit_test(test_peers_are_ranked_by_name),
    cmocka_unit_test(test_agent),
    cmocka_unit_test(test_missing_file),
    cmocka_unit_test(test_a_key_keeps_its_zeroes),
};

HA_TEST_MAIN("cmd/settings", tests)
