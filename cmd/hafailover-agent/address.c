#include "cmd/hafailover-agent/address.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "agents/host/arp.h"
#include "agents/host/dad.h"
#include "agents/host/gate.h"
#include "agents/host/sock.h"
#include "agents/host/vip.h"
#include "cmd/hafailover-agent/daemon.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"

#define NICS_MAX 8u
#define NS_PER_MS 1000000u
/* Duplicate detection: 60 ms, while the database is promoted; it counts for FREE_MS. RFC 5227 takes
 * seconds; every client waits for this, and who answers later is told as a conflict. */
#define DAD_PROBES 3u
#define DAD_INTERVAL_MS 20u
#define DAD_WAIT_MS 20u
#define FREE_MS 500u
#define PEACE_MS 5000u  /* without such a host: there is none any more */
#define DEFEND_MS 1000u /* between announcements against another host that uses the address */

struct nic {
    struct ha_addresses *addresses;
    struct ha_nic nic;
    struct ha_neigh *neigh; /* NULL: nothing can or need be announced there */
};

struct address {
    struct ha_addresses *addresses;
    uint32_t service;
    uint16_t port;
    char text[HA_HOST_SIZE];
    uint8_t prefix;
    struct ha_ip addr;
    struct nic *nic;
    uint64_t until_ms; /* boot clock: end of the right to it */
    bool held;
    bool detecting; /* dad is lent out */
    bool wanted;
    struct ha_dad dad;
    uint64_t free_ms; /* boot clock: when a look found nobody; 0: none did */
    uv_timer_t timer; /* announcements */
    unsigned announced;
    uint64_t claimed_ms;
    uint64_t defended_ms;
    bool taken; /* by another host, and told */
};

struct ha_addresses {
    struct ha_host *host;
    struct ha_vip *vip;
    uint32_t nic_count;
    struct nic nics[NICS_MAX];
    uint32_t count;
    struct address *all[HA_DATABASES_MAX];
    unsigned open_parts;
    void (*close_cb)(struct ha_host *host);
};

static struct address *find(struct ha_addresses *addresses, uint32_t service)
{
    for (uint32_t i = 0; i < addresses->count; i++) {
        if (addresses->all[i]->service == service)
            return addresses->all[i];
    }
    return NULL;
}

static void tell(struct address *address, bool held, bool conflict)
{
    struct ha_event event = {.kind = HA_EVENT_VIP};

    address->held = held;
    event.u.vip =
        (struct ha_event_vip){.service = address->service, .held = held, .conflict = conflict};
    ha_host_step(address->addresses->host, &event);
}

static void announce(struct address *address);

/* Held under the lease: it is told and defended (RFC 5227, 2.4c), not left to the other. */
static void on_conflict(void *data, const struct ha_ip *addr, const uint8_t mac[6])
{
    struct nic *nic = data;
    struct ha_addresses *addresses = nic->addresses;
    uint64_t now_ms = ha_clock_boot_ms();
    char text[HA_IP_TEXT_SIZE];
    char mac_text[13];

    ha_ip_format(addr, text);
    ha_text_hex(mac_text, mac, 6);
    for (uint32_t i = 0; i < addresses->count; i++) {
        struct address *address = addresses->all[i];

        if (!address->held || !ha_ip_equal(&address->addr, addr) ||
            (address->defended_ms != 0 && now_ms - address->defended_ms < DEFEND_MS))
            continue;
        address->defended_ms = now_ms;
        announce(address);
        HA_LOG(HA_LOG_ERROR, "address-conflict", "address=%s mac=%s", text, mac_text);
        tell(address, true, true);
    }
}

/* The interface by name, opened once and kept. NULL: there is none, told in the log. */
static struct nic *nic_named(struct ha_addresses *addresses, const char *name)
{
    struct nic *nic = &addresses->nics[addresses->nic_count];
    struct ha_neigh_options options = {
        .loop = addresses->host->uv, .nic = &nic->nic, .data = nic, .conflict_cb = on_conflict};
    struct ha_err err = {0};

    for (uint32_t i = 0; i < addresses->nic_count; i++) {
        if (strcmp(addresses->nics[i].nic.name, name) == 0)
            return &addresses->nics[i];
    }
    if (addresses->nic_count == NICS_MAX ||
        ha_vip_nic(addresses->vip, name, &nic->nic, &err) != HA_OK) {
        HA_LOG(HA_LOG_ERROR, "interface-missing", "name=%s why=%s", name, HA_QUOTE(err.text));
        return NULL;
    }
    if (ha_vip_tune(name, &err) != HA_OK)
        HA_LOG(HA_LOG_WARN, "interface-not-tuned", "name=%s why=%s", name, HA_QUOTE(err.text));
    nic->addresses = addresses;
    nic->neigh = NULL;
    if (nic->nic.has_mac && ha_neigh_open(&options, &nic->neigh, &err) != HA_OK) {
        HA_LOG(HA_LOG_ERROR, "interface-silent", "name=%s why=%s", name, HA_QUOTE(err.text));
        nic->neigh = NULL;
    }
    addresses->nic_count++;
    return nic;
}

static void announce(struct address *address)
{
    struct ha_err err = {0};

    if (address->nic->neigh == NULL)
        return;
    if (ha_neigh_announce(address->nic->neigh, &address->addr, address->until_ms * NS_PER_MS,
                          &err) != HA_OK)
        HA_LOG(HA_LOG_WARN, "address-not-announced", "address=%s why=%s", address->text,
               HA_QUOTE(err.text));
}

static void on_announce(uv_timer_t *timer);

static void plan_announcement(struct address *address)
{
    uint64_t after_ms, gone_ms = ha_clock_boot_ms() - address->claimed_ms;

    if (!ha_arp_schedule(address->announced, &after_ms))
        return;
    (void)uv_timer_start(&address->timer, on_announce, after_ms > gone_ms ? after_ms - gone_ms : 0,
                         0);
}

static void on_announce(uv_timer_t *timer)
{
    struct address *address = timer->data;

    if (!address->held)
        return;
    announce(address);
    address->announced++;
    plan_announcement(address);
}

/* Add or refresh in the kernel. */
static int put(struct address *address, struct ha_err *err)
{
    uint64_t now_ms = ha_clock_boot_ms();
    struct ha_vip_addr entry = {.addr = address->addr, .prefix = address->prefix};

    if (address->until_ms <= now_ms)
        return ha_err_set(err, HA_ETIMEDOUT, "the right to it has ended");
    entry.valid_s = (uint32_t)((address->until_ms - now_ms + 999) / 1000);
    entry.preferred_s = entry.valid_s;
    return ha_vip_set(address->addresses->vip, address->nic->nic.index, &entry, err);
}

static void take(struct address *address)
{
    struct ha_err err = {0};

    if (put(address, &err) != HA_OK) {
        HA_LOG(HA_LOG_ERROR, "address-not-set", "address=%s why=%s", address->text,
               HA_QUOTE(err.text));
        if (address->held)
            tell(address, false, false);
        return;
    }
    if (address->held) {
        if (address->defended_ms == 0 || ha_clock_boot_ms() - address->defended_ms < PEACE_MS)
            return;
        address->defended_ms = 0;
        tell(address, true, false);
        return;
    }
    address->taken = false;
    address->defended_ms = 0;
    address->claimed_ms = ha_clock_boot_ms();
    announce(address);
    address->announced = 1;
    plan_announcement(address);
    if (address->nic->neigh != NULL)
        (void)ha_neigh_watch(address->nic->neigh, &address->addr, true); /* a warning less */
    HA_LOG(HA_LOG_INFO, "address-claimed", "address=%s interface=%s", address->text,
           address->nic->nic.name);
    tell(address, true, false);
}

static void part_closed(struct ha_addresses *addresses);

static void on_dad(struct ha_dad *dad, int result)
{
    struct address *address = dad->data;

    address->detecting = false;
    if (address->addresses->close_cb != NULL) {
        part_closed(address->addresses);
        return;
    }
    address->free_ms = result == HA_OK ? ha_clock_boot_ms() : 0;
    if (!address->wanted || result == HA_ECANCELED)
        return;
    if (result == HA_EEXIST) {
        if (!address->taken) /* asked again and again */
            HA_LOG(HA_LOG_ERROR, "address-taken", "address=%s", address->text);
        address->taken = true;
        tell(address, false, true);
        return;
    }
    take(address);
}

static bool detect(struct address *address)
{
    struct ha_dad_spec spec = {.addr = address->addr,
                               .probes = DAD_PROBES,
                               .interval_ms = DAD_INTERVAL_MS,
                               .wait_ms = DAD_WAIT_MS};

    if (address->nic->neigh == NULL)
        return false;
    address->dad = (struct ha_dad){.data = address};
    address->detecting = ha_dad_start(&address->dad, address->nic->neigh, &spec, on_dad) == HA_OK;
    return address->detecting;
}

void ha_addresses_look(struct ha_addresses *addresses, uint32_t service)
{
    struct address *address = find(addresses, service);

    if (address != NULL && address->nic != NULL && !address->held && !address->detecting)
        (void)detect(address); /* else the claim does */
}

static bool was_free(const struct address *address)
{
    return address->free_ms != 0 && ha_clock_boot_ms() - address->free_ms < FREE_MS;
}

void ha_addresses_claim(struct ha_addresses *addresses, const struct ha_effect_vip *vip)
{
    struct address *address = find(addresses, vip->service);

    if (address == NULL || address->nic == NULL)
        return;
    address->wanted = true;
    address->until_ms = ha_clock_boot_ms() + vip->valid_ms;
    if (address->detecting)
        return;
    if (!address->held && vip->probe_first && !was_free(address) && detect(address))
        return;
    take(address);
}

void ha_addresses_release(struct ha_addresses *addresses, uint32_t service)
{
    struct address *address = find(addresses, service);
    struct ha_vip_addr entry = {0};
    struct ha_sock_match match = {.once = true};
    struct ha_err err = {0};
    int code;

    if (address == NULL || address->nic == NULL)
        return;
    address->wanted = false;
    address->taken = false;
    address->free_ms = 0;
    address->until_ms = 0;
    (void)uv_timer_stop(&address->timer);
    if (address->detecting)
        ha_dad_cancel(&address->dad);
    if (address->nic->neigh != NULL)
        (void)ha_neigh_watch(address->nic->neigh, &address->addr, false); /* none was watched */
    match.local = &address->addr;
    (void)ha_sock_kill(&match, NULL, NULL); /* a courtesy to clients, before the address goes */
    entry.addr = address->addr;
    entry.prefix = address->prefix;
    code = ha_vip_remove(addresses->vip, address->nic->nic.index, &entry, &err);
    if (code != HA_OK && code != HA_ENOENT) {
        HA_LOG(HA_LOG_ERROR, "address-not-removed", "address=%s why=%s", address->text,
               HA_QUOTE(err.text));
        return; /* its lifetime ends it; the check each second tells */
    }
    if (address->held)
        HA_LOG(HA_LOG_INFO, "address-released", "address=%s", address->text);
    tell(address, false, false);
}

void ha_addresses_check(struct ha_addresses *addresses)
{
    for (uint32_t i = 0; i < addresses->count; i++) {
        struct address *address = addresses->all[i];
        int code;

        if (address->nic == NULL)
            continue;
        code = ha_vip_find(addresses->vip, address->nic->nic.index, &address->addr, NULL, NULL);
        if (code == HA_ENOENT && address->held) {
            HA_LOG(HA_LOG_WARN, "address-missing", "address=%s", address->text);
            tell(address, false, false); /* the core claims it again while it holds the lease */
        } else if (code == HA_OK && !address->held && !address->wanted) {
            HA_LOG(HA_LOG_WARN, "address-left-over", "address=%s", address->text);
            ha_addresses_release(addresses, address->service);
        }
    }
}

static struct address *add(struct ha_addresses *addresses, uint32_t service)
{
    struct address *address;

    if (addresses->count == HA_DATABASES_MAX)
        return NULL;
    address = calloc(1, sizeof(*address));
    if (address == NULL)
        return NULL;
    address->addresses = addresses;
    address->service = service;
    (void)uv_timer_init(addresses->host->uv, &address->timer); /* cannot fail */
    address->timer.data = address;
    addresses->all[addresses->count++] = address;
    return address;
}

/* The address of a service that was removed and made anew: it has another id and the same database.
 * Two entries would each take the address away from the other. */
static struct address *adopt(struct ha_addresses *addresses, const struct ha_settings *settings)
{
    for (uint32_t i = 0; i < addresses->count; i++) {
        struct address *address = addresses->all[i];

        if (address->port != settings->port)
            continue;
        ha_addresses_release(addresses, address->service);
        address->service = settings->service;
        return address;
    }
    return NULL;
}

void ha_addresses_settings(struct ha_addresses *addresses, const struct ha_settings *settings)
{
    struct ha_host *host = addresses->host;
    const char *name = settings->vip_interface[0] != '\0' ? settings->vip_interface
                                                          : host->settings->vip_interface;
    struct address *address = find(addresses, settings->service);
    struct ha_err err = {0};

    if (address == NULL)
        address = adopt(addresses, settings);
    if (address != NULL && strcmp(address->text, settings->vip) == 0 &&
        address->prefix == settings->vip_prefix &&
        (address->nic == NULL || strcmp(address->nic->nic.name, name) == 0))
        return;
    if (address == NULL && settings->vip[0] == '\0')
        return;
    if (address != NULL)
        ha_addresses_release(addresses, settings->service); /* it is another one now */
    else
        address = add(addresses, settings->service);
    if (address == NULL)
        return;
    (void)ha_text_copy(address->text, sizeof(address->text), settings->vip);
    address->prefix = settings->vip_prefix;
    address->port = settings->port;
    address->nic = NULL;
    if (settings->vip[0] != '\0' && ha_ip_parse(settings->vip, &address->addr) == HA_OK) {
        if (name[0] == '\0')
            HA_LOG(HA_LOG_ERROR, "address-without-interface", "service=%s address=%s",
                   settings->service_name, settings->vip);
        else
            address->nic = nic_named(addresses, name);
    }
    if (ha_gates_set_vip(host->gates, settings->port, address->nic != NULL ? &address->addr : NULL,
                         &err) != HA_OK)
        HA_LOG(HA_LOG_WARN, "address-not-guarded", "service=%s why=%s", settings->service_name,
               HA_QUOTE(err.text));
}

static void part_closed(struct ha_addresses *addresses)
{
    void (*cb)(struct ha_host * host) = addresses->close_cb;
    struct ha_host *host = addresses->host;

    assert(addresses->open_parts > 0);
    if (--addresses->open_parts > 0)
        return;
    for (uint32_t i = 0; i < addresses->count; i++)
        free(addresses->all[i]);
    ha_vip_close(addresses->vip);
    free(addresses);
    cb(host);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct address *address = handle->data;

    part_closed(address->addresses);
}

static void on_neigh_closed(void *data)
{
    struct nic *nic = data;

    part_closed(nic->addresses);
}

void ha_addresses_close(struct ha_addresses *addresses, void (*cb)(struct ha_host *host))
{
    addresses->close_cb = cb;
    addresses->open_parts = 1;
    for (uint32_t i = 0; i < addresses->count; i++) {
        addresses->open_parts += addresses->all[i]->detecting ? 2 : 1;
        uv_close((uv_handle_t *)&addresses->all[i]->timer, on_timer_closed);
    }
    for (uint32_t i = 0; i < addresses->nic_count; i++) {
        if (addresses->nics[i].neigh == NULL)
            continue;
        addresses->open_parts++;
        ha_neigh_close(addresses->nics[i].neigh, on_neigh_closed);
    }
    part_closed(addresses);
}

int ha_addresses_open(struct ha_host *host, struct ha_addresses **ret, struct ha_err *err)
{
    struct ha_addresses *addresses = calloc(1, sizeof(*addresses));
    int code;

    if (addresses == NULL)
        return ha_err_set(err, HA_ENOMEM, "no memory for the addresses");
    addresses->host = host;
    code = ha_vip_open(&addresses->vip, err);
    if (code != HA_OK) {
        free(addresses);
        return code;
    }
    *ret = addresses;
    return HA_OK;
}
