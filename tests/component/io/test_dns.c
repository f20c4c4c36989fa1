/* Names are resolved off the loop, remembered, and never waited for longer than asked. */
#include "lib/io/dns.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "lib/io/clock.h"
#include "tests/component/io/harness.h"
#include "tests/support/cmocka_ha.h"

struct asked {
    struct ha_dns_request request;
    bool called;
    int code;
};

static void on_answer(struct ha_dns_request *request, int code)
{
    struct asked *asked = request->data;

    assert_false(asked->called);
    asked->called = true;
    asked->code = code;
}

static void on_dns_closed(void *ctx)
{
    bool *closed = ctx;

    *closed = true;
}

static void start(struct ha_dns *dns, struct asked *asked, const char *host, uint32_t deadline_ms)
{
    *asked = (struct asked){.called = false};
    asked->request.data = asked;
    ha_dns_start(dns, &asked->request, host, 6379, deadline_ms, on_answer);
    assert_false(asked->called);
}

static void close_all(struct ha_loop *loop, struct ha_dns *dns)
{
    bool closed = false;

    ha_dns_close(dns, on_dns_closed, &closed);
    run_until(&loop->uv, &closed, 1000);
    assert_int_equal(ha_loop_fini(loop), HA_OK);
}

static void test_numeric(void **state)
{
    static const struct {
        const char *host;
        int want;
        const char *text;
    } cases[] = {
        {"127.0.0.1", HA_OK, "127.0.0.1:6379"},
        {"::1", HA_OK, "[::1]:6379"},
        {"bad host", HA_EINVAL, ""},
        {"", HA_EINVAL, ""},
        {"a$b", HA_EINVAL, ""},
    };
    struct ha_loop loop;
    struct ha_dns *dns;

    (void)state;
    assert_int_equal(ha_loop_init(&loop), HA_OK);
    assert_int_equal(ha_dns_open(&dns, &loop.uv), HA_OK);
    for (size_t i = 0; i < HA_ARRAY_LEN(cases); i++) {
        char text[HA_ADDR_TEXT_SIZE];
        struct asked asked;

        start(dns, &asked, cases[i].host, 1000);
        run_until(&loop.uv, &asked.called, 1000);
        assert_int_equal(asked.code, cases[i].want);
        if (asked.code == HA_OK)
            assert_string_equal(ha_addr_text(&asked.request.addrs[0], text), cases[i].text);
    }
    close_all(&loop, dns);
}

static void test_hosts_file(void **state)
{
    struct asked first;
    struct asked second;
    struct ha_loop loop;
    struct ha_dns *dns;

    (void)state;
    assert_int_equal(ha_loop_init(&loop), HA_OK);
    assert_int_equal(ha_dns_open(&dns, &loop.uv), HA_OK);
    start(dns, &first, "localhost", 2000);
    start(dns, &second, "localhost", 2000);
    run_until(&loop.uv, &first.called, 2000);
    run_until(&loop.uv, &second.called, 2000);
    assert_int_equal(first.code, HA_OK);
    assert_int_equal(second.code, HA_OK);
    assert_true(first.request.addr_count > 0);
    assert_int_equal(ha_addr_port(&first.request.addrs[0]), 6379);
    assert_false(first.request.stale);
    close_all(&loop, dns);
}

static void test_cancel_and_close(void **state)
{
    struct asked asked[3];
    struct ha_loop loop;
    struct ha_dns *dns;
    bool closed = false;

    (void)state;
    assert_int_equal(ha_loop_init(&loop), HA_OK);
    assert_int_equal(ha_dns_open(&dns, &loop.uv), HA_OK);
    start(dns, &asked[0], "localhost", 2000);
    start(dns, &asked[1], "127.0.0.1", 2000);
    start(dns, &asked[2], "localhost", 2000);
    ha_dns_cancel(&asked[0].request);
    ha_dns_cancel(&asked[0].request);
    ha_dns_close(dns, on_dns_closed, &closed);
    run_until(&loop.uv, &closed, 1000);
    assert_true(asked[0].called && asked[1].called && asked[2].called);
    assert_int_equal(asked[0].code, HA_ECANCELED);
    assert_int_equal(asked[1].code, HA_OK);
    assert_int_equal(asked[2].code, HA_ECANCELED);
    assert_int_equal(ha_loop_fini(&loop), HA_OK);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}

static void raise_loopback(void)
{
    struct ifreq request = {.ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    memcpy(request.ifr_name, "lo", 3);
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
    (void)close(fd);
}

/* A name server that never answers, in namespaces of our own; and a name known from before. */
static void test_hung_resolver(void **state)
{
    struct sockaddr_in silent = {.sin_family = AF_INET, .sin_port = htons(53)};
    struct folder folder;
    struct asked asked;
    struct ha_loop loop;
    struct ha_dns *dns;
    uint64_t start_ms;
    char hosts[96];
    char resolv[96];
    char nss[96];
    int fd;

    (void)state;
    if (getuid() != 0 || unshare(CLONE_NEWNS | CLONE_NEWNET) != 0)
        skip();
    raise_loopback();
    folder_make(&folder);
    (void)folder_file(&folder, "hosts", hosts, sizeof(hosts));
    (void)folder_file(&folder, "resolv", resolv, sizeof(resolv));
    (void)folder_file(&folder, "nss", nss, sizeof(nss));
    write_file(hosts, "127.0.0.9 known.test\n");
    write_file(resolv, "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n");
    write_file(nss, "hosts: files dns\n");
    assert_int_equal(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    assert_int_equal(mount(hosts, "/etc/hosts", NULL, MS_BIND, NULL), 0);
    assert_int_equal(mount(resolv, "/etc/resolv.conf", NULL, MS_BIND, NULL), 0);
    assert_int_equal(mount(nss, "/etc/nsswitch.conf", NULL, MS_BIND, NULL), 0);
    silent.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&silent, sizeof(silent)), 0);

    assert_int_equal(ha_loop_init(&loop), HA_OK);
    assert_int_equal(ha_dns_open(&dns, &loop.uv), HA_OK);
    start(dns, &asked, "known.test", 1000);
    run_until(&loop.uv, &asked.called, 1500);
    assert_int_equal(asked.code, HA_OK);
    start_ms = ha_clock_mono_ms();
    start(dns, &asked, "unknown.test", 300);
    run_until(&loop.uv, &asked.called, 1500);
    assert_int_equal(asked.code, HA_ETIMEDOUT);
    assert_true(ha_clock_mono_ms() - start_ms < 1000);
    /* The known name loses its file entry; once its answer is no longer fresh it is asked again, in
     * vain, and the old answer serves. */
    write_file(hosts, "127.0.0.1 localhost\n");
    start(dns, &asked, "known.test", 300);
    run_until(&loop.uv, &asked.called, 1000);
    assert_false(asked.request.stale);
    print_message("# waiting %d ms for the answer to age\n", HA_DNS_FRESH_MS);
    run_for(&loop.uv, HA_DNS_FRESH_MS + 10);
    start(dns, &asked, "known.test", 300);
    run_until(&loop.uv, &asked.called, 1500);
    assert_int_equal(asked.code, HA_OK);
    assert_true(asked.request.stale);
    print_message("# stale: %s\n", asked.request.err.text);
    /* Closing does not wait for the thread that hangs. */
    start(dns, &asked, "another.test", 5000);
    start_ms = ha_clock_mono_ms();
    close_all(&loop, dns);
    assert_int_equal(asked.code, HA_ECANCELED);
    assert_true(ha_clock_mono_ms() - start_ms < 500);
    (void)close(fd);
    (void)umount("/etc/nsswitch.conf");
    (void)umount("/etc/resolv.conf");
    (void)umount("/etc/hosts");
    folder_free(&folder);
    (void)usleep(2500000); /* for the leak checker: let that thread end */
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_numeric),
    cmocka_unit_test(test_hosts_file),
    cmocka_unit_test(test_cancel_and_close),
    cmocka_unit_test(test_hung_resolver),
};

HA_TEST_MAIN("io/dns", tests)
