# deploy/lib/net.sh - hosts made of network namespaces on one bridge.
#
# The bridge lives in a namespace of its own ($LAB-switch), so nothing of the lab touches the
# network of the machine and two labs may use the same addresses. A host's cable is a veth pair:
# eth0 in the host, a port named after the host in the switch. Hosts are entered with nsenter and
# not with `ip netns exec`, which would hide the control groups by mounting a new /sys.
# shellcheck shell=bash

netns() { echo "$LAB-$1"; }
netns_exists() { [ -e "/run/netns/$(netns "$1")" ]; }

# in_host HOST COMMAND...: run in its network, and nothing else changed.
in_host() {
    local host=$1
    shift
    nsenter --net="/run/netns/$(netns "$host")" -- "$@"
}

netns_make() {
    netns_exists "$1" || ip netns add "$(netns "$1")"
    ip -n "$(netns "$1")" link set lo up
}

switch_up() {
    netns_exists switch && return
    netns_make switch
    ip -n "$(netns switch)" link add name bridge type bridge stp_state 0 forward_delay 0
    ip -n "$(netns switch)" link set bridge up
    # Pairs of ports between which frames are dropped, for cuts that a pulled cable cannot make.
    in_host switch nft -f - <<'NFT'
table bridge lab {
    set cut {
        type ifname . ifname
    }
    chain forward {
        type filter hook forward priority 0; policy accept;
        iifname . oifname @cut drop
    }
}
NFT
}

host_net_up() {
    local host=$1 ns key
    ns=$(netns "$host")
    netns_exists "$host" && return
    netns_make "$host"
    for key in ipv4.ip_forward=0 ipv6.conf.all.forwarding=0 ipv6.conf.default.accept_ra=0 \
        ipv6.conf.default.accept_dad=0; do
        in_host "$host" sysctl -qw "net.$key" 2>/dev/null || true # no IPv6 in some kernels
    done
    ip -n "$(netns switch)" link add name "$host" type veth peer name eth0 netns "$ns"
    ip -n "$(netns switch)" link set "$host" master bridge up
    # The same after a restart of the host, as a network card's would be.
    ip -n "$ns" link set eth0 address "02:00:0a:4d:00:$(host_number "$host")"
    ip -n "$ns" link set eth0 up
    ip -n "$ns" address add "$(address4 "$host")/24" dev eth0
    ip -n "$ns" address add "$(address6 "$host")/64" dev eth0 nodad 2>/dev/null ||
        note "$host: no IPv6 here"
}

netns_pids() { ip netns pids "$(netns "$1")" 2>/dev/null || true; }

# End every process in the namespace, then the namespace; its veth pair goes with it.
netns_drop() {
    local host=$1 tries pids
    netns_exists "$host" || return 0
    for ((tries = 0; tries < 50; tries++)); do
        pids=$(netns_pids "$host")
        [ -n "$pids" ] || break
        # shellcheck disable=SC2086
        kill -KILL $pids 2>/dev/null || true
        sleep 0.02
    done
    ip -n "$(netns switch)" link del "$host" 2>/dev/null || true
    ip netns del "$(netns "$host")"
}

# cut HOST                  pull the cable
# cut HOST from|to OTHER..  drop what HOST sends to, or gets from, the others (all when none named)
cut() {
    local host=$1 way=${2:-} other
    [ $# -lt 2 ] && set -- "$1" ""
    shift 2
    host_number "$host" >/dev/null
    case $way in
        "") ip -n "$(netns switch)" link set "$host" down ;;
        from | to)
            [ $# -gt 0 ] || set -- "${HOSTS[@]}"
            for other in "$@"; do
                [ "$other" = "$host" ] && continue
                if [ "$way" = from ]; then
                    in_host switch nft add element bridge lab cut "{ \"$host\" . \"$other\" }"
                else
                    in_host switch nft add element bridge lab cut "{ \"$other\" . \"$host\" }"
                fi
            done
            ;;
        *) die "cut HOST [from|to [OTHER...]]" ;;
    esac
}

uncut_all() {
    local host
    in_host switch nft flush set bridge lab cut
    for host in "${HOSTS[@]}"; do
        netns_exists "$host" && ip -n "$(netns switch)" link set "$host" up
    done
    return 0
}
