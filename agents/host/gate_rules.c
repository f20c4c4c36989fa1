#include "agents/host/gate_rules.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_arp.h>
#include <linux/rtnetlink.h>

#include "agents/host/nl.h"
#include "lib/base/check.h"

#define MESSAGE_MAX 2048u /* no single message of ours is longer */
#define PRIORITY (-300)   /* before connection tracking: early */

/* nft(8)'s type numbers; a concatenation shifts by six bits per part. */
#define TYPE_IPV4 7u
#define TYPE_IPV6 8u
#define TYPE_PORT 13u
#define TYPE_PAIR(addr) ((((addr) << 6 | TYPE_PORT) << 6 | (addr)) << 6 | TYPE_PORT)

const struct ha_nft_set_info ha_nft_sets[HA_NFT_SETS] = {
    [HA_NFT_PORTS] = {"guarded", NFPROTO_INET, false, TYPE_PORT, 2},
    [HA_NFT_PORTS_OPEN] = {"open", NFPROTO_INET, true, TYPE_PORT, 2},
    [HA_NFT_EXEMPT4] = {"exempt4", NFPROTO_INET, true, TYPE_PAIR(TYPE_IPV4), 16},
    [HA_NFT_EXEMPT6] = {"exempt6", NFPROTO_INET, true, TYPE_PAIR(TYPE_IPV6), 40},
    [HA_NFT_VIP6] = {"vip6", NFPROTO_INET, false, TYPE_IPV6, 16},
    [HA_NFT_VIP6_OPEN] = {"vip6_open", NFPROTO_INET, true, TYPE_IPV6, 16},
    [HA_NFT_VIP4] = {"vip4", NFPROTO_ARP, false, TYPE_IPV4, 4},
    [HA_NFT_VIP4_OPEN] = {"vip4_open", NFPROTO_ARP, true, TYPE_IPV4, 4},
    [HA_NFT_TICKET] = {"ticket", NFPROTO_INET, true, TYPE_PORT, 2},
    [HA_NFT_REFUSE4] = {"refuse4", NFPROTO_INET, true, TYPE_IPV4, 4},
    [HA_NFT_REFUSE6] = {"refuse6", NFPROTO_INET, true, TYPE_IPV6, 16},
};

#define REFUSALS "prerouting" /* the chain that a host may do without */

static const struct {
    const char *name;
    uint8_t family;
    uint32_t hook;
} chains[] = {
    {REFUSALS, NFPROTO_INET, NF_INET_PRE_ROUTING},
    {"input", NFPROTO_INET, NF_INET_LOCAL_IN},
    {"output", NFPROTO_INET, NF_INET_LOCAL_OUT},
    {"output", NFPROTO_ARP, NF_ARP_OUT},
};

/* One step of a rule. Registers are 32-bit slots, from 0. */
enum op {
    END,
    META,
    LOAD,
    ADDRESS_TYPE,
    MASK,
    IS,
    IS_NOT,
    NOT_NUMBER,
    IN,
    NOT_IN,
    ACCEPT,
    DROP,
    RESET
};

struct step {
    enum op op;
    uint8_t slot;
    uint8_t what; /* META: key; LOAD: base; ADDRESS_TYPE: flags; IN, NOT_IN: set; NOT_NUMBER: it */
    uint8_t offset, size; /* LOAD; IS, IS_NOT, MASK: size */
    uint8_t value[8];     /* IS, IS_NOT, MASK */
};

#define NETWORK NFT_PAYLOAD_NETWORK_HEADER
#define TRANSPORT NFT_PAYLOAD_TRANSPORT_HEADER
#define PROTOCOL(number)                    \
    {META, 0, NFT_META_L4PROTO, 0, 0, {0}}, \
    {                                       \
        IS, 0, 0, 0, 1,                     \
        {                                   \
            number                          \
        }                                   \
    }
#define FAMILY(number)                      \
    {META, 0, NFT_META_NFPROTO, 0, 0, {0}}, \
    {                                       \
        IS, 0, 0, 0, 1,                     \
        {                                   \
            number                          \
        }                                   \
    }
/* The port at @offset of the TCP header is guarded and not open now. */
#define CLOSED_PORT(offset)                                                                        \
    PROTOCOL(IPPROTO_TCP), {LOAD, 0, TRANSPORT, offset, 2, {0}}, {IN, 0, HA_NFT_PORTS, 0, 0, {0}}, \
    {                                                                                              \
        NOT_IN, 0, HA_NFT_PORTS_OPEN, 0, 0,                                                        \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define CLOSED_VIP6                                                            \
    {IN, 0, HA_NFT_VIP6, 0, 0, {0}}, {NOT_IN, 0, HA_NFT_VIP6_OPEN, 0, 0, {0}}, \
    {                                                                          \
        DROP, 0, 0, 0, 0,                                                      \
        {                                                                      \
            0                                                                  \
        }                                                                      \
    }
/* An opening of TCP to a virtual IP, with the address at @offset, that is not here: neither in the
 * table of local addresses nor in that of the VRF it came in by. */
#define ELSEWHERE(set, offset, size)                                                              \
    PROTOCOL(IPPROTO_TCP), {LOAD, 0, TRANSPORT, 13, 1, {0}}, {MASK, 0, 0, 0, 1, {0x12}},          \
        {IS, 0, 0, 0, 1, {0x02}}, {LOAD, 0, NETWORK, offset, size, {0}}, {IN, 0, set, 0, 0, {0}}, \
        {ADDRESS_TYPE, 0, 0, 0, 0, {0}}, {NOT_NUMBER, 0, RTN_LOCAL, 0, 0, {0}},                   \
        {ADDRESS_TYPE, 0, NFTA_FIB_F_IIF, 0, 0, {0}}, {NOT_NUMBER, 0, RTN_LOCAL, 0, 0, {0}},      \
    {                                                                                             \
        RESET, 0, 0, 0, 0,                                                                        \
        {                                                                                         \
            0                                                                                     \
        }                                                                                         \
    }
#define ND_TYPE(number)              \
    {LOAD, 0, TRANSPORT, 0, 1, {0}}, \
    {                                \
        IS, 0, 0, 0, 1,              \
        {                            \
            number                   \
        }                            \
    }
#define STEPS_MAX 14

static const struct {
    const char *chain;
    uint8_t family;
    struct step steps[STEPS_MAX];
} rules[] = {
    /* With br_netfilter what a bridge only hands on comes by here too, and is on its way to the
     * address. (A device without a kind ends the rule.) */
    {REFUSALS,
     NFPROTO_INET,
     {{META, 0, NFT_META_IIFKIND, 0, 0, {0}},
      {IS, 0, 0, 0, 8, "bridge"},
      {ACCEPT, 0, 0, 0, 0, {0}}}},
    /* A client whose neighbour entry still points here learns at once that nobody answers; it would
     * otherwise wait a second until it asks anew (RFC 6298 2.1). Openings only: connections live on
     * where an address is gone for a moment and comes back here. Timed: later the address is no
     * business of this host, which may route to it. */
    {REFUSALS, NFPROTO_INET, {FAMILY(NFPROTO_IPV4), ELSEWHERE(HA_NFT_REFUSE4, 16, 4)}},
    {REFUSALS, NFPROTO_INET, {FAMILY(NFPROTO_IPV6), ELSEWHERE(HA_NFT_REFUSE6, 24, 16)}},
    /* Replication connections while a switchover drains, by local end, then remote end. */
    {"input",
     NFPROTO_INET,
     {FAMILY(NFPROTO_IPV4),
      PROTOCOL(IPPROTO_TCP),
      {LOAD, 0, NETWORK, 16, 4, {0}},
      {LOAD, 1, TRANSPORT, 2, 2, {0}},
      {LOAD, 2, NETWORK, 12, 4, {0}},
      {LOAD, 3, TRANSPORT, 0, 2, {0}},
      {IN, 0, HA_NFT_EXEMPT4, 0, 0, {0}},
      {ACCEPT, 0, 0, 0, 0, {0}}}},
    {"input",
     NFPROTO_INET,
     {FAMILY(NFPROTO_IPV6),
      PROTOCOL(IPPROTO_TCP),
      {LOAD, 0, NETWORK, 24, 16, {0}},
      {LOAD, 4, TRANSPORT, 2, 2, {0}},
      {LOAD, 5, NETWORK, 8, 16, {0}},
      {LOAD, 9, TRANSPORT, 0, 2, {0}},
      {IN, 0, HA_NFT_EXEMPT6, 0, 0, {0}},
      {ACCEPT, 0, 0, 0, 0, {0}}}},
    /* Clients learn at once; whatever cannot be answered with a reset is dropped by the same step.
     */
    {"input", NFPROTO_INET, {CLOSED_PORT(2), {RESET, 0, 0, 0, 0, {0}}}},
    {"output",
     NFPROTO_INET,
     {FAMILY(NFPROTO_IPV4),
      PROTOCOL(IPPROTO_TCP),
      {LOAD, 0, NETWORK, 12, 4, {0}},
      {LOAD, 1, TRANSPORT, 0, 2, {0}},
      {LOAD, 2, NETWORK, 16, 4, {0}},
      {LOAD, 3, TRANSPORT, 2, 2, {0}},
      {IN, 0, HA_NFT_EXEMPT4, 0, 0, {0}},
      {ACCEPT, 0, 0, 0, 0, {0}}}},
    {"output",
     NFPROTO_INET,
     {FAMILY(NFPROTO_IPV6),
      PROTOCOL(IPPROTO_TCP),
      {LOAD, 0, NETWORK, 8, 16, {0}},
      {LOAD, 4, TRANSPORT, 0, 2, {0}},
      {LOAD, 5, NETWORK, 24, 16, {0}},
      {LOAD, 9, TRANSPORT, 2, 2, {0}},
      {IN, 0, HA_NFT_EXEMPT6, 0, 0, {0}},
      {ACCEPT, 0, 0, 0, 0, {0}}}},
    /* Resets go out of a closed gate: of our own input rule, and of connections that are killed. */
    {"output",
     NFPROTO_INET,
     {CLOSED_PORT(0),
      {LOAD, 0, TRANSPORT, 13, 1, {0}},
      {MASK, 0, 0, 0, 1, {0x04}},
      {IS_NOT, 0, 0, 0, 1, {0}},
      {ACCEPT, 0, 0, 0, 0, {0}}}},
    {"output", NFPROTO_INET, {CLOSED_PORT(0), {DROP, 0, 0, 0, 0, {0}}}},
    /* Neighbour advertisements for a virtual IP, and solicitations from it. */
    {"output",
     NFPROTO_INET,
     {PROTOCOL(IPPROTO_ICMPV6), ND_TYPE(136), {LOAD, 0, TRANSPORT, 8, 16, {0}}, CLOSED_VIP6}},
    {"output",
     NFPROTO_INET,
     {PROTOCOL(IPPROTO_ICMPV6), ND_TYPE(135), {LOAD, 0, NETWORK, 8, 16, {0}}, CLOSED_VIP6}},
    /* ARP of any kind whose sender address is a virtual IP: hlen 6, plen 4, spa at 14. */
    {"output",
     NFPROTO_ARP,
     {{LOAD, 0, NETWORK, 4, 2, {0}},
      {IS, 0, 0, 0, 2, {6, 4}},
      {LOAD, 0, NETWORK, 14, 4, {0}},
      {IN, 0, HA_NFT_VIP4, 0, 0, {0}},
      {NOT_IN, 0, HA_NFT_VIP4_OPEN, 0, 0, {0}},
      {DROP, 0, 0, 0, 0, {0}}}},
};

void ha_nft_batch_begin(struct ha_nft_batch *batch, uint8_t *data, uint32_t seq,
                        uint32_t generation)
{
    struct nlmsghdr *message = mnl_nlmsg_put_header(data);
    struct nfgenmsg *nfg;

    message->nlmsg_type = NFNL_MSG_BATCH_BEGIN;
    message->nlmsg_flags = NLM_F_REQUEST;
    message->nlmsg_seq = seq;
    nfg = mnl_nlmsg_put_extra_header(message, sizeof(*nfg));
    nfg->version = NFNETLINK_V0;
    nfg->res_id = htons(NFNL_SUBSYS_NFTABLES);
    if (generation != 0)
        mnl_attr_put_u32(message, NFNL_BATCH_GENID, htonl(generation));
    *batch = (struct ha_nft_batch){.data = data, .size = message->nlmsg_len, .seq = seq + 1};
}

static struct nlmsghdr *begin(struct ha_nft_batch *batch, uint16_t type, uint16_t flags,
                              uint8_t family)
{
    struct nlmsghdr *message;
    struct nfgenmsg *nfg;

    /* A full batch goes on being written over its end's reserve, and is never sent. */
    if (batch->size > HA_NFT_BATCH_SIZE - 2 * MESSAGE_MAX) {
        batch->full = true;
        batch->size = batch->last;
    }
    message = mnl_nlmsg_put_header(batch->data + batch->size);
    message->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type);
    message->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    message->nlmsg_seq = batch->seq++;
    nfg = mnl_nlmsg_put_extra_header(message, sizeof(*nfg));
    nfg->nfgen_family = family;
    nfg->version = NFNETLINK_V0;
    /* Every object of ours has its table's name as attribute 1. */
    mnl_attr_put_strz(message, NFTA_TABLE_NAME, HA_NFT_TABLE);
    return message;
}

static void end(struct ha_nft_batch *batch, const struct nlmsghdr *message)
{
    assert(message->nlmsg_len <= MESSAGE_MAX);
    batch->last = batch->size;
    batch->size += HA_NL_ALIGN(message->nlmsg_len);
}

uint32_t ha_nft_batch_end(struct ha_nft_batch *batch)
{
    struct nlmsghdr *message = (struct nlmsghdr *)(void *)(batch->data + batch->last);
    struct nfgenmsg *nfg;

    assert(batch->last != 0);
    message->nlmsg_flags |= NLM_F_ACK;
    message = mnl_nlmsg_put_header(batch->data + batch->size);
    message->nlmsg_type = NFNL_MSG_BATCH_END;
    message->nlmsg_flags = NLM_F_REQUEST;
    message->nlmsg_seq = batch->seq;
    nfg = mnl_nlmsg_put_extra_header(message, sizeof(*nfg));
    nfg->version = NFNETLINK_V0;
    nfg->res_id = htons(NFNL_SUBSYS_NFTABLES);
    batch->size += HA_NL_ALIGN(message->nlmsg_len);
    return batch->seq - 1;
}

static void put_table(struct ha_nft_batch *batch, uint8_t family, const char *comment)
{
    struct nlmsghdr *message = begin(batch, NFT_MSG_NEWTABLE, NLM_F_CREATE, family);

    if (comment != NULL) {
        uint8_t data[128];
        size_t size = strlen(comment) + 1;

        /* nft(8) reads it as type 0 (comment), length, text. */
        assert(size + 2 <= sizeof(data));
        data[0] = 0;
        data[1] = (uint8_t)size;
        memcpy(data + 2, comment, size);
        mnl_attr_put(message, NFTA_TABLE_USERDATA, size + 2, data);
    }
    end(batch, message);
}

void ha_nft_batch_clear(struct ha_nft_batch *batch)
{
    static const uint8_t families[] = {NFPROTO_INET, NFPROTO_ARP};

    for (size_t i = 0; i < HA_ARRAY_LEN(families); i++) {
        put_table(batch, families[i], NULL); /* or deleting it would fail */
        end(batch, begin(batch, NFT_MSG_DELTABLE, 0, families[i]));
    }
}

static void put_set(struct ha_nft_batch *batch, uint32_t id, const struct ha_nft_set_info *set)
{
    struct nlmsghdr *message = begin(batch, NFT_MSG_NEWSET, NLM_F_CREATE, set->family);

    mnl_attr_put_strz(message, NFTA_SET_NAME, set->name);
    mnl_attr_put_u32(message, NFTA_SET_FLAGS, htonl(set->timed ? (uint32_t)NFT_SET_TIMEOUT : 0u));
    mnl_attr_put_u32(message, NFTA_SET_KEY_TYPE, htonl(set->key_type));
    mnl_attr_put_u32(message, NFTA_SET_KEY_LEN, htonl(set->key_size));
    mnl_attr_put_u32(message, NFTA_SET_ID, htonl(id));
    end(batch, message);
}

static void put_chain(struct ha_nft_batch *batch, size_t i)
{
    struct nlmsghdr *message = begin(batch, NFT_MSG_NEWCHAIN, NLM_F_CREATE, chains[i].family);
    struct nlattr *hook;

    mnl_attr_put_strz(message, NFTA_CHAIN_NAME, chains[i].name);
    mnl_attr_put_strz(message, NFTA_CHAIN_TYPE, "filter");
    hook = mnl_attr_nest_start(message, NFTA_CHAIN_HOOK);
    mnl_attr_put_u32(message, NFTA_HOOK_HOOKNUM, htonl(chains[i].hook));
    mnl_attr_put_u32(message, NFTA_HOOK_PRIORITY, htonl((uint32_t)PRIORITY));
    mnl_attr_nest_end(message, hook);
    mnl_attr_put_u32(message, NFTA_CHAIN_POLICY, htonl(NF_ACCEPT));
    end(batch, message);
}

static bool is_left_out(const char *chain, bool refuses)
{
    return !refuses && strcmp(chain, REFUSALS) == 0;
}

void ha_nft_batch_tables(struct ha_nft_batch *batch, const char *comment, bool refuses)
{
    put_table(batch, NFPROTO_INET, comment);
    put_table(batch, NFPROTO_ARP, comment);
    for (uint32_t i = 0; i < HA_NFT_SETS; i++)
        put_set(batch, i + 1, &ha_nft_sets[i]);
    for (size_t i = 0; i < HA_ARRAY_LEN(chains); i++)
        if (!is_left_out(chains[i].name, refuses))
            put_chain(batch, i);
}

void ha_nft_batch_ticket_set(struct ha_nft_batch *batch)
{
    put_table(batch, NFPROTO_INET, NULL);
    put_set(batch, HA_NFT_TICKET + 1, &ha_nft_sets[HA_NFT_TICKET]);
}

static uint32_t slot_register(const struct step *step)
{
    return htonl((uint32_t)NFT_REG32_00 + step->slot);
}

static void put_data(struct nlmsghdr *message, uint16_t type, const void *data, size_t size)
{
    struct nlattr *nest = mnl_attr_nest_start(message, type);

    mnl_attr_put(message, NFTA_DATA_VALUE, size, data);
    mnl_attr_nest_end(message, nest);
}

static void put_verdict(struct nlmsghdr *message, uint32_t verdict)
{
    struct nlattr *data, *nest;

    mnl_attr_put_u32(message, NFTA_IMMEDIATE_DREG, htonl(NFT_REG_VERDICT));
    data = mnl_attr_nest_start(message, NFTA_IMMEDIATE_DATA);
    nest = mnl_attr_nest_start(message, NFTA_DATA_VERDICT);
    mnl_attr_put_u32(message, NFTA_VERDICT_CODE, htonl(verdict));
    mnl_attr_nest_end(message, nest);
    mnl_attr_nest_end(message, data);
}

static void put_lookup(struct nlmsghdr *message, const struct step *step)
{
    mnl_attr_put_strz(message, NFTA_LOOKUP_SET, ha_nft_sets[step->what].name);
    mnl_attr_put_u32(message, NFTA_LOOKUP_SREG, slot_register(step));
    mnl_attr_put_u32(message, NFTA_LOOKUP_FLAGS,
                     htonl(step->op == NOT_IN ? (uint32_t)NFT_LOOKUP_F_INV : 0u));
}

static void put_load(struct nlmsghdr *message, const struct step *step)
{
    mnl_attr_put_u32(message, NFTA_PAYLOAD_DREG, slot_register(step));
    mnl_attr_put_u32(message, NFTA_PAYLOAD_BASE, htonl(step->what));
    mnl_attr_put_u32(message, NFTA_PAYLOAD_OFFSET, htonl(step->offset));
    mnl_attr_put_u32(message, NFTA_PAYLOAD_LEN, htonl(step->size));
}

/* RTN_*, of where the packet is for. */
static void put_address_type(struct nlmsghdr *message, const struct step *step)
{
    mnl_attr_put_u32(message, NFTA_FIB_DREG, slot_register(step));
    mnl_attr_put_u32(message, NFTA_FIB_RESULT, htonl((uint32_t)NFT_FIB_RESULT_ADDRTYPE));
    mnl_attr_put_u32(message, NFTA_FIB_FLAGS, htonl((uint32_t)NFTA_FIB_F_DADDR | step->what));
}

static void put_mask(struct nlmsghdr *message, const struct step *step)
{
    static const uint8_t zero[sizeof(step->value)] = {0};

    mnl_attr_put_u32(message, NFTA_BITWISE_SREG, slot_register(step));
    mnl_attr_put_u32(message, NFTA_BITWISE_DREG, slot_register(step));
    mnl_attr_put_u32(message, NFTA_BITWISE_LEN, htonl(step->size));
    put_data(message, NFTA_BITWISE_MASK, step->value, step->size);
    put_data(message, NFTA_BITWISE_XOR, zero, step->size);
}

static void put_compare(struct nlmsghdr *message, const struct step *step)
{
    mnl_attr_put_u32(message, NFTA_CMP_SREG, slot_register(step));
    mnl_attr_put_u32(message, NFTA_CMP_OP, htonl(step->op == IS ? NFT_CMP_EQ : NFT_CMP_NEQ));
    put_data(message, NFTA_CMP_DATA, step->value, step->size);
}

/* Of the kernel's own numbers, in its byte order. */
static void put_not_number(struct nlmsghdr *message, const struct step *step)
{
    const uint32_t number = step->what;

    mnl_attr_put_u32(message, NFTA_CMP_SREG, slot_register(step));
    mnl_attr_put_u32(message, NFTA_CMP_OP, htonl((uint32_t)NFT_CMP_NEQ));
    put_data(message, NFTA_CMP_DATA, &number, sizeof(number));
}

static void put_arguments(struct nlmsghdr *message, const struct step *step)
{
    switch (step->op) {
    case META:
        mnl_attr_put_u32(message, NFTA_META_KEY, htonl(step->what));
        mnl_attr_put_u32(message, NFTA_META_DREG, slot_register(step));
        return;
    case LOAD:
        put_load(message, step);
        return;
    case ADDRESS_TYPE:
        put_address_type(message, step);
        return;
    case MASK:
        put_mask(message, step);
        return;
    case IS:
    case IS_NOT:
        put_compare(message, step);
        return;
    case NOT_NUMBER:
        put_not_number(message, step);
        return;
    case IN:
    case NOT_IN:
        put_lookup(message, step);
        return;
    case ACCEPT:
        put_verdict(message, NF_ACCEPT);
        return;
    case DROP:
        put_verdict(message, NF_DROP);
        return;
    case RESET:
        mnl_attr_put_u32(message, NFTA_REJECT_TYPE, htonl(NFT_REJECT_TCP_RST));
        return;
    case END:
        break;
    }
    HA_UNREACHABLE();
}

static void put_step(struct nlmsghdr *message, const struct step *step)
{
    static const char *const names[] = {
        [META] = "meta",     [LOAD] = "payload",     [ADDRESS_TYPE] = "fib", [MASK] = "bitwise",
        [IS] = "cmp",        [IS_NOT] = "cmp",       [NOT_NUMBER] = "cmp",   [IN] = "lookup",
        [NOT_IN] = "lookup", [ACCEPT] = "immediate", [DROP] = "immediate",   [RESET] = "reject",
    };
    struct nlattr *element = mnl_attr_nest_start(message, NFTA_LIST_ELEM), *data;

    mnl_attr_put_strz(message, NFTA_EXPR_NAME, names[step->op]);
    data = mnl_attr_nest_start(message, NFTA_EXPR_DATA);
    put_arguments(message, step);
    mnl_attr_nest_end(message, data);
    mnl_attr_nest_end(message, element);
}

static void put_rule(struct ha_nft_batch *batch, size_t i)
{
    struct nlmsghdr *message =
        begin(batch, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, rules[i].family);
    struct nlattr *list;

    mnl_attr_put_strz(message, NFTA_RULE_CHAIN, rules[i].chain);
    list = mnl_attr_nest_start(message, NFTA_RULE_EXPRESSIONS);
    for (size_t s = 0; s < STEPS_MAX && rules[i].steps[s].op != END; s++)
        put_step(message, &rules[i].steps[s]);
    mnl_attr_nest_end(message, list);
    end(batch, message);
}

void ha_nft_batch_rules(struct ha_nft_batch *batch, bool refuses)
{
    for (size_t i = 0; i < HA_ARRAY_LEN(rules); i++)
        if (!is_left_out(rules[i].chain, refuses))
            put_rule(batch, i);
}

static void put_element(struct ha_nft_batch *batch, uint16_t type, uint16_t flags,
                        const struct ha_nft_element *element, uint64_t timeout_ms)
{
    const struct ha_nft_set_info *set = &ha_nft_sets[element->set];
    struct nlmsghdr *message = begin(batch, type, flags, set->family);
    struct nlattr *list, *item;

    assert(element->key.size == set->key_size);
    mnl_attr_put_strz(message, NFTA_SET_ELEM_LIST_SET, set->name);
    list = mnl_attr_nest_start(message, NFTA_SET_ELEM_LIST_ELEMENTS);
    item = mnl_attr_nest_start(message, NFTA_LIST_ELEM);
    put_data(message, NFTA_SET_ELEM_KEY, element->key.bytes, element->key.size);
    if (timeout_ms != 0)
        mnl_attr_put_u64(message, NFTA_SET_ELEM_TIMEOUT, htobe64(timeout_ms));
    mnl_attr_nest_end(message, item);
    mnl_attr_nest_end(message, list);
    end(batch, message);
}

void ha_nft_batch_add(struct ha_nft_batch *batch, const struct ha_nft_element *element,
                      uint64_t timeout_ms)
{
    uint16_t flags = NLM_F_CREATE;

    assert(ha_nft_sets[element->set].timed == (timeout_ms != 0));
    if (timeout_ms != 0)
        flags |= NLM_F_EXCL;
    put_element(batch, NFT_MSG_NEWSETELEM, flags, element, timeout_ms);
}

void ha_nft_batch_del(struct ha_nft_batch *batch, const struct ha_nft_element *element)
{
    put_element(batch, NFT_MSG_DELSETELEM, 0, element, 0);
}
