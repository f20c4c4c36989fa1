#include "agents/host/gate_nft.h"

#include <arpa/inet.h>
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include "agents/host/gate_rules.h"
#include "agents/host/nl.h"
#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"

#define NS_PER_MS 1000000u
#define REQUEST_SIZE 512
#define COMMENT_PREFIX "gates, instance "
#define DUMP_TRIES 5
#define PUT_MAX 64 /* elements in one call */
/* The kernel turns a timeout into ticks, rounding down, and no kernel may be trusted not to take
 * none for "never ends". The slowest clock ticks each 10 ms. */
#define TIMEOUT_MIN_MS 20u
/* A call that takes longer than this is repeated with the time that is left then. */
#define CALL_MAX_NS NS_PER_MS
#define TICKET_TRIES 10 /* on a busy machine */

struct ha_nft {
    struct ha_nl *nl;
    uint64_t digest;     /* of the tables as installed */
    uint32_t generation; /* of what was read, until it is installed; 0: nothing was */
    uint8_t batch[HA_NFT_BATCH_SIZE] __attribute__((aligned(8)));
};

static const struct ha_nft_element ticket = {.set = HA_NFT_TICKET, .key = {.size = 2}};
static const uint8_t families[] = {NFPROTO_INET, NFPROTO_ARP};

static int failed(struct ha_err *err, int error, const char *what)
{
    return ha_err_set(err, ha_nl_code(error), "nft gate: %s: %s", what, strerror(-error));
}

struct ha_nft_key ha_nft_port_key(uint16_t port)
{
    struct ha_nft_key key = {.size = 2};

    key.bytes[0] = (uint8_t)(port >> 8);
    key.bytes[1] = (uint8_t)port;
    return key;
}

struct ha_nft_key ha_nft_addr_key(const struct ha_ip *addr)
{
    struct ha_nft_key key = {.size = (uint32_t)ha_ip_size(addr)};

    memcpy(key.bytes, addr->bytes, key.size);
    return key;
}

/* Each part of a concatenation starts at a multiple of four bytes. */
struct ha_nft_key ha_nft_tuple_key(const struct ha_gate_tuple *tuple, enum ha_nft_set *ret_set)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    const bool is4 = memcmp(tuple->local, mapped, sizeof(mapped)) == 0;
    const size_t size = is4 ? 4 : 16, skip = 16 - size;
    struct ha_nft_key key = {.size = (uint32_t)(2 * size + 8)};

    memcpy(key.bytes, tuple->local + skip, size);
    key.bytes[size] = (uint8_t)(tuple->local_port >> 8);
    key.bytes[size + 1] = (uint8_t)tuple->local_port;
    memcpy(key.bytes + size + 4, tuple->remote + skip, size);
    key.bytes[2 * size + 4] = (uint8_t)(tuple->remote_port >> 8);
    key.bytes[2 * size + 5] = (uint8_t)tuple->remote_port;
    *ret_set = is4 ? HA_NFT_EXEMPT4 : HA_NFT_EXEMPT6;
    return key;
}

int ha_nft_open(struct ha_nft **ret, struct ha_err *err)
{
    const int size = 2 * HA_NFT_BATCH_SIZE;
    struct ha_nft *nft = calloc(1, sizeof(*nft));
    int result;

    if (nft == NULL)
        return ha_err_set(err, HA_ENOMEM, "nft gate: out of memory");
    result = ha_nl_open(NETLINK_NETFILTER, &nft->nl);
    if (result != 0) {
        free(nft);
        return failed(err, result, "open netlink");
    }
    /* A batch is one message to the socket. Refused only without CAP_NET_ADMIN, and then nothing
     * else works either. */
    (void)setsockopt(mnl_socket_get_fd(nft->nl->socket), SOL_SOCKET, SO_SNDBUFFORCE, &size,
                     sizeof(size));
    *ret = nft;
    return HA_OK;
}

void ha_nft_close(struct ha_nft *nft)
{
    if (nft == NULL)
        return;
    ha_nl_close(nft->nl);
    free(nft);
}

static struct nlmsghdr *request(struct ha_nft *nft, void *buffer, uint16_t type, uint16_t flags,
                                uint8_t family)
{
    struct nlmsghdr *message =
        ha_nl_request(nft->nl, buffer, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags);
    struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(message, sizeof(*nfg));

    nfg->nfgen_family = family;
    nfg->version = NFNETLINK_V0;
    mnl_attr_put_strz(message, NFTA_TABLE_NAME, HA_NFT_TABLE); /* attribute 1 of every object */
    return message;
}

/* ---- what the tables look like ---- */

static bool in_table(const struct nlmsghdr *message)
{
    const struct nlattr *attr = mnl_nlmsg_get_payload_offset(message, sizeof(struct nfgenmsg));

    /* The table's name comes first in every dump. */
    return mnl_nlmsg_get_payload_len(message) > sizeof(struct nfgenmsg) + sizeof(struct nlattr) &&
           mnl_attr_get_type(attr) == NFTA_TABLE_NAME &&
           mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0 &&
           strcmp(mnl_attr_get_str(attr), HA_NFT_TABLE) == 0;
}

/* A sum, since sets and chains may be listed in any order. Rules are listed in theirs, and carry a
 * number for it. */
struct digest {
    uint32_t attributes; /* the ones that are content, not handles or counters */
    uint64_t sum, position;
    uint16_t type;
};

static void add_object(const struct nlmsghdr *message, void *data)
{
    struct digest *digest = data;
    const uint8_t family = *(const uint8_t *)mnl_nlmsg_get_payload(message);
    uint64_t hash = ha_hash(HA_HASH_START, &digest->type, sizeof(digest->type));
    const struct nlattr *attr;

    if (!in_table(message))
        return;
    if (digest->type == NFT_MSG_GETRULE)
        hash = ha_hash(hash, &digest->position, sizeof(digest->position));
    digest->position++;
    hash = ha_hash(hash, &family, sizeof(family));
    HA_NL_FOR_EACH(attr, message, sizeof(struct nfgenmsg))
    {
        const uint16_t type = mnl_attr_get_type(attr);

        if (type < 32 && (digest->attributes & 1u << type) != 0)
            hash = ha_hash(hash, attr, attr->nla_len);
    }
    digest->sum += hash;
}

static int look(struct ha_nft *nft, uint64_t *ret_digest)
{
    static const struct {
        uint16_t type;
        uint32_t attributes;
    } kinds[] = {
        {NFT_MSG_GETTABLE,
         1u << NFTA_TABLE_NAME | 1u << NFTA_TABLE_FLAGS | 1u << NFTA_TABLE_USERDATA},
        {NFT_MSG_GETSET, 1u << NFTA_SET_TABLE | 1u << NFTA_SET_NAME | 1u << NFTA_SET_FLAGS |
                             1u << NFTA_SET_KEY_TYPE | 1u << NFTA_SET_KEY_LEN |
                             1u << NFTA_SET_TIMEOUT},
        {NFT_MSG_GETCHAIN, 1u << NFTA_CHAIN_TABLE | 1u << NFTA_CHAIN_NAME | 1u << NFTA_CHAIN_HOOK |
                               1u << NFTA_CHAIN_POLICY | 1u << NFTA_CHAIN_TYPE},
        {NFT_MSG_GETRULE,
         1u << NFTA_RULE_TABLE | 1u << NFTA_RULE_CHAIN | 1u << NFTA_RULE_EXPRESSIONS},
    };
    uint8_t buffer[REQUEST_SIZE] __attribute__((aligned(8)));
    uint64_t sum = 0;

    for (size_t f = 0; f < HA_ARRAY_LEN(families); f++) {
        for (size_t i = 0; i < HA_ARRAY_LEN(kinds); i++) {
            struct digest digest = {.attributes = kinds[i].attributes, .type = kinds[i].type};
            int result, tries = 0;

            do { /* not dump(): the digest must start over too */
                digest.sum = digest.position = 0;
                result = ha_nl_talk(nft->nl,
                                    request(nft, buffer, kinds[i].type, NLM_F_DUMP, families[f]),
                                    add_object, &digest);
            } while (result == -EINTR && ++tries < DUMP_TRIES);
            if (result != 0 && result != -ENOENT)
                return result;
            sum += digest.sum;
        }
    }
    *ret_digest = sum;
    return 0;
}

int ha_nft_intact(struct ha_nft *nft, bool *ret_intact, struct ha_err *err)
{
    uint64_t digest;
    int result = look(nft, &digest);

    if (result != 0)
        return failed(err, result, "look at the tables");
    *ret_intact = digest == nft->digest;
    return HA_OK;
}

/* ---- elements ---- */

/* The time that is left, as a timeout; 0: treat as ended. */
static uint64_t timeout_ms(uint64_t deadline_ns, uint64_t now_ns)
{
    uint64_t left_ms;

    if (deadline_ns <= now_ns + CALL_MAX_NS)
        return 0;
    left_ms = (deadline_ns - now_ns - CALL_MAX_NS) / NS_PER_MS;
    return left_ms < TIMEOUT_MIN_MS ? 0 : left_ms;
}

static void begin(struct ha_nft *nft, struct ha_nft_batch *batch)
{
    ha_nft_batch_begin(batch, nft->batch, nft->nl->seq + 1, nft->generation);
}

static int send_batch(struct ha_nft *nft, struct ha_nft_batch *batch, uint32_t *ret_seq)
{
    const uint32_t first = nft->nl->seq + 1;
    const uint32_t last = ha_nft_batch_end(batch);
    int result;

    if (batch->full)
        return -EMSGSIZE;
    nft->nl->seq = last + 1;
    result = ha_nl_batch(nft->nl, batch->data, batch->size, first, last, ret_seq);
    if (result == 0 && nft->generation != 0 && ++nft->generation == 0)
        nft->generation = 1; /* as the kernel counts */
    return result;
}

/* With @make, also where the table is not there. */
static int take_ticket(struct ha_nft *nft, bool make)
{
    struct ha_nft_batch batch;
    int result;

    begin(nft, &batch);
    if (make)
        ha_nft_batch_ticket_set(&batch);
    ha_nft_batch_add(&batch, &ticket, HA_NFT_LATE_MS);
    result = send_batch(nft, &batch, NULL);
    return result == -EEXIST ? 0 : result; /* one not handed in: it expires the sooner */
}

/* Returns the number of the message that hands it in. */
static uint32_t hand_in_ticket(struct ha_nft_batch *batch)
{
    const uint32_t seq = batch->seq;

    ha_nft_batch_del(batch, &ticket);
    return seq;
}

static bool has_timed(const struct ha_nft_content *content)
{
    for (size_t i = 0; i < content->count; i++)
        if (ha_nft_sets[content->elements[i].set].timed)
            return true;
    return false;
}

/* *ret_late: the ticket had expired. */
static int install(struct ha_nft *nft, const struct ha_nft_content *content, bool refuses,
                   bool *ret_late)
{
    const bool timed_any = has_timed(content);
    struct ha_nft_batch batch;
    char comment[64];
    uint32_t seq = 0, seq_ticket = 0;
    uint64_t now_ns;
    int result = timed_any ? take_ticket(nft, true) : 0;

    if (result != 0)
        return result;
    (void)ha_text_format(comment, sizeof(comment), COMMENT_PREFIX "%016" PRIx64, content->instance);
    begin(nft, &batch);
    if (timed_any)
        seq_ticket = hand_in_ticket(&batch);
    ha_nft_batch_clear(&batch);
    ha_nft_batch_tables(&batch, comment, refuses);
    now_ns = ha_clock_boot_ns();
    for (size_t i = 0; i < content->count; i++) {
        const struct ha_nft_element *element = &content->elements[i];
        const bool timed = ha_nft_sets[element->set].timed;
        const uint64_t left_ms = timed ? timeout_ms(element->deadline_ns, now_ns) : 0;

        if (!timed || left_ms != 0)
            ha_nft_batch_add(&batch, element, left_ms);
    }
    ha_nft_batch_rules(&batch, refuses);
    result = send_batch(nft, &batch, &seq);
    *ret_late = result == -ENOENT && timed_any && seq == seq_ticket;
    return result;
}

static int install_in_time(struct ha_nft *nft, const struct ha_nft_content *content, bool refuses)
{
    bool late = false;
    int result, tries = 0;

    do {
        result = install(nft, content, refuses, &late);
    } while (late && ++tries < TICKET_TRIES);
    return late ? -ETIMEDOUT : result;
}

int ha_nft_install(struct ha_nft *nft, const struct ha_nft_content *content, struct ha_err *err)
{
    int result = install_in_time(nft, content, true);

    /* What only makes clients quicker must not cost the gate. */
    if (result == -ENOENT || result == -EOPNOTSUPP)
        result = install_in_time(nft, content, false);
    nft->generation = 0;
    if (result == -ERESTART)
        return ha_err_set(err, HA_EBUSY, "nft gate: somebody changed a ruleset meanwhile");
    if (result == 0)
        result = look(nft, &nft->digest);
    if (result == -ENOENT) /* an expression or chain type that is not built */
        return ha_err_set(err, HA_ENOTSUP, "nft gate: the kernel lacks what the rules need");
    return result == 0 ? HA_OK : failed(err, result, "install tables");
}

int ha_nft_remove(struct ha_nft *nft, struct ha_err *err)
{
    struct ha_nft_batch batch;
    int result;

    begin(nft, &batch);
    ha_nft_batch_clear(&batch);
    result = send_batch(nft, &batch, NULL);
    return result == 0 ? HA_OK : failed(err, result, "remove tables");
}

/* What is known of one element while a change of it is tried. */
struct attempt {
    bool absent;
    uint32_t seq_del, seq_add; /* 0: not in this batch */
};

/* Whether something timed is to be where nothing expires meanwhile. */
static bool opens(const struct ha_nft_element *elements, const struct attempt *attempts,
                  size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (attempts[i].absent && ha_nft_sets[elements[i].set].timed)
            return true;
    return false;
}

static uint64_t build(struct ha_nft *nft, struct ha_nft_batch *batch,
                      const struct ha_nft_element *elements, struct attempt *attempts, size_t count,
                      bool remove, uint32_t *ret_seq_ticket)
{
    const uint64_t now_ns = ha_clock_boot_ns();
    uint64_t longest_ms = 0;

    begin(nft, batch);
    *ret_seq_ticket = !remove && opens(elements, attempts, count) ? hand_in_ticket(batch) : 0;
    for (size_t i = 0; i < count; i++) {
        const bool timed = ha_nft_sets[elements[i].set].timed;
        const uint64_t left_ms = timed && !remove ? timeout_ms(elements[i].deadline_ns, now_ns) : 0;

        attempts[i].seq_del = attempts[i].seq_add = 0;
        if ((timed || remove) && !attempts[i].absent) {
            attempts[i].seq_del = batch->seq;
            ha_nft_batch_del(batch, &elements[i]);
        }
        if (!remove && (!timed || left_ms != 0)) {
            attempts[i].seq_add = batch->seq;
            ha_nft_batch_add(batch, &elements[i], left_ms);
        }
        longest_ms = left_ms > longest_ms ? left_ms : longest_ms;
    }
    return longest_ms;
}

/* Learn from an error what was not as assumed; false: it is a real one. */
static bool learn(struct attempt *attempts, size_t count, int error, uint32_t seq)
{
    for (size_t i = 0; i < count; i++) {
        if (error == -ENOENT && attempts[i].seq_del == seq && seq != 0) {
            attempts[i].absent = true; /* it has expired or was never there */
            return true;
        }
        if (error == -EEXIST && attempts[i].seq_add == seq && seq != 0 && attempts[i].absent) {
            attempts[i].absent = false;
            return true;
        }
    }
    return false;
}

static bool is_empty(const struct attempt *attempts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (attempts[i].seq_del != 0 || attempts[i].seq_add != 0)
            return false;
    return true;
}

static uint64_t latest_deadline(const struct ha_nft_element *elements, size_t count)
{
    uint64_t latest = 0;

    for (size_t i = 0; i < count; i++)
        latest = elements[i].deadline_ns > latest ? elements[i].deadline_ns : latest;
    return latest;
}

int ha_nft_put(struct ha_nft *nft, const struct ha_nft_element *elements, size_t count, bool remove,
               uint64_t *ret_until_ns, struct ha_err *err)
{
    struct attempt attempts[PUT_MAX] = {{0}};
    const uint64_t wanted_ns = latest_deadline(elements, count);
    uint64_t until_ns = 0;
    int result = 0;

    assert(count >= 1 && count <= PUT_MAX);
    for (size_t i = 0; i < count && !remove; i++)
        attempts[i].absent = elements[i].absent;
    /* Each round learns about at least one element or is the last but for slow calls. */
    for (size_t round = 0; round < 2 * count + 6 + TICKET_TRIES; round++) {
        struct ha_nft_batch batch;
        uint32_t seq = 0, seq_ticket;
        uint64_t left_ms;

        if (!remove && opens(elements, attempts, count)) {
            result = take_ticket(nft, false);
            if (result != 0)
                break;
        }
        left_ms = build(nft, &batch, elements, attempts, count, remove, &seq_ticket);
        if (is_empty(attempts, count)) {
            result = 0;
            until_ns = 0;
            break;
        }
        result = send_batch(nft, &batch, &seq);
        if (result == -ENOENT && seq == seq_ticket && seq != 0) {
            result = -ETIMEDOUT; /* stopped on the way: once more, by the clock of now */
            continue;
        }
        if (result != 0) {
            if (!learn(attempts, count, result, seq))
                break;
            continue;
        }
        until_ns = left_ms == 0 ? 0 : ha_clock_boot_ns() + left_ms * NS_PER_MS;
        if (until_ns <= wanted_ns + CALL_MAX_NS)
            break; /* else the clock ran on in between: once more, shorter */
        for (size_t i = 0; i < count; i++)
            attempts[i].absent = false;
    }
    if (result != 0)
        return failed(err, result, "change elements");
    if (ret_until_ns != NULL)
        *ret_until_ns = until_ns;
    return HA_OK;
}

struct found {
    uint64_t left_ms;
    bool present, endless;
    /* read_all only */
    struct ha_nft_content *content;
    enum ha_nft_set set;
    uint64_t before_ns;
    bool full;
    /* walk only */
    ha_nft_visit visit;
    void *data;
};

/* When an element that has so long left has ended at the latest: told in whole milliseconds. */
static uint64_t latest_end(const struct found *found)
{
    if (!ha_nft_sets[found->set].timed)
        return 0;
    return found->endless ? UINT64_MAX : ha_clock_boot_ns() + (found->left_ms + 1) * NS_PER_MS;
}

static uint64_t attr_ms(const struct nlattr *attr)
{
    return mnl_attr_validate(attr, MNL_TYPE_U64) == 0 ? be64toh(mnl_attr_get_u64(attr)) : 0;
}

static void read_key(const struct nlattr *nest, struct ha_nft_key *key)
{
    const struct nlattr *attr;

    HA_NL_FOR_EACH_IN(attr, nest)
    {
        const uint16_t size = mnl_attr_get_payload_len(attr);

        if (mnl_attr_get_type(attr) == NFTA_DATA_VALUE && size <= sizeof(key->bytes)) {
            memcpy(key->bytes, mnl_attr_get_payload(attr), size);
            key->size = size;
        }
    }
}

static void keep(struct found *found, const struct ha_nft_key *key)
{
    struct ha_nft_content *content = found->content;

    if (key->size != ha_nft_sets[found->set].key_size)
        return;
    /* A timed element without an end is none of ours. */
    if (ha_nft_sets[found->set].timed && (found->endless || found->left_ms == 0))
        return;
    if (content->count == content->size_max) {
        found->full = true;
        return;
    }
    content->elements[content->count++] = (struct ha_nft_element){
        .set = found->set,
        .key = *key,
        .deadline_ns =
            ha_nft_sets[found->set].timed ? found->before_ns + found->left_ms * NS_PER_MS : 0};
}

static void take_element(const struct nlattr *nest, struct found *found)
{
    const struct nlattr *attr;
    struct ha_nft_key key = {0};

    found->present = true;
    found->endless = true;
    found->left_ms = 0;
    HA_NL_FOR_EACH_IN(attr, nest)
    {
        if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_EXPIRATION) {
            found->left_ms = attr_ms(attr);
            found->endless = false;
        } else if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_KEY) {
            read_key(attr, &key);
        }
    }
    if (found->content != NULL)
        keep(found, &key);
    if (found->visit != NULL) {
        const struct ha_nft_element element = {
            .set = found->set, .key = key, .deadline_ns = latest_end(found)};

        found->visit(found->data, &element);
    }
}

static void take_elements(const struct nlmsghdr *message, void *data)
{
    const struct nlattr *attr, *item;

    HA_NL_FOR_EACH(attr, message, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attr) != NFTA_SET_ELEM_LIST_ELEMENTS)
            continue;
        HA_NL_FOR_EACH_IN(item, attr) take_element(item, data);
    }
}

int ha_nft_find(struct ha_nft *nft, struct ha_nft_element *element, struct ha_err *err)
{
    const struct ha_nft_set_info *set = &ha_nft_sets[element->set];
    uint8_t buffer[REQUEST_SIZE] __attribute__((aligned(8)));
    struct nlmsghdr *message = request(nft, buffer, NFT_MSG_GETSETELEM, 0, set->family);
    struct found found = {.set = element->set};
    struct nlattr *list, *item, *key;
    int result;

    mnl_attr_put_strz(message, NFTA_SET_ELEM_LIST_SET, set->name);
    list = mnl_attr_nest_start(message, NFTA_SET_ELEM_LIST_ELEMENTS);
    item = mnl_attr_nest_start(message, NFTA_LIST_ELEM);
    key = mnl_attr_nest_start(message, NFTA_SET_ELEM_KEY);
    mnl_attr_put(message, NFTA_DATA_VALUE, element->key.size, element->key.bytes);
    mnl_attr_nest_end(message, key);
    mnl_attr_nest_end(message, item);
    mnl_attr_nest_end(message, list);
    result = ha_nl_talk(nft->nl, message, take_elements, &found);
    if (result != 0 && result != -ENOENT)
        return failed(err, result, "look for an element");
    if (result == -ENOENT || !found.present)
        return ha_err_set(err, HA_ENOENT, "nft gate: no such element in %s", set->name);
    element->deadline_ns = latest_end(&found);
    return HA_OK;
}

static void take_comment(const struct nlmsghdr *message, void *data)
{
    const size_t prefix = sizeof(COMMENT_PREFIX) - 1, size = prefix + 16 + 1;
    const struct nlattr *attr;
    uint64_t *instance = data;

    HA_NL_FOR_EACH(attr, message, sizeof(struct nfgenmsg))
    {
        const char *comment = (const char *)mnl_attr_get_payload(attr) + 2;
        uint8_t bytes[8];

        if (mnl_attr_get_type(attr) != NFTA_TABLE_USERDATA ||
            mnl_attr_get_payload_len(attr) != size + 2 || comment[size - 1] != '\0' ||
            memcmp(comment, COMMENT_PREFIX, prefix) != 0 ||
            ha_text_unhex(comment + prefix, bytes, sizeof(bytes)) != HA_OK)
            continue;
        *instance = 0;
        for (size_t i = 0; i < sizeof(bytes); i++)
            *instance = *instance << 8 | bytes[i];
    }
}

/* A dump of @set into @found. */
static int dump_set(struct ha_nft *nft, struct found *found)
{
    uint8_t buffer[REQUEST_SIZE] __attribute__((aligned(8)));
    const struct ha_nft_set_info *set = &ha_nft_sets[found->set];
    struct nlmsghdr *message = request(nft, buffer, NFT_MSG_GETSETELEM, NLM_F_DUMP, set->family);

    mnl_attr_put_strz(message, NFTA_SET_ELEM_LIST_SET, set->name);
    return ha_nl_talk(nft->nl, message, take_elements, found);
}

int ha_nft_walk(struct ha_nft *nft, enum ha_nft_set set, ha_nft_visit visit, void *data,
                struct ha_err *err)
{
    int result, tries = 0;

    do {
        struct found found = {.set = set, .visit = visit, .data = data};

        visit(data, NULL);
        result = dump_set(nft, &found);
    } while (result == -EINTR && ++tries < DUMP_TRIES);
    if (result == -EINTR)
        return ha_err_set(err, HA_EBUSY, "nft gate: the ruleset changes while it is read");
    return result == 0 || result == -ENOENT ? HA_OK : failed(err, result, "read a set");
}

static int read_set(struct ha_nft *nft, enum ha_nft_set set, struct ha_nft_content *content)
{
    const size_t count = content->count;
    int result, tries = 0;

    do {
        struct found found = {.content = content, .set = set, .before_ns = ha_clock_boot_ns()};

        content->count = count;
        result = dump_set(nft, &found);
        if (found.full)
            return -EFBIG;
    } while (result == -EINTR && ++tries < DUMP_TRIES);
    /* Half a table: someone deleted parts of it. */
    return result == -ENOENT ? 0 : result;
}

static void take_generation(const struct nlmsghdr *message, void *data)
{
    uint32_t *generation = data;
    const struct nlattr *attr;

    HA_NL_FOR_EACH(attr, message, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attr) == NFTA_GEN_ID && mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
            *generation = ntohl(mnl_attr_get_u32(attr));
    }
}

int ha_nft_read_all(struct ha_nft *nft, struct ha_nft_content *content, struct ha_err *err)
{
    uint8_t buffer[REQUEST_SIZE] __attribute__((aligned(8)));
    struct nlmsghdr *message;
    uint32_t generation = 0;
    int result;

    content->instance = 0;
    content->count = 0;
    nft->generation = 0;
    message = ha_nl_request(nft->nl, buffer, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 0);
    (void)mnl_nlmsg_put_extra_header(message, sizeof(struct nfgenmsg));
    result = ha_nl_talk(nft->nl, message, take_generation, &generation);
    if (result != 0)
        return failed(err, result, "read the generation");
    nft->generation = generation;
    result = ha_nl_talk(nft->nl, request(nft, buffer, NFT_MSG_GETTABLE, 0, NFPROTO_INET),
                        take_comment, &content->instance);
    if (result == -ENOENT)
        return ha_err_set(err, HA_ENOENT, "nft gate: no table");
    for (uint32_t i = 0; i < HA_NFT_TICKET && result == 0; i++) {
        result = read_set(nft, i, content);
        if (result == -EFBIG)
            return ha_err_set(err, HA_EFULL, "nft gate: too many elements in %s",
                              ha_nft_sets[i].name);
    }
    if (result == -EINTR)
        return ha_err_set(err, HA_EBUSY, "nft gate: rulesets change while they are read");
    return result == 0 ? HA_OK : failed(err, result, "read tables");
}
