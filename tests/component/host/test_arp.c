/* Frames say what the RFCs say, and any bytes may come back. */
#include "agents/host/arp.h"

#include <string.h>
#include <sys/socket.h>

#include "agents/host/ip.h"
#include "lib/base/err.h"
#include "lib/base/prng.h"
#include "lib/base/text.h"
#include "tests/support/cmocka_ha.h"

#define MAC "020000000a0b"

static const struct {
    const char *name;
    enum ha_arp_kind kind;
    const char *address;
    const char *hex;
    enum ha_arp_claim claim;
} frames[] = {
    {"gratuitous request", HA_ARP_ANNOUNCE_REQUEST, "10.0.0.9",
     "ffffffffffff" MAC "0806"
     "0001080006040001" MAC "0a000009"
     "000000000000"
     "0a000009",
     HA_ARP_USES},
    {"gratuitous reply", HA_ARP_ANNOUNCE_REPLY, "10.0.0.9",
     "ffffffffffff" MAC "0806"
     "0001080006040002" MAC "0a000009"
     "ffffffffffff"
     "0a000009",
     HA_ARP_USES},
    {"probe", HA_ARP_PROBE, "10.0.0.9",
     "ffffffffffff" MAC "0806"
     "0001080006040001" MAC "00000000"
     "000000000000"
     "0a000009",
     HA_ARP_PROBES},
    {"unsolicited advertisement", HA_ND_ANNOUNCE, "fd00::9",
     "333300000001" MAC "86dd"
     "6000000000203aff"
     "fd000000000000000000000000000009"
     "ff020000000000000000000000000001"
     "8800"
     "4c8b"
     "20000000"
     "fd000000000000000000000000000009"
     "0201" MAC,
     HA_ARP_USES},
    {"solicitation from nobody", HA_ND_PROBE, "fd00::9",
     "3333ff000009" MAC "86dd"
     "6000000000183aff"
     "00000000000000000000000000000000"
     "ff0200000000000000000001ff000009"
     "8700"
     "7c8b"
     "00000000"
     "fd000000000000000000000000000009",
     HA_ARP_PROBES},
};

/* RFC 1071: over a right packet the sum is all ones. */
static bool checksum_holds(const uint8_t *frame, size_t size)
{
    uint32_t sum = 58 + (uint32_t)(size - 54);

    for (size_t i = 22; i < size; i += 2)
        sum += (uint32_t)(frame[i] << 8 | frame[i + 1]);
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum == 0xffff;
}

static void test_frames(void **state)
{
    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(frames); i++) {
        uint8_t mac[6], got[6] = {0}, frame[HA_ARP_FRAME_SIZE], want[HA_ARP_FRAME_SIZE];
        struct ha_ip addr, other;
        size_t size;

        print_message("# %s\n", frames[i].name);
        assert_int_equal(ha_text_unhex(MAC, mac, 6), HA_OK);
        assert_int_equal(ha_ip_parse(frames[i].address, &addr), HA_OK);
        size = ha_arp_build(frames[i].kind, mac, &addr, frame);
        assert_int_equal(size, strlen(frames[i].hex) / 2);
        assert_int_equal(ha_text_unhex(frames[i].hex, want, size), HA_OK);
        if (addr.family == AF_INET6) {
            assert_true(checksum_holds(frame, size));
            memcpy(want + 56, frame + 56, 2); /* just checked */
        }
        assert_memory_equal(frame, want, size);
        assert_int_equal(ha_arp_parse(frame, size, &addr, got), frames[i].claim);
        assert_memory_equal(got, mac, 6);
        assert_int_equal(ha_ip_parse(addr.family == AF_INET ? "10.0.0.8" : "fd00::8", &other),
                         HA_OK);
        assert_int_equal(ha_arp_parse(frame, size, &other, got), HA_ARP_NO_CLAIM);
        for (size_t cut = 0; cut < 42 && cut < size; cut++)
            assert_int_equal(ha_arp_parse(frame, cut, &addr, got), HA_ARP_NO_CLAIM);
    }
}

static void test_any_bytes(void **state)
{
    struct ha_prng prng;
    struct ha_ip addr;

    (void)state;
    ha_prng_seed(&prng, 1);
    assert_int_equal(ha_ip_parse("fd00::9", &addr), HA_OK);
    for (int round = 0; round < 200000; round++) {
        uint8_t mac[6], frame[HA_ARP_FRAME_SIZE];
        const uint8_t from[6] = {2};
        const size_t size = ha_arp_build(HA_ND_ANNOUNCE, from, &addr, frame);

        frame[ha_prng_below(&prng, size)] = (uint8_t)ha_prng_u64(&prng);
        frame[ha_prng_below(&prng, size)] = (uint8_t)ha_prng_u64(&prng);
        (void)ha_arp_parse(frame, ha_prng_below(&prng, size + 1), &addr, mac);
    }
}

static void test_schedule(void **state)
{
    static const uint64_t want_ms[] = {0, 100, 300, 1000, 3000, 10000, 60000, 120000};
    uint64_t after_ms = 0, last_ms = 0;
    unsigned n = 0;

    (void)state;
    for (; ha_arp_schedule(n, &after_ms); n++) {
        if (n < HA_ARRAY_LEN(want_ms))
            assert_int_equal(after_ms, want_ms[n]);
        assert_true(n == 0 || after_ms > last_ms);
        last_ms = after_ms;
    }
    assert_int_equal(n, 16);
    assert_int_equal(last_ms, 600000);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_frames),
    cmocka_unit_test(test_any_bytes),
    cmocka_unit_test(test_schedule),
};

HA_TEST_MAIN("host/arp", tests)
