#include "agents/host/vip.h"

#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/rtnetlink.h>

#include "agents/host/nl.h"
#include "lib/base/err.h"
#include "lib/base/text.h"

#define REQUEST_SIZE 256
#define DUMP_TRIES 5

static_assert(HA_NIC_NAME_SIZE == IFNAMSIZ, "the kernel's limit");

struct ha_vip {
    struct ha_nl *nl;
};

static int failed(struct ha_err *err, int error, const char *what)
{
    return ha_err_set(err, ha_nl_code(error), "%s: %s", what, strerror(-error));
}

int ha_vip_open(struct ha_vip **ret, struct ha_err *err)
{
    struct ha_vip *vip = calloc(1, sizeof(*vip));
    int result;

    if (vip == NULL)
        return ha_err_set(err, HA_ENOMEM, "virtual IP: out of memory");
    result = ha_nl_open(NETLINK_ROUTE, &vip->nl);
    if (result != 0) {
        free(vip);
        return failed(err, result, "open netlink");
    }
    *ret = vip;
    return HA_OK;
}

void ha_vip_close(struct ha_vip *vip)
{
    if (vip == NULL)
        return;
    ha_nl_close(vip->nl);
    free(vip);
}

static void take_link(const struct nlmsghdr *message, void *data)
{
    const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
    struct ha_nic *nic = data;
    const struct nlattr *attr;

    if (message->nlmsg_type != RTM_NEWLINK)
        return;
    nic->index = info->ifi_index;
    nic->up = (info->ifi_flags & IFF_UP) != 0;
    nic->running = (info->ifi_flags & IFF_RUNNING) != 0;
    HA_NL_FOR_EACH(attr, message, sizeof(*info))
    {
        if (mnl_attr_get_type(attr) == IFLA_ADDRESS && info->ifi_type == ARPHRD_ETHER &&
            mnl_attr_get_payload_len(attr) == sizeof(nic->mac)) {
            memcpy(nic->mac, mnl_attr_get_payload(attr), sizeof(nic->mac));
            nic->has_mac = true;
        }
    }
}

int ha_vip_nic(struct ha_vip *vip, const char *name, struct ha_nic *ret, struct ha_err *err)
{
    uint8_t buffer[REQUEST_SIZE] __attribute__((aligned(8)));
    struct nlmsghdr *message = ha_nl_request(vip->nl, buffer, RTM_GETLINK, 0);
    struct ha_nic nic = {0};
    int result;

    if (name[0] == '\0' || ha_text_copy(nic.name, sizeof(nic.name), name) != HA_OK)
        return ha_err_set(err, HA_EINVAL, "no interface can have the name \"%s\"", name);
    (void)mnl_nlmsg_put_extra_header(message, sizeof(struct ifinfomsg)); /* zeroed */
    mnl_attr_put_strz(message, IFLA_IFNAME, name);
    result = ha_nl_talk(vip->nl, message, take_link, &nic);
    if (result != 0 || nic.index == 0)
        return failed(err, result != 0 ? result : -ENODEV, name);
    *ret = nic;
    return HA_OK;
}

static struct nlmsghdr *address_request(struct ha_vip *vip, void *buffer, uint16_t type,
                                        uint16_t flags, int nic_index,
                                        const struct ha_vip_addr *addr)
{
    struct nlmsghdr *message = ha_nl_request(vip->nl, buffer, type, flags);
    struct ifaddrmsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));

    header->ifa_family = addr->addr.family;
    header->ifa_prefixlen = addr->prefix;
    header->ifa_index = (uint32_t)nic_index;
    mnl_attr_put(message, IFA_LOCAL, ha_ip_size(&addr->addr), addr->addr.bytes);
    mnl_attr_put(message, IFA_ADDRESS, ha_ip_size(&addr->addr), addr->addr.bytes);
    return message;
}

static int told(struct ha_err *err, int result, const char *what, const struct ha_vip_addr *addr)
{
    char text[HA_IP_TEXT_SIZE];

    if (result == 0)
        return HA_OK;
    ha_ip_format(&addr->addr, text);
    return ha_err_set(err, ha_nl_code(result), "%s %s/%u: %s", what, text, addr->prefix,
                      strerror(-result));
}

static bool makes_sense(const struct ha_vip_addr *addr)
{
    const size_t bits = 8 * ha_ip_size(&addr->addr);

    return (addr->addr.family == AF_INET || addr->addr.family == AF_INET6) && addr->prefix != 0 &&
           addr->prefix <= bits && addr->valid_s != 0 && addr->preferred_s <= addr->valid_s;
}

int ha_vip_set(struct ha_vip *vip, int nic_index, const struct ha_vip_addr *addr,
               struct ha_err *err)
{
    uint8_t buffer[REQUEST_SIZE] __attribute__((aligned(8)));
    const struct ifa_cacheinfo lifetime = {.ifa_prefered = addr->preferred_s,
                                           .ifa_valid = addr->valid_s};
    struct nlmsghdr *message;

    if (!makes_sense(addr))
        return ha_err_set(err, HA_EINVAL, "an address with this prefix or lifetime cannot be");
    message =
        address_request(vip, buffer, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, nic_index, addr);
    mnl_attr_put(message, IFA_CACHEINFO, sizeof(lifetime), &lifetime);
    if (addr->addr.family == AF_INET6)
        mnl_attr_put_u32(message, IFA_FLAGS, IFA_F_NODAD);
    return told(err, ha_nl_talk(vip->nl, message, NULL, NULL), "set", addr);
}

int ha_vip_remove(struct ha_vip *vip, int nic_index, const struct ha_vip_addr *addr,
                  struct ha_err *err)
{
    uint8_t buffer[REQUEST_SIZE] __attribute__((aligned(8)));

    return told(err,
                ha_nl_talk(vip->nl, address_request(vip, buffer, RTM_DELADDR, 0, nic_index, addr),
                           NULL, NULL),
                "remove", addr);
}

struct listing {
    int nic_index; /* 0: all */
    struct ha_vip_addr *list;
    size_t size_max, count;
};

static void take_attribute(const struct nlattr *attr, struct ha_vip_addr *addr, bool *has_local)
{
    struct ifa_cacheinfo lifetime;
    const uint16_t type = mnl_attr_get_type(attr);

    /* IFA_LOCAL is ours; IFA_ADDRESS may be the peer's where both are there. */
    if ((type == IFA_LOCAL || (type == IFA_ADDRESS && !*has_local)) &&
        mnl_attr_get_payload_len(attr) == ha_ip_size(&addr->addr)) {
        memcpy(addr->addr.bytes, mnl_attr_get_payload(attr), ha_ip_size(&addr->addr));
        *has_local = type == IFA_LOCAL;
    } else if (type == IFA_CACHEINFO && mnl_attr_get_payload_len(attr) >= sizeof(lifetime)) {
        memcpy(&lifetime, mnl_attr_get_payload(attr), sizeof(lifetime));
        addr->valid_s = lifetime.ifa_valid;
        addr->preferred_s = lifetime.ifa_prefered;
    } else if (type == IFA_FLAGS && mnl_attr_validate(attr, MNL_TYPE_U32) == 0) {
        addr->flags = mnl_attr_get_u32(attr);
    }
}

static void take_address(const struct nlmsghdr *message, void *data)
{
    const struct ifaddrmsg *header = mnl_nlmsg_get_payload(message);
    struct listing *listing = data;
    struct ha_vip_addr addr = {.prefix = header->ifa_prefixlen,
                               .valid_s = HA_VIP_FOREVER,
                               .preferred_s = HA_VIP_FOREVER,
                               .flags = header->ifa_flags};
    const struct nlattr *attr;
    bool has_local = false;

    if (message->nlmsg_type != RTM_NEWADDR ||
        (header->ifa_family != AF_INET && header->ifa_family != AF_INET6) ||
        (listing->nic_index != 0 && header->ifa_index != (uint32_t)listing->nic_index))
        return;
    addr.addr.family = header->ifa_family;
    HA_NL_FOR_EACH(attr, message, sizeof(*header)) take_attribute(attr, &addr, &has_local);
    if (listing->count < listing->size_max)
        listing->list[listing->count] = addr;
    listing->count++;
}

int ha_vip_list(struct ha_vip *vip, int nic_index, struct ha_vip_addr *list, size_t size_max,
                size_t *ret_count, struct ha_err *err)
{
    uint8_t buffer[REQUEST_SIZE] __attribute__((aligned(8)));
    struct listing listing = {.nic_index = nic_index, .list = list, .size_max = size_max};
    int result = 0, tries = 0;

    do {
        struct nlmsghdr *message = ha_nl_request(vip->nl, buffer, RTM_GETADDR, NLM_F_DUMP);

        (void)mnl_nlmsg_put_extra_header(message, sizeof(struct ifaddrmsg)); /* all families */
        listing.count = 0;
        result = ha_nl_talk(vip->nl, message, take_address, &listing);
    } while (result == -EINTR && ++tries < DUMP_TRIES);
    if (result != 0)
        return failed(err, result, "list addresses");
    *ret_count = listing.count;
    return HA_OK;
}

int ha_vip_find(struct ha_vip *vip, int nic_index, const struct ha_ip *addr,
                struct ha_vip_addr *ret, struct ha_err *err)
{
    struct ha_vip_addr list[256];
    size_t count = 0;
    int code = ha_vip_list(vip, nic_index, list, HA_ARRAY_LEN(list), &count, err);

    if (code != HA_OK)
        return code;
    for (size_t i = 0; i < count && i < HA_ARRAY_LEN(list); i++) {
        if (!ha_ip_equal(&list[i].addr, addr))
            continue;
        if (ret != NULL)
            *ret = list[i];
        return HA_OK;
    }
    return ha_err_set(err, HA_ENOENT, "the address is not on the interface");
}

static int read_setting(const char *nic, const char *name, int *ret)
{
    char path[128], text[16] = "";
    FILE *file;

    (void)ha_text_format(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/%s", nic, name); /* fits */
    file = fopen(path, "re");
    if (file == NULL)
        return -errno;
    if (fgets(text, sizeof(text), file) == NULL || text[0] < '0' || text[0] > '9')
        text[0] = '0';
    (void)fclose(file);   /* read only */
    *ret = text[0] - '0'; /* all values are single digits */
    return 0;
}

static int write_setting(const char *nic, const char *name, int value)
{
    char path[128];
    FILE *file;
    int result = 0;

    (void)ha_text_format(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/%s", nic, name); /* fits */
    file = fopen(path, "we");
    if (file == NULL)
        return -errno;
    if (fprintf(file, "%d\n", value) < 0)
        result = -EIO;
    if (fclose(file) != 0)
        result = -errno;
    return result;
}

static int tune(const char *nic, const char *name, int least, struct ha_err *err)
{
    int all = 0, own = 0, result;

    result = read_setting("all", name, &all);
    if (result == 0)
        result = read_setting(nic, name, &own);
    if (result == 0 && (all >= least || own >= least))
        return HA_OK;
    if (result == 0)
        result = write_setting(nic, name, least);
    if (result == 0)
        result = read_setting(nic, name, &own);
    if (result != 0)
        return failed(err, result == -EROFS ? -EACCES : result, name);
    return own >= least ? HA_OK : ha_err_set(err, HA_EDENIED, "%s stays %d", name, own);
}

int ha_vip_tune(const char *nic_name, struct ha_err *err)
{
    int code;

    if (strchr(nic_name, '/') != NULL || strlen(nic_name) >= HA_NIC_NAME_SIZE)
        return ha_err_set(err, HA_ENOENT, "no interface can have the name \"%s\"", nic_name);
    code = tune(nic_name, "arp_ignore", 1, err);
    return code == HA_OK ? tune(nic_name, "arp_announce", 2, err) : code;
}
