/* agents/host/gate.bpf.c - what runs in the kernel: a guarded port speaks only before its deadline.
 *
 * Attached to the egress of a cgroup. It asks the sending socket for its port, not the packet: so
 * fragments, extension headers, IPsec and tunnels are covered alike. A packet without a full socket
 * (reset or acknowledgement of a connection the program has closed) carries no data and passes, as
 * do resets, so that clients of a closed gate learn of it at once. */
#include "agents/host/gate_map.h"

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PASS 1
#define DROP 0
#define FAMILY_INET 2

/* Port in host order -> first instant (boot clock, ns) at which it is closed. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, HA_GATE_MAP_PORTS);
    __type(key, __u16);
    __type(value, __u64);
} deadlines SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, HA_GATE_MAP_EXEMPTS);
    __type(key, struct ha_gate_tuple);
    __type(value, __u64);
} exempts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct ha_gate_meta);
} meta SEC(".maps");

/* Size of the IP header and of the whole packet; false for what may hide more than TCP. */
static __always_inline int plain_tcp(struct __sk_buff *skb, __u32 *header, __u32 *whole)
{
    __u8 ip[20];

    if (bpf_skb_load_bytes(skb, 0, ip, sizeof(ip)) != 0)
        return 0;
    if (ip[0] >> 4 == 4) {
        *header = (__u32)(ip[0] & 15) * 4;
        *whole = ((__u32)ip[2] << 8) | ip[3];
        return ip[9] == IPPROTO_TCP && (ip[6] & 0x3f) == 0 && ip[7] == 0;
    }
    *header = 40;
    *whole = 40 + (((__u32)ip[4] << 8) | ip[5]);
    return ip[0] >> 4 == 6 && ip[6] == IPPROTO_TCP;
}

static __always_inline int is_bare_reset(struct __sk_buff *skb)
{
    __u32 header = 0, whole = 0;
    __u8 tcp[2]; /* data offset, flags */

    if (!plain_tcp(skb, &header, &whole) ||
        bpf_skb_load_bytes(skb, header + 12, tcp, sizeof(tcp)) != 0)
        return 0;
    return (tcp[1] & 0x04) != 0 && whole == header + (__u32)(tcp[0] >> 4) * 4;
}

static __always_inline void put_v4(__u8 *to, __u32 address)
{
    to[10] = 0xff;
    to[11] = 0xff;
    __builtin_memcpy(to + 12, &address, 4);
}

static __always_inline int is_exempt(struct bpf_sock *sk, __u64 now)
{
    struct ha_gate_tuple tuple = {0};
    __u64 *until;

    if (sk->family == FAMILY_INET) {
        put_v4(tuple.local, sk->src_ip4);
        put_v4(tuple.remote, sk->dst_ip4);
    } else {
        __u32 word;

        /* Context words are read one by one: the verifier rewrites each access. */
        word = sk->src_ip6[0];
        __builtin_memcpy(tuple.local, &word, 4);
        word = sk->src_ip6[1];
        __builtin_memcpy(tuple.local + 4, &word, 4);
        word = sk->src_ip6[2];
        __builtin_memcpy(tuple.local + 8, &word, 4);
        word = sk->src_ip6[3];
        __builtin_memcpy(tuple.local + 12, &word, 4);
        word = sk->dst_ip6[0];
        __builtin_memcpy(tuple.remote, &word, 4);
        word = sk->dst_ip6[1];
        __builtin_memcpy(tuple.remote + 4, &word, 4);
        word = sk->dst_ip6[2];
        __builtin_memcpy(tuple.remote + 8, &word, 4);
        word = sk->dst_ip6[3];
        __builtin_memcpy(tuple.remote + 12, &word, 4);
    }
    tuple.local_port = (__u16)sk->src_port;
    tuple.remote_port = bpf_ntohs(sk->dst_port);
    until = bpf_map_lookup_elem(&exempts, &tuple);
    return until && now < *until;
}

SEC("cgroup_skb/egress")
int ha_gate(struct __sk_buff *skb)
{
    struct bpf_sock *sk = skb->sk;
    __u64 *deadline, now;
    __u16 port;

    if (!sk)
        return PASS;
    sk = bpf_sk_fullsock(sk);
    if (!sk || sk->protocol != IPPROTO_TCP)
        return PASS;
    port = (__u16)sk->src_port;
    deadline = bpf_map_lookup_elem(&deadlines, &port);
    if (!deadline)
        return PASS;
    now = bpf_ktime_get_boot_ns();
    if (now < *deadline || is_exempt(sk, now) || is_bare_reset(skb))
        return PASS;
    return DROP;
}

/* The helpers used are free of the GPL condition. */
char gate_license[] SEC("license") = "Apache-2.0";
